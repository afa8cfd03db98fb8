//! Each test names the requirement it holds; the last compares with a map of bytes.

use proptest::prelude::*;

use super::*;
use crate::wire::fragment::split;
use crate::wire::{build, ip, vnet};

const LIFETIME: u32 = 300;
const AT: AttachmentId = AttachmentId(0);

fn address(wide: bool, last: u8) -> Address {
    if wide { Address::v6(0xFD00 << 112 | u128::from(last)) } else { Address::v4(0x0A01_0000 | u32::from(last)) }
}

/// Pieces of a datagram of `length` bytes from host `source`.
fn pieces(wide: bool, source: u8, length: usize, mtu: usize, identification: u32) -> Vec<Vec<u8>> {
    let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8 ^ source).collect();
    let packet = build::icmp(address(wide, source), address(wide, 200), [8, 0], 7, &body);
    split(&packet[vnet::LENGTH..], mtu, identification)
        .expect("it can be cut")
        .into_iter()
        .map(|mut frame| frame.split_off(vnet::LENGTH))
        .collect()
}

fn add(all: &mut Reassembler, packet: &[u8], now: u32) -> Outcome {
    add_at(all, AT, packet, now)
}

fn add_at(all: &mut Reassembler, at: AttachmentId, packet: &[u8], now: u32) -> Outcome {
    let outline = ip::outline(packet).expect("a packet");
    all.add(at, packet, &outline, &outline.fragment.expect("a piece"), Tick(now), LIFETIME)
}

fn whole(all: &mut Reassembler, packets: &[Vec<u8>]) -> Datagram {
    let (last, first) = packets.split_last().expect("pieces");
    for packet in first {
        assert!(matches!(add(all, packet, 0), Outcome::Held), "{packet:?}");
    }
    let Outcome::Whole(datagram) = add(all, last, 0) else { panic!("not whole") };
    datagram
}

impl Reassembler {
    /// Pieces kept now.
    fn held(&self) -> usize {
        self.datagrams.values().map(|assembly| assembly.pieces.len()).sum()
    }
}

/// G-1: in any order, and the packet is what was cut.
#[test]
fn a_datagram_is_put_together_in_any_order() {
    for wide in [false, true] {
        let cut = pieces(wide, 1, 4_000, 1_000, 9);
        let mut orders = vec![cut.clone(), cut.iter().rev().cloned().collect()];
        orders.push([&cut[1..], &cut[..1]].concat());
        for order in orders {
            let mut all = Reassembler::new(7);
            let datagram = whole(&mut all, &order);
            let outline = ip::outline(&datagram.frame[vnet::LENGTH..]).expect("a packet");
            assert_eq!((outline.fragment, outline.total()), (None, cut[0].len().min(outline.header()) + 4_008));
            assert_eq!((datagram.pieces as usize, datagram.largest), (cut.len(), cut[0].len()));
            assert_eq!(all.held(), 0);
            assert!(all.is_empty() && all.bytes == 0 && all.by_source.is_empty());
        }
    }
}

/// G-3: an exact duplicate harms nothing, any other overlap kills the datagram and what comes of it later.
#[test]
fn an_overlap_kills_and_a_duplicate_does_not() {
    let cut = pieces(false, 1, 3_000, 1_000, 9);
    let mut all = Reassembler::new(7);
    add(&mut all, &cut[0], 0);
    assert!(matches!(add(&mut all, &cut[0], 0), Outcome::Dropped(DropReason::FragmentDuplicate)));
    let mut other = cut[0].clone();
    *other.last_mut().expect("bytes") ^= 1;
    let killed = add(&mut all, &other, 0);
    assert!(matches!(killed, Outcome::Killed { reason: DropReason::FragmentOverlap, held: 1 }), "{killed:?}");
    for piece in &cut[1..] {
        assert!(matches!(add(&mut all, piece, 1), Outcome::Dropped(DropReason::FragmentDead)));
    }
    assert_eq!((all.held(), all.bytes), (0, 0));
    all.expire(Tick(LIFETIME), 9);
    whole(&mut all, &cut);
}

