//! Sessions of all families, and what a table makes of them.

use std::collections::HashMap;

use super::*;
use crate::dataplane::session::{Addresses, Admitted, Tick};
use crate::snapshot::{AttachmentId, Generation, Protocol, ResourceId, TargetId};

/// Addresses and ports that differ from others by their number; every family meets every other.
pub(crate) fn addresses(number: u32) -> Addresses {
    let side = |wide, address: u32| {
        if wide { Address::v6(0xFD00 << 112 | u128::from(address)) } else { Address::v4(address) }
    };
    let (consumer, provider) = (number & 1 != 0, number & 2 != 0);
    Addresses {
        consumer: side(consumer, 0x0A01_0000 + (number >> 8)),
        endpoint: side(consumer, 0x0A01_0904),
        nat: side(provider, 0x0A14_6304 + (number >> 15)),
        backend: side(provider, 0x0A14_0002),
        consumer_port: 20_000 + (number & 0xFF) as u16,
        endpoint_port: 5432,
        nat_port: 1024 + (number & 0x7FFF) as u16,
        backend_port: 5432,
    }
}

/// A TCP session that differs from others by its number.
pub(crate) fn session(number: u32) -> Session {
    let admitted = Admitted {
        consumer_attachment: AttachmentId(0),
        provider_attachment: AttachmentId(1),
        endpoint: EndpointId(number % 3),
        link: number % 3,
        generation: Generation(1),
        resource: ResourceId(0),
        target: TargetId(0),
        idle_limit: 2_400,
        is_limited: false,
    };
    Session::open(&addresses(number), Protocol::Tcp, &admitted, Tick(0))
}

fn table(capacity: u32) -> Table {
    Table::new(capacity, [0x1234_5678_9ABC_DEF1, 0x0FED_CBA9_8765_4321])
}

fn insert(table: &mut Table, number: u32) -> Option<Slot> {
    table.insert(&addresses(number), session(number))
}

fn service_key(number: u32) -> FlowKey {
    session(number).service_key(&addresses(number))
}

fn consumer_key(number: u32) -> FlowKey {
    session(number).consumer_key(&addresses(number))
}

#[test]
fn a_rare_record_goes_with_its_session() {
    let mut table = table(10);
    let slots = [1, 2].map(|number| insert(&mut table, number).expect("room"));
    assert_eq!(table.rare(slots[0]), None);
    table.rare_mut(slots[0]).expect("a session").strange = Some(Tick(7));
    table.rare_mut(slots[1]).expect("a session").strange = Some(Tick(8));
    assert_eq!(table.rare(slots[0]).expect("made").strange, Some(Tick(7)));
    table.remove(slots[0]);
    assert_eq!((table.rare(slots[0]), table.rare.len()), (None, 1));
    assert_eq!(table.rare_mut(slots[0]), None, "none is made for nobody");
    assert_eq!(table.rare.len(), 1);
    let again = insert(&mut table, 3).expect("room");
    assert_eq!(table.rare(again), None, "nothing is left in a slot used again");
    assert_eq!(table.rare_mut(again), Some(&mut Rare::default()));
}

#[test]
fn random_insertions_and_removals_match_a_map() {
    let mut table = table(2_000);
    let mut model: HashMap<u32, Slot> = HashMap::new();
    let mut random = fastrand::Rng::with_seed(7);
    for step in 0..60_000 {
        let number = random.u32(..3_000);
        match model.remove(&number) {
            Some(slot) => {
                assert_eq!(table.remove(slot).expect("present").0, addresses(number));
            }
            None if model.len() < 2_000 => {
                model.insert(number, insert(&mut table, number).expect("room"));
            }
            None => assert!(insert(&mut table, number).is_none(), "full at step {step}"),
        }
        let probe = random.u32(..3_000);
        let expected = model.get(&probe).copied();
        let hit = |direction| expected.map(|session| Hit { session, direction });
        assert_eq!(table.find_any(&service_key(probe)), hit(Direction::ToService));
        assert_eq!(table.find_any(&consumer_key(probe)), hit(Direction::ToConsumer));
    }
    assert_eq!(table.len(), model.len());
    for (_, slot) in model {
        table.remove(slot);
    }
    assert_eq!(table.wide.len(), 0, "addresses go with their session");
    assert!(table.index.is_clean(), "an emptied index is clean");
}

#[test]
fn a_slot_is_freed_once_however_often_it_is_removed() {
    let mut table = table(10);
    let slot = insert(&mut table, 1).expect("room");
    assert!(table.remove(slot).is_some() && table.remove(slot).is_none());
    let slots = [2, 3].map(|number| insert(&mut table, number).expect("room"));
    assert_ne!(slots[0], slots[1]);
    assert_eq!(table.len(), 2);
}

#[test]
fn a_search_ends_also_where_every_bucket_was_passed() {
    let mut table = table(6);
    table.index.pass_everywhere();
    insert(&mut table, 1).expect("room");
    assert_eq!(table.find_any(&service_key(2)), None);
    assert_eq!(table.find_any(&consumer_key(2)), None);
}

/// Where a key belongs nothing is left within reach: its session is refused whole, and counted.
#[test]
fn a_search_is_bounded_and_what_would_lie_beyond_is_refused() {
    for direction in [Direction::ToService, Direction::ToConsumer] {
        let mut table = table(9_000);
        let key = if direction == Direction::ToService { service_key(1) } else { consumer_key(1) };
        let hash = table.hash(&key);
        let others: Vec<_> = (100..).map(|slot| Candidate::of(Slot(slot), direction)).take(1_024).collect();
        assert!(others.iter().all(|other| table.index.insert(hash, *other)));
        assert!(insert(&mut table, 1).is_none(), "all buckets within reach are full");
        assert_eq!((table.probes(), table.len()), (Probes { longest: 128, refused: 1 }, 0));
        assert_eq!(table.wide.len(), 0);
        for other in others {
            table.index.remove(hash, other);
        }
        assert!(table.index.is_clean());
        assert!(insert(&mut table, 1).is_some());
    }
}

#[test]
fn the_same_tuple_in_another_vnet_is_another_flow() {
    let mut table = table(10);
    for number in 0..4 {
        insert(&mut table, number);
        let elsewhere = FlowKey { attachment: AttachmentId(1), ..service_key(number) };
        assert!(table.find_any(&elsewhere).is_none());
    }
}

#[test]
fn an_endpoints_list_holds_its_sessions_and_no_others() {
    let mut table = table(100);
    let slots: Vec<Slot> = (0..30).map(|n| insert(&mut table, n).expect("room")).collect();
    table.remove(slots[3]);
    table.unlink(slots[27]);
    table.remove(slots[0]);
    let mut listed = Vec::new();
    let mut next = table.first_of(EndpointId(0));
    while let Some(slot) = next {
        listed.push(slot);
        next = table.after(slot);
    }
    let expected: Vec<Slot> =
        (0..30_usize).rev().filter(|n| n % 3 == 0 && ![0, 3, 27].contains(n)).map(|n| slots[n]).collect();
    assert_eq!(listed, expected);
}
