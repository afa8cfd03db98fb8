//! Every session's end is noted exactly once, with its reason; a full ring loses, and counts.

use super::forged::said;
use super::*;
use crate::dataplane::record::{FlowEndReason, SessionRecord};

const FIN: u8 = 1;

impl World {
    /// Takes the notes of all workers.
    fn ends(&self) -> Vec<SessionRecord> {
        self.rings.iter().flat_map(|ring| std::iter::from_fn(|| ring.pop())).collect()
    }

    pub(super) fn after(&mut self, time: Duration) {
        self.now = Tick(self.now.0 + Tick::span(time));
        self.settle();
    }
}

fn rejected() -> Rules {
    let stamp = Stamp { current: Generation(2), valid_since: Generation(2) };
    Rules { state: Rejected, stamp, ..Rules::default() }
}

fn from_consumer(flags: u8, seq: u32, ack: u32) -> Packet {
    tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(flags).seq(seq).ack(ack)
}

/// Opens a TCP session and has both ends send a FIN; the last acknowledgement is not sent yet.
fn close_but_for_the_last_ack(world: &mut World) {
    let there = world.connect(40_000);
    world.forwarded(CONSUMER, &from_consumer(ACK | FIN, 101, 901));
    world.forwarded(PROVIDER, &there.reply().flags(ACK | FIN).seq(901).ack(102));
}