/// G-3: what is left of a datagram that was given up is dropped, its first piece too where that had not come; once that
/// comes again, the sender has begun another under the same number.
#[test]
fn a_number_is_used_again() {
    let cut = pieces(false, 1, 3_000, 1_000, 9);
    let mut other = cut[1].clone();
    *other.last_mut().expect("bytes") ^= 1;
    let mut all = Reassembler::new(7);
    add(&mut all, &cut[1], 0);
    assert!(matches!(add(&mut all, &other, 0), Outcome::Killed { .. }));
    for piece in [&cut[2], &cut[0], &cut[1]] {
        assert!(matches!(add(&mut all, piece, 1), Outcome::Dropped(DropReason::FragmentDead)));
    }
    whole(&mut all, &cut);
    assert!(all.is_empty() && all.bytes == 0 && all.by_source.is_empty());
}

/// G-3: two last pieces, and a piece beyond the last.
#[test]
fn contradictions_about_the_end_kill() {
    let (long, short) = (pieces(true, 1, 3_000, 1_000, 9), pieces(true, 1, 1_200, 1_000, 9));
    for (first, second) in [(&long[3], &short[1]), (&short[1], &long[3]), (&short[1], &long[2])] {
        let mut all = Reassembler::new(7);
        add(&mut all, first, 0);
        assert!(matches!(add(&mut all, second, 0), Outcome::Killed { reason: DropReason::FragmentOverlap, .. }));
    }
}

/// G-5: a source that has its share displaces its own datagrams, oldest first, and never another's.
#[test]
fn a_flood_displaces_only_its_own() {
    let mut all = Reassembler::new(7);
    let victim = pieces(false, 1, 3_000, 1_000, 1);
    add(&mut all, &victim[0], 0);
    for number in 0..50_000 {
        add(&mut all, &pieces(false, 2, 100, 60, number % 65_536)[0], 1);
        assert!(all.datagrams.len() <= MOST_OF_SOURCE + 1);
    }
    assert_eq!(all.take_displaced(), 50_000 - MOST_OF_SOURCE as u64);
    assert!(matches!(add(&mut all, &victim[1], 2), Outcome::Held));
    whole(&mut all, &victim[2..]);
}

/// One tenant floods from many sources; what another began before and during the flood becomes whole.
#[test]
fn a_flood_of_one_tenant_displaces_nothing_of_another() {
    let mut all = Reassembler::new(7);
    let quiet = AttachmentId(7);
    let cut = pieces(false, 1, 2_000, 1_000, 9);
    assert!(matches!(add_at(&mut all, quiet, &cut[0], 0), Outcome::Held));
    let large = pieces(true, 0, 60_000, 1_400, 0);
    for number in 0..4_000_u32 {
        let mut packet = large[usize::try_from(number).expect("small") % (large.len() - 1)].clone();
        // Another source, another number.
        packet[20..24].copy_from_slice(&(number / 8).to_be_bytes());
        packet[44..48].copy_from_slice(&(number % 1_500).to_be_bytes());
        add(&mut all, &packet, 1 + number / 1_000);
    }
    assert!(all.take_displaced() > 1_000, "the flood is more than there is room for");
    assert!(all.datagrams.len() <= MOST_DATAGRAMS && all.bytes <= MOST_BYTES);
    assert!(matches!(add_at(&mut all, quiet, &cut[1], 5), Outcome::Held | Outcome::Whole(_)), "it is still there");
    for piece in &cut[2..] {
        add_at(&mut all, quiet, piece, 5);
    }
    assert!(!all.datagrams.keys().any(|key| key.attachment == quiet), "it became whole");
    let held: usize = all.tenants.values().map(|tenant| tenant.bytes).sum();
    assert_eq!((held, all.tenants.len()), (all.bytes, 1));
}

