//! Each row of the tables of RFC 7915, and what of an error is changed and what is not.

use super::super::vnet;
use super::*;
use crate::wire::headers::put_word;

const V4: [Address; 4] =
    [Address::v4(0x0A14_0102), Address::v4(0x0A14_6304), Address::v4(0x0A01_0904), Address::v4(0x0A01_010A)];
const V6: [Address; 4] = [
    Address::v6(0xFD20 << 112 | 2),
    Address::v6(0xFD20 << 112 | 4),
    Address::v6(0xFD01 << 112 | 4),
    Address::v6(0xFD01 << 112 | 0xA),
];

/// A datagram from the second address to the first, as a router behind privlink quotes it.
fn quoted_packet(version: Version) -> Vec<u8> {
    let [backend, nat, ..] = if version == Version::V4 { V4 } else { V6 };
    let mut packet = build::icmp(nat, backend, [0, 0], 0, &[0x5A; 60]).split_off(vnet::LENGTH);
    let header = version.header();
    packet[if version == Version::V4 { 9 } else { 6 }] = ip::UDP;
    let transport = &mut packet[header..];
    put_half(transport, 0, 40_000);
    put_half(transport, 2, 5_353);
    put_half(transport, 4, 68);
    put_half(transport, 6, 0);
    let sum = checksum::join(build::pseudo_sum(nat, backend, ip::UDP, 68), checksum::sum(transport));
    put_half(transport, 6, !sum);
    if version == Version::V4 {
        put_half(&mut packet, 10, 0);
        let sum = !checksum::sum(&packet[..20]);
        put_half(&mut packet, 10, sum);
    }
    packet
}

/// An error of a router about that datagram.
fn error(version: Version, kind: [u8; 2], word: u32, quote: &[u8]) -> Vec<u8> {
    let [router, nat, ..] = if version == Version::V4 { V4 } else { V6 };
    build::icmp(router, nat, kind, word, quote).split_off(vnet::LENGTH)
}

fn read(packet: &[u8]) -> Result<ErrorMessage<'_>, Unusable> {
    read_error(packet, &ip::outline(packet).expect("a packet"))
}

/// The error for a consumer of `version`.
fn rebuilt(message: &ErrorMessage<'_>, version: Version) -> Option<Vec<u8>> {
    let [.., endpoint, consumer] = if version == Version::V4 { V4 } else { V6 };
    let quoted = QuotedAs { source: consumer, destination: endpoint, source_port: 50_000, destination_port: 53 };
    rebuild(message, endpoint, consumer, &quoted).map(|mut frame| frame.split_off(vnet::LENGTH))
}

/// Type, code and second word of an error, whose checksum is right.
fn told(packet: &[u8], version: Version) -> ([u8; 2], u32) {
    let outline = ip::outline(packet).expect("a packet");
    assert_eq!(outline.version, version);
    assert!(read(packet).is_ok(), "its checksums are right");
    let message = &packet[outline.header()..];
    ([message[0], message[1]], word(message, 4))
}

