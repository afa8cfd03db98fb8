//! Ends that are asked for their numbers, since segments passed that are not the connection's: who answers, and what of
//! it is believed.

use super::forged::{from_client, said};
use super::*;
use crate::dataplane::session::Phase;

/// The numbers that the packet path knows have gone wrong, and the connection is busy.
#[test]
fn a_busy_connection_is_asked_before_it_idles_out_and_goes_on_by_the_answer() {
    for (who, expected) in [("both", Phase::Established), ("server", Phase::Established), ("nobody", Phase::Ended)] {
        let mut world = World::new();
        let there = world.connect(40_000);
        let (mine, theirs) = (800_000_000, 1_900_000_000);
        let limit = Tick::span(Duration::from_mins(124));
        world.later(limit - 10);
        world.forwarded(CONSUMER, &from_client(ACK, mine, theirs).payload(b"busy"));
        world.later(30);
        world.settle();
        let sent = world.sent();
        assert_eq!(said(&sent, CONSUMER, RST), [], "not reset");
        assert_eq!((said(&sent, CONSUMER, ACK).len(), said(&sent, PROVIDER, ACK).len()), (2, 2), "but asked");
        if who != "nobody" {
            world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(theirs).ack(mine));
        }
        if who == "both" {
            world.forwarded(CONSUMER, &from_client(ACK, mine, theirs));
        }
        for _ in 0..4 {
            world.later(10);
            world.settle();
        }
        let session = world.only();
        assert_eq!(session.phase, expected, "{who}");
        if expected == Phase::Established {
            assert_eq!((session.to_service.seq_end, session.to_consumer.seq_end), (mine, theirs), "{who}");
            assert!(session.last_seen.0 > 1_000 + limit, "{who}");
        }
    }
}

/// While the ends are asked, somebody answers for both, before the ends do, between their answers, or after one of them.
#[test]
fn who_answers_in_the_name_of_both_ends_sets_no_numbers() {
    let forged = 800_000_000;
    for real in [[true, true], [true, false], [false, true]] {
        for first in [true, false] {
            let mut world = World::new();
            let there = world.connect(40_000);
            let limit = Tick::span(Duration::from_mins(124));
            world.later(limit - 10);
            world.forwarded(CONSUMER, &from_client(ACK, forged, forged));
            world.later(30);
            world.settle();
            let answer = |world: &mut World, seq: [u32; 2], who: [bool; 2]| {
                if who[0] {
                    world.deliver(CONSUMER, &from_client(ACK, seq[0], seq[1]));
                }
                if who[1] {
                    world.deliver(PROVIDER, &there.reply().flags(ACK).seq(seq[1]).ack(seq[0]));
                }
            };
            if first {
                answer(&mut world, [forged; 2], [true; 2]);
            }
            answer(&mut world, [101, 901], real);
            for _ in 0..5 {
                answer(&mut world, [forged; 2], [true; 2]);
                world.later(10);
                world.settle();
            }
            let session = world.only();
            let numbers = (session.to_service.seq_end, session.to_consumer.seq_end);
            assert_eq!((session.phase, numbers), (Phase::Established, (101, 901)), "{real:?}, {first}");
            world.deliver(CONSUMER, &from_client(RST, forged, 0));
            assert_eq!(world.only().phase, Phase::Established, "{real:?}, {first}");
        }
    }
}

/// Numbers that have gone wrong at both ends, of which somebody else says others: the connection ends by neither.
#[test]
fn answers_that_contradict_each_other_end_no_connection() {
    let mut world = World::new();
    let there = world.connect(40_000);
    let limit = Tick::span(Duration::from_mins(124));
    world.later(limit - 10);
    world.forwarded(CONSUMER, &from_client(ACK, 800_000_000, 1_900_000_000).payload(b"busy"));
    world.later(30);
    world.settle();
    for number in [800_000_000, 3_000_000_000] {
        world.deliver(CONSUMER, &from_client(ACK, number, number));
        world.deliver(PROVIDER, &there.reply().flags(ACK).seq(number).ack(number));
    }
    for _ in 0..5 {
        world.later(10);
        world.settle();
    }
    assert_eq!((world.only().phase, world.only().to_service.seq_end), (Phase::Established, 101));
    assert!(world.only().last_seen.0 > 1_000 + limit);
}