/// Neither the one whose number is lower, nor one that a map happens to keep first.
#[test]
fn of_tenants_that_hold_as_much_a_random_one_gives() {
    let tenants = [AttachmentId(3), AttachmentId(4)];
    let mut all = Reassembler::new(7);
    let mut number = 0_u32;
    let mut begin = |all: &mut Reassembler, tenant: AttachmentId| {
        number += 1;
        let outcome = add_at(all, tenant, &pieces(false, (number % 100) as u8, 100, 60, number)[0], number / 1_000);
        assert!(matches!(outcome, Outcome::Held), "{outcome:?}");
    };
    for _ in 0..MOST_DATAGRAMS / 2 {
        for tenant in tenants {
            begin(&mut all, tenant);
        }
    }
    let held = |all: &Reassembler| tenants.map(|tenant| all.tenants[&tenant].by_turn.len());
    let mut gave = [0; 2];
    for round in 0..200 {
        assert_eq!(held(&all), [MOST_DATAGRAMS / 2; 2], "they are equal");
        let (one, other) = (round % 2, 1 - round % 2);
        begin(&mut all, tenants[one]);
        if held(&all)[other] < MOST_DATAGRAMS / 2 {
            gave[other] += 1;
            // It takes back what it gave: the first holds most now.
            begin(&mut all, tenants[other]);
        } else {
            gave[one] += 1;
        }
    }
    assert!(gave.iter().all(|gave| *gave > 60), "{gave:?}");
}

/// Of one tick, too: neither a lower address nor a lower number goes first.
#[test]
fn the_first_that_began_goes_first() {
    let mut all = Reassembler::new(7);
    let most = MOST_OF_SOURCE as u32;
    for number in (0..most).rev() {
        add(&mut all, &pieces(false, 9, 100, 60, number)[0], 5);
    }
    add(&mut all, &pieces(false, 9, 100, 60, most)[0], 5);
    assert!(all.datagrams.keys().all(|key| key.identification != most - 1), "the first of the source");
    for source in (0..=250_u8).rev().filter(|source| *source != 9) {
        (0..4).for_each(|number| _ = add(&mut all, &pieces(false, source, 100, 60, number)[0], 5));
    }
    assert!(all.datagrams.len() <= MOST_DATAGRAMS);
    assert!(all.datagrams.keys().any(|key| key.source == address(false, 0)), "the lowest address came last");
    assert!(
        all.datagrams.keys().filter(|key| key.source == address(false, 9)).count() < MOST_OF_SOURCE,
        "9 came first"
    );
}

/// G-5: however many sources, memory has a bound.
#[test]
fn memory_and_number_are_bounded() {
    let mut all = Reassembler::new(7);
    for number in 0..60_000_u32 {
        let mut piece = pieces(false, 1, 2_000, 1_500, number % 60_000).swap_remove(0);
        piece[14] = (number % 250) as u8 + 1;
        piece[10..12].fill(0);
        let sum = !checksum::sum(&piece[..20]);
        piece[10..12].copy_from_slice(&sum.to_be_bytes());
        add(&mut all, &piece, 0);
        assert!(all.bytes <= MOST_BYTES && all.datagrams.len() <= MOST_DATAGRAMS);
    }
    assert_eq!(all.expire(Tick(LIFETIME), usize::MAX).len(), all.by_turn.len() + MOST_DATAGRAMS);
    assert!(all.is_empty() && all.bytes == 0);
}

/// G-5: too many pieces, too long, too late.
#[test]
fn pieces_are_counted_and_timed() {
    let mut all = Reassembler::new(7);
    let many = pieces(true, 1, 8 * 400, 56, 3);
    let outcomes: Vec<Outcome> = many.iter().map(|piece| add(&mut all, piece, 0)).collect();
    assert!(matches!(outcomes[MOST_PIECES], Outcome::Killed { reason: DropReason::FragmentTooMany, held: 128 }));
    let late = pieces(false, 1, 3_000, 1_000, 4);
    add(&mut all, &late[0], 10);
    assert!(all.expire(Tick(10 + LIFETIME - 1), 9).iter().all(|over| over.first.is_none()));
    let over = all.expire(Tick(10 + LIFETIME), 9);
    assert_eq!((over.len(), over[0].held, over[0].first.as_ref()), (1, 1, Some(&late[0])));
}