/// I-1, 46-1: RFC 7915 §4.2 and §5.2, row by row; `None`: there is no such error in the other family.
#[test]
fn types_codes_and_second_words_follow_the_tables() {
    for (kind, before, after) in [
        ([3, 0], 0, Some(([1, 0], 0))),
        ([3, 1], 0, Some(([1, 0], 0))),
        ([3, 2], 0, Some(([4, 1], 6))),
        ([3, 3], 0, Some(([1, 4], 0))),
        ([3, 4], 1_400, Some(([2, 0], 1_420))),
        ([3, 4], 600, Some(([2, 0], 1_280))),
        ([3, 4], 0, Some(([2, 0], 1_280))),
        ([3, 5], 0, Some(([1, 0], 0))),
        ([3, 9], 0, Some(([1, 1], 0))),
        ([3, 13], 0, Some(([1, 1], 0))),
        ([3, 14], 0, None),
        ([11, 0], 0, Some(([3, 0], 0))),
        ([11, 1], 0, Some(([3, 1], 0))),
        ([12, 0], 9 << 24, Some(([4, 0], 6))),
        ([12, 0], 16 << 24, Some(([4, 0], 24))),
        ([12, 0], 4 << 24, None),
        ([12, 1], 0, None),
    ] {
        let packet = error(Version::V4, kind, before, &quoted_packet(Version::V4));
        let message = read(&packet).expect("an error");
        let got = rebuilt(&message, Version::V6).map(|packet| told(&packet, Version::V6));
        assert_eq!(got, after, "{kind:?} {before}");
        let same = rebuilt(&message, Version::V4).expect("the same family");
        assert_eq!(told(&same, Version::V4), (kind, before), "unchanged in the same family");
    }
    for (kind, before, after) in [
        ([1, 0], 0, Some(([3, 1], 0))),
        ([1, 1], 0, Some(([3, 10], 0))),
        ([1, 2], 0, Some(([3, 1], 0))),
        ([1, 3], 0, Some(([3, 1], 0))),
        ([1, 4], 0, Some(([3, 3], 0))),
        ([1, 5], 0, None),
        ([2, 0], 1_400, Some(([3, 4], 1_380))),
        ([3, 0], 0, Some(([11, 0], 0))),
        ([3, 1], 0, Some(([11, 1], 0))),
        ([4, 0], 7, Some(([12, 0], 8 << 24))),
        ([4, 0], 39, Some(([12, 0], 16 << 24))),
        ([4, 0], 40, None),
        ([4, 1], 6, Some(([3, 2], 0))),
        ([4, 2], 0, None),
    ] {
        let packet = error(Version::V6, kind, before, &quoted_packet(Version::V6));
        let message = read(&packet).expect("an error");
        let got = rebuilt(&message, Version::V4).map(|packet| told(&packet, Version::V4));
        assert_eq!(got, after, "{kind:?} {before}");
        let same = rebuilt(&message, Version::V6).expect("the same family");
        assert_eq!(told(&same, Version::V6), (kind, before), "unchanged in the same family");
    }
}

/// I-1: the quote is what the consumer sent, and its checksums are right, in every pair of families.
#[test]
fn the_quote_is_restored_with_right_checksums() {
    for from in [Version::V4, Version::V6] {
        for to in [Version::V4, Version::V6] {
            let kind = if from == Version::V4 { [3, 3] } else { [1, 4] };
            let packet = error(from, kind, 0, &quoted_packet(from));
            let message = read(&packet).expect("an error");
            let quote = message.quote;
            assert_eq!((quote.protocol, quote.source_port, quote.destination_port), (ip::UDP, 40_000, 5_353));
            let out = rebuilt(&message, to).expect("translated");
            let [.., endpoint, consumer] = if to == Version::V4 { V4 } else { V6 };
            let inner = read(&out).expect("an error").quote;
            assert_eq!((inner.source, inner.destination), (consumer, endpoint));
            assert_eq!((inner.source_port, inner.destination_port), (50_000, 53));
            let transport = &inner.bytes[inner.header..];
            assert_eq!(transport.len(), 68);
            let sum = checksum::join(build::pseudo_sum(consumer, endpoint, ip::UDP, 68), checksum::sum(transport));
            assert_eq!(sum, 0xFFFF, "{from:?} to {to:?}");
            let outline = ip::outline(&out).expect("a packet");
            assert_eq!((outline.source, outline.destination, outline.hops), (endpoint, consumer, 63));
        }
    }
}

/// I-3, I-4: what is not a usable error, and why.
#[test]
fn unusable_errors_say_why() {
    for version in [Version::V4, Version::V6] {
        let kind = if version == Version::V4 { [3, 3] } else { [1, 4] };
        let quote = quoted_packet(version);
        let header = version.header();
        for cut in 0..header + 8 {
            assert!(read(&error(version, kind, 0, &quote[..cut])).is_err(), "a quote of {cut} bytes");
        }
        assert!(read(&error(version, kind, 0, &quote[..header + 8])).is_ok());
        let mut wrong = error(version, kind, 0, &quote);
        wrong[header + 2] ^= 0x40;
        assert_eq!(read(&wrong).err(), Some(Unusable::Checksum));
        let mut about = quote.clone();
        about[if version == Version::V4 { 9 } else { 6 }] = 47;
        assert!(read(&error(version, kind, 0, &about)).is_err(), "a protocol without sessions");
        let nested = error(version, kind, 0, &error(version, kind, 0, &quote));
        assert_eq!(read(&nested).err(), Some(Unusable::Quote), "an error about an error");
    }
    let mut quote = quoted_packet(Version::V4);
    quote[8] ^= 1;
    assert_eq!(read(&error(Version::V4, [3, 3], 0, &quote)).err(), Some(Unusable::Checksum));
    let mut later = quoted_packet(Version::V4);
    put_half(&mut later, 6, 5);
    put_half(&mut later, 10, 0);
    let sum = !checksum::sum(&later[..20]);
    put_half(&mut later, 10, sum);
    assert_eq!(read(&error(Version::V4, [3, 3], 0, &later)).err(), Some(Unusable::Quote), "a later fragment");
}