#[test]
fn each_reason_is_noted_once() {
    type Ending = (&'static str, FlowEndReason, fn(&mut World));
    let endings: [Ending; 10] = [
        ("both closed", FlowEndReason::Closed, |world| {
            close_but_for_the_last_ack(world);
            world.forwarded(CONSUMER, &from_consumer(ACK, 102, 902));
        }),
        ("the consumer resets", FlowEndReason::Reset, |world| {
            world.connect(40_000);
            world.forwarded(CONSUMER, &from_consumer(RST, 101, 0));
        }),
        ("the server refuses", FlowEndReason::Reset, |world| {
            let there = world.forwarded(CONSUMER, &from_consumer(SYN, 100, 0));
            world.forwarded(PROVIDER, &there.reply().flags(RST | ACK).seq(0).ack(101));
        }),
        ("an idle connection", FlowEndReason::Idle, |world| {
            world.connect(40_000);
            world.after(Duration::from_hours(3));
        }),
        ("an idle half-open one", FlowEndReason::Idle, |world| {
            world.forwarded(CONSUMER, &from_consumer(SYN, 100, 0));
            world.after(Duration::from_mins(5));
        }),
        ("idle datagrams, found by a packet", FlowEndReason::Idle, |world| {
            let there = world.forwarded(CONSUMER, &udp("10.1.0.5", 53_000, "10.1.9.4", 5432));
            world.now = Tick(world.now.0 + Tick::span(Duration::from_mins(6)));
            world.dropped(PROVIDER, &there.reply(), DropReason::NoSession);
        }),
        ("a rejected connection", FlowEndReason::Revoked, |world| {
            world.connect(40_000);
            world.publish(&rejected());
            world.settle();
        }),
        ("rejected datagrams", FlowEndReason::Revoked, |world| {
            world.forwarded(CONSUMER, &udp("10.1.0.5", 53_000, "10.1.9.4", 5432));
            world.publish(&rejected());
            world.settle();
        }),
        ("a SYN on a closing connection, which is live no more", FlowEndReason::Closed, |world| {
            close_but_for_the_last_ack(world);
            let sent = world.deliver(CONSUMER, &from_consumer(SYN, 5_000, 0));
            assert_eq!((said(&sent, PROVIDER, SYN), world.sessions()), (vec![(5_000, 0)], 1));
        }),
        ("the daemon stops", FlowEndReason::Stopped, |world| {
            world.connect(40_000);
            let now = world.now;
            assert!(!world.workers[0].forwarder.handle_stop(false, now));
        }),
    ];
    for (what, reason, ending) in endings {
        let mut world = World::new();
        let opened = world.now;
        ending(&mut world);
        let ends = world.ends();
        assert_eq!(ends.len(), 1, "{what}: {ends:?}");
        let end = ends[0];
        assert_eq!((end.end, end.flow.link, end.opened, end.last), (Some(reason), 100, opened, world.now), "{what}");
        assert_eq!((end.flow.consumer().0, end.flow.endpoint()), (ip("10.1.0.5"), (ip("10.1.9.4"), 5432)), "{what}");
        assert_eq!(end.flow.backend(), (ip("10.20.0.2"), 5432), "{what}");
        assert!(
            ["10.20.99.4", "10.20.99.5"].map(ip).contains(&end.flow.nat().0) && end.flow.nat().1 >= 1_024,
            "{what}"
        );
        if reason != FlowEndReason::Stopped && !what.starts_with("a SYN") {
            world.after(Duration::from_hours(9));
            assert_eq!((world.ends(), world.sessions()), (Vec::new(), 0), "{what}: never twice");
        }
    }
}

#[test]
fn a_note_carries_what_both_directions_carried() {
    let mut world = World::new();
    let there = world.forwarded(CONSUMER, &udp("10.1.0.5", 53_000, "10.1.9.4", 5432).payload(&[1; 72]));
    world.forwarded(PROVIDER, &there.reply().payload(&[1; 172]));
    world.forwarded(PROVIDER, &there.reply().payload(&[1; 172]));
    world.publish(&rejected());
    world.settle();
    let ends = world.ends();
    assert_eq!((ends[0].flow.to_service, ends[0].flow.to_consumer), ((1, 100), (2, 400)));
    assert_eq!(ends[0].flow.nat(), (there.source.into(), there.ports().0));
}

#[test]
fn a_full_ring_counts_what_it_loses_and_the_packets_go_on() {
    let mut world = World::new();
    let surplus = 37;
    for number in 0..RING + surplus {
        world.forwarded(CONSUMER, &udp("10.1.0.5", 1_024 + number as u16, "10.1.9.4", 5432));
    }
    world.publish(&rejected());
    world.settle();
    assert_eq!(world.sessions(), 0, "every session ended all the same");
    assert_eq!(world.rings[0].lost(), surplus as u64);
    assert_eq!(world.ends().len(), RING);
}

#[test]
fn a_worker_that_stops_notes_what_there_is_room_for_until_it_is_forced() {
    let mut world = World::new();
    let surplus = 5;
    for number in 0..RING + surplus {
        world.forwarded(CONSUMER, &udp("10.1.0.5", 1_024 + number as u16, "10.1.9.4", 5432));
    }
    let now = world.now;
    assert!(world.workers[0].forwarder.handle_stop(false, now), "no room for the rest");
    assert_eq!((world.ends().len(), world.rings[0].lost()), (RING, 0));
    assert!(!world.workers[0].forwarder.handle_stop(false, now), "the rest fits now");
    assert_eq!((world.ends().len(), world.rings[0].lost()), (surplus, 0));
    assert!(!world.workers[0].forwarder.handle_stop(true, now));
    assert!(world.ends().is_empty(), "each once");
}

/// Found by the model: time and rules change within one batch. Whoever sent the FINs, both ends are told before their
/// port is used again.
#[test]
fn what_idled_out_while_it_closed_is_reset_once_and_leaves_no_tombstone() {
    let mut world = World::new();
    close_but_for_the_last_ack(&mut world);
    world.sent();
    world.now.0 += 2_410;
    world.publish(&rejected());
    world.settle();
    let sent = world.sent();
    assert_eq!((said(&sent, CONSUMER, RST), said(&sent, PROVIDER, RST)), (vec![(901, 0), (902, 0)], vec![(102, 0)]));
    assert_eq!((sent.len(), world.sessions()), (3, 0), "it was over before it was revoked");
    let mut world = World::new();
    close_but_for_the_last_ack(&mut world);
    world.forwarded(CONSUMER, &from_consumer(ACK, 102, 902));
    world.now.0 += 2_410;
    world.settle();
    assert_eq!((world.sent(), world.sessions()), (vec![], 0), "both know");
}

/// M-9: a limit counts what is live, on whichever worker.
#[test]
fn an_end_makes_room_for_the_next_packet_and_on_every_worker_for_the_next_batch() {
    let reset = |port| tcp("10.1.0.5", port, "10.1.9.4", 5432).flags(RST).seq(101);
    let mut world = World::new();
    world.publish(&Rules { max_sessions: 1, ..Rules::default() });
    world.connect(20_000);
    for packet in [reset(20_000), tcp("10.1.0.5", 20_001, "10.1.9.4", 5432).flags(SYN)] {
        world.workers[0].ends().0[0].push(packet.frame());
    }
    world.settle();
    assert_eq!((world.sent().len(), world.drops(DropReason::SessionLimit)), (2, 0), "in one batch");

    let mut world = World::with_workers(2);
    world.publish(&Rules { max_sessions: 1, ..Rules::default() });
    for port in 20_000..20_032 {
        world.connect(port);
        world.forwarded(CONSUMER, &reset(port));
    }
    assert!(world.workers.iter().all(|worker| !worker.forwarder().sessions().is_empty()), "each had some of them");
}