/// RFC 3168 §5.3: congestion met by one piece is met by the datagram.
#[test]
fn congestion_is_kept() {
    let mut cut = pieces(false, 1, 3_000, 1_000, 9);
    cut[1][1] = 3;
    cut[1][10..12].fill(0);
    let sum = !checksum::sum(&cut[1][..20]);
    cut[1][10..12].copy_from_slice(&sum.to_be_bytes());
    let datagram = whole(&mut Reassembler::new(7), &cut);
    assert_eq!(datagram.frame[vnet::LENGTH + 1], 3);
    assert!(ip::outline(&datagram.frame[vnet::LENGTH..]).is_ok(), "its checksum is right");
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    /// Against a map of bytes: whole exactly when every byte has come without contradiction.
    #[test]
    fn a_naive_map_of_bytes_agrees(
        wide: bool,
        spans in proptest::collection::vec((0_usize..12, 1_usize..5, any::<bool>(), any::<bool>()), 1..16),
    ) {
        let template = pieces(wide, 1, 3_000, 1_000, 9).swap_remove(0);
        let header = ip::outline(&template).expect("a packet").header();
        let mut all = Reassembler::new(7);
        let mut seen: Vec<(usize, usize, bool, bool)> = Vec::new();
        let (mut dead, mut begun, mut done) = (false, false, false);
        for (offset, length, more, other) in spans {
            let (offset, length) = (offset * 8, length * 8);
            let body: Vec<u8> = (offset..offset + length).map(|at| at as u8 ^ u8::from(other)).collect();
            let mut packet = [&template[..header], &body].concat();
            if wide {
                put_half(&mut packet, 4, (header - 40 + length) as u16);
                put_half(&mut packet, header - 6, offset as u16 | u16::from(more));
            } else {
                put_half(&mut packet, 2, (header + length) as u16);
                put_half(&mut packet, 6, (offset / 8) as u16 | if more { 0x2000 } else { 0 });
                put_half(&mut packet, 10, 0);
                let sum = !checksum::sum(&packet[..20]);
                put_half(&mut packet, 10, sum);
            }
            let outline = ip::outline(&packet).expect("a packet");
            let Some(fragment) = outline.fragment else { continue };
            let outcome = all.add(AT, &packet, &outline, &fragment, Tick(0), LIFETIME);
            if done {
                break;
            }
            let mine = (offset, offset + length, more, other);
            if dead && begun && offset == 0 {
                // The first piece once more: another datagram under the same number.
                dead = false;
                seen.clear();
            }
            begun |= offset == 0;
            if dead {
                prop_assert!(matches!(outcome, Outcome::Dropped(DropReason::FragmentDead)));
                continue;
            }
            if seen.contains(&mine) {
                prop_assert!(matches!(outcome, Outcome::Dropped(DropReason::FragmentDuplicate)));
                continue;
            }
            let overlaps = seen.iter().any(|one| one.0 < mine.1 && mine.0 < one.1);
            let ends: Vec<usize> = seen.iter().chain([&mine]).filter(|one| !one.2).map(|one| one.1).collect();
            let beyond = ends.iter().any(|end| {
                seen.iter().chain([&mine]).any(|one| one.1 > *end || one.2 && one.1 >= *end)
            });
            if overlaps || beyond {
                dead = true;
                prop_assert!(matches!(outcome, Outcome::Killed { reason: DropReason::FragmentOverlap, .. }), "{outcome:?}");
                continue;
            }
            seen.push(mine);
            let bytes: usize = seen.iter().map(|one| one.1 - one.0).sum();
            done = ends.first() == Some(&bytes);
            prop_assert_eq!(matches!(outcome, Outcome::Whole(_)), done, "{:?} of {:?}", outcome, seen);
        }
    }

    /// What is cut and put together again is what it was.
    #[test]
    fn cutting_and_joining_is_the_identity(wide: bool, length in 100_usize..9_000, mtu in 100_usize..1_500) {
        let body: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let packet = build::icmp(address(wide, 1), address(wide, 2), [8, 0], 7, &body).split_off(vnet::LENGTH);
        prop_assume!(length / ((mtu - 48) & !7) < MOST_PIECES);
        let cut: Vec<Vec<u8>> =
            split(&packet, mtu, 77).expect("cut").into_iter().map(|mut frame| frame.split_off(vnet::LENGTH)).collect();
        prop_assert!(cut.iter().all(|piece| piece.len() <= mtu));
        let mut expected = packet.clone();
        if !wide {
            // The don't-fragment flag of what could not be cut goes; the identification is the pieces'.
            put_half(&mut expected, 4, 77);
            put_half(&mut expected, 6, 0);
            put_half(&mut expected, 10, 0);
            let sum = !checksum::sum(&expected[..20]);
            put_half(&mut expected, 10, sum);
        }
        if cut.len() > 1 {
            prop_assert_eq!(&whole(&mut Reassembler::new(7), &cut).frame[vnet::LENGTH..], expected);
        }
    }
}