/// I-4, I-6: an extension behind the quote (RFC 4884) is cut off, and so is what says where it begins; of a short
/// packet the padding goes too.
#[test]
fn extensions_are_cut_off() {
    for (version, kind, at) in [(Version::V4, [11, 0], 5), (Version::V6, [3, 0], 4)] {
        for (long, kept) in [(false, version.header() + 68), (true, 128)] {
            let mut quote = quoted_packet(version);
            if long && version == Version::V4 {
                put_half(&mut quote, 2, 400);
                put_half(&mut quote, 10, 0);
                let sum = !checksum::sum(&quote[..20]);
                put_half(&mut quote, 10, sum);
            } else if long {
                put_half(&mut quote, 4, 400);
            }
            quote.resize(128, 0);
            quote.extend_from_slice(&[0xEE; 16]);
            let mut length = [0_u8; 4];
            length[at - 4] = if version == Version::V4 { 32 } else { 16 };
            let packet = error(version, kind, u32::from_be_bytes(length), &quote);
            let out = rebuilt(&read(&packet).expect("an error"), version).expect("rebuilt");
            assert_eq!(told(&out, version), (kind, 0));
            assert!(!out.contains(&0xEE), "the extension");
            assert_eq!(out.len(), version.header() + 8 + kept);
        }
    }
}

/// I-6: so is one that stands where it stood before RFC 4884, unannounced; a quoted packet that is only longer stays.
#[test]
fn unannounced_extensions_are_cut_off() {
    let mut quote = quoted_packet(Version::V4);
    put_half(&mut quote, 2, 400);
    put_half(&mut quote, 10, 0);
    let sum = !checksum::sum(&quote[..20]);
    put_half(&mut quote, 10, sum);
    quote.resize(128, 0);
    let mut extension = vec![0x20, 0, 0, 0, 0, 12, 1, 1, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE];
    let sum = !checksum::sum(&extension);
    put_half(&mut extension, 2, sum);
    let length = |behind: &[u8]| {
        let packet = error(Version::V4, [11, 0], 0, &[&quote[..], behind].concat());
        let out = rebuilt(&read(&packet).expect("an error"), Version::V4).expect("rebuilt");
        out.len() - Version::V4.header() - 8
    };
    assert_eq!(length(&extension), 128);
    extension[9] ^= 1;
    assert_eq!(length(&extension), 144, "its checksum is wrong: payload");
}

/// I-1: a quoted echo keeps its way round, and its checksum is right in the other family too.
#[test]
fn quoted_echoes_are_renamed() {
    for (from, to) in [(Version::V4, Version::V6), (Version::V6, Version::V4), (Version::V4, Version::V4)] {
        let [backend, nat, ..] = if from == Version::V4 { V4 } else { V6 };
        let kind = if from == Version::V4 { [8, 0] } else { [128, 0] };
        let request = build::icmp(nat, backend, kind, 4_000 << 16 | 1, &[7; 30]).split_off(vnet::LENGTH);
        let packet = error(from, if from == Version::V4 { [3, 1] } else { [1, 0] }, 0, &request);
        let message = read(&packet).expect("an error");
        assert_eq!((message.quote.source_port, message.quote.destination_port), (4_000, 0));
        let [.., endpoint, consumer] = if to == Version::V4 { V4 } else { V6 };
        let quoted = QuotedAs { source: consumer, destination: endpoint, source_port: 9, destination_port: 0 };
        let out = rebuild(&message, endpoint, consumer, &quoted).expect("rebuilt").split_off(vnet::LENGTH);
        let inner = read(&out).expect("an error").quote;
        assert_eq!(inner.source_port, 9);
        let mut whole = inner.bytes.to_vec();
        let outline = ip::outline(&whole).expect("a packet");
        let pseudo = match to {
            Version::V4 => 0,
            Version::V6 => build::pseudo_sum(consumer, endpoint, ip::ICMPV6, outline.total() - outline.header()),
        };
        assert_eq!(checksum::join(pseudo, checksum::sum(&whole[outline.header()..])), 0xFFFF, "{from:?} to {to:?}");
        put_word(&mut whole, 0, 0);
    }
}
