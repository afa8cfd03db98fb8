"""Fragments (G-1 to G-6), and what does not fit (I-9)."""

import random

from kit import FOUR, FOURSIX, PAIRS, PORTS, SIX, SIXFOUR, Pair, case, datagram, each_pair, none, one, reply, right, same, want
from lab import CLIENT, ENDPOINT, IP, SERVER, UDP, WAITING, IPv6, answer
from scapy.all import ICMP, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN, Raw, TCP

NUMBERS = iter(random.sample(range(1, 65535), 60000))


def cut(packet, size=1000, ident=None):
    """Fragments of a packet; `size` is the payload of each, a multiple of 8."""
    ident = next(NUMBERS) if ident is None else ident
    header = 40 if packet.version == 6 else 20
    raw = bytes(packet)
    body = raw[header:]
    pieces = []
    for at in range(0, len(body), size):
        more = at + size < len(body)
        pieces.append(piece(packet, body[at:at + size], at, more, ident))
    return pieces


def piece(packet, bytes_, at, more, ident):
    if packet.version == 6:
        number = 17 if UDP in packet else 6 if TCP in packet else 58
        return IPv6(src=packet.src, dst=packet.dst) / IPv6ExtHdrFragment(nh=number, offset=at // 8, m=int(more), id=ident) / Raw(bytes_)
    return IP(src=packet.src, dst=packet.dst, id=ident, flags="MF" if more else "", frag=at // 8, proto=packet.proto) / Raw(bytes_)


def join(packets):
    """What a host makes of fragments: one packet; every identification and overlap checked."""
    want(packets, "no fragments")
    first = packets[0]
    same(len({ident(packet) for packet in packets}), 1, "identifications")
    parts = {}
    for packet in packets:
        offset, more, body = part(packet)
        want(offset not in parts, "an overlap")
        parts[offset] = (more, body)
    data, at = b"", 0
    for offset in sorted(parts):
        same(offset, at, "a hole")
        data += parts[offset][1]
        at += len(parts[offset][1])
    want(not parts[max(parts)][0], "the last piece")
    if first.version == 4:
        whole = IP(src=first.src, dst=first.dst, proto=first.proto, ttl=first.ttl) / Raw(data)
        return IP(bytes(whole))
    whole = IPv6(src=first.src, dst=first.dst, nh=first[IPv6ExtHdrFragment].nh, hlim=first.hlim) / Raw(data)
    return IPv6(bytes(whole))


def ident(packet):
    return packet.id if packet.version == 4 else packet[IPv6ExtHdrFragment].id


def part(packet):
    if packet.version == 4:
        return packet.frag * 8, bool(packet.flags.MF), bytes(packet)[packet.ihl * 4:packet.len]
    header = packet[IPv6ExtHdrFragment]
    return header.offset * 8, bool(header.m), bytes(header.payload)


def whole(packets):
    """A datagram at a host, in pieces or not."""
    return right(packets[0] if len(packets) == 1 and UDP in packets[0] and not is_piece(packets[0]) else join(packets))


def is_piece(packet):
    return IPv6ExtHdrFragment in packet if packet.version == 6 else bool(packet.flags.MF or packet.frag)


def question(pair, size=3000, port=None, **fields):
    payload = random.randbytes(size)
    return pair.up(**fields) / UDP(sport=port or next(PORTS), dport=53) / Raw(payload), payload


@each_pair("G-1")
def fragments_in_any_order(lab, pair):
    port = next(PORTS)
    for order in (lambda p: p, lambda p: p[::-1], lambda p: p[1:] + p[:1], lambda p: random.sample(p, len(p))):
        packet, payload = question(pair, port=port)
        got = whole(lab.up(*order(cut(packet)))[0])
        same(bytes(got[UDP].payload)[:len(payload)], payload, "payload")
        back = reply(got, payload[::-1])
        answered = whole(lab.down(*order(cut(back)))[0])
        same((answered.src, answered.dst, answered[UDP].dport), (pair.endpoint, pair.client, port), "the answer's ends")
        same(bytes(answered[UDP].payload), payload[::-1], "payload of the answer")


@each_pair("G-1")
def the_largest_datagram(lab, pair):
    packet, payload = question(pair, 60000)
    got = whole(lab.up(*cut(packet, 1400))[0])
    same(bytes(got[UDP].payload), payload, "60,000 bytes")


@each_pair("G-1")
def large_echoes_and_segments(lab, pair):
    request = pair.up() / pair.echo(True, 321, data=random.randbytes(2500))
    got = lab.up(*cut(request))[0]
    right(join(got))
    syn = pair.up() / TCP(sport=next(PORTS), dport=443, flags="S", seq=5) / Raw(random.randbytes(1600))
    right(join(lab.up(*cut(syn, 800))[0]) if is_piece(lab_last(lab, cut(syn, 800))) else lab.last)


def lab_last(lab, pieces):
    """The first packet at the server; kept in `lab.last`."""
    packets = lab.up(*pieces)[0]
    want(packets, "nothing at the server")
    lab.last = packets[0]
    return packets[0]


@case("G-2")
def policy_holds_for_every_fragment(lab):
    closed = Pair("waiting", CLIENT, WAITING, SERVER, ())
    for packet in (closed.up() / UDP(sport=9, dport=53) / Raw(b"x" * 3000), FOUR.up() / UDP(sport=9, dport=80) / Raw(b"x" * 3000),
                   IP(src="172.16.0.9", dst=ENDPOINT) / UDP(sport=9, dport=53) / Raw(b"x" * 3000),
                   IP(src=CLIENT, dst="10.1.9.200") / UDP(sport=9, dport=53) / Raw(b"x" * 3000),
                   FOUR.up() / TCP(sport=9, dport=443, flags="A") / Raw(b"x" * 3000)):
        for pieces in (cut(packet), cut(packet)[1:], cut(packet)[:1], cut(packet)[::-1]):
            none(lab.up(*pieces, wait=0.06)[0], f"of {packet.summary()}")
    nobody = IP(src=SERVER, dst=FOUR.nats[0]) / UDP(sport=5353, dport=40000) / Raw(b"x" * 3000)
    none(lab.down(*cut(nobody), wait=0.1)[0], "of a datagram that nobody asked for")


@case("G-2")
def orphans_pass_nothing(lab):
    for pair in (FOUR, SIX):
        packet, _ = question(pair)
        none(lab.up(*cut(packet)[1:], wait=0.1)[0], "later pieces alone")
        packet, _ = question(pair)
        none(lab.up(*cut(packet)[:-1], wait=0.1)[0], "all but the last")


@case("G-3")
def an_overlap_kills_the_datagram(lab):
    for pair in (FOUR, SIX):
        for kind in ("partial", "contained", "covering", "same place, other bytes", "beyond the end", "two ends"):
            packet, _ = question(pair, 2000, port=next(PORTS))
            pieces, body = cut(packet, 800, 500 + hash(kind) % 1000), bytes(packet)[40 if pair is SIX else 20:]
            number = ident(pieces[0])
            bad = {"partial": (body[792:1600], 792, True), "contained": (body[808:816], 808, True),
                   "covering": (b"z" * 1408, 0, True), "same place, other bytes": (b"z" * 800, 800, True),
                   "beyond the end": (b"z" * 80, 2400, True), "two ends": (b"z" * 80, 2400, False)}[kind]
            extra = piece(packet, *bad, number)
            for order in ([pieces[0], pieces[1], extra, pieces[2]], [pieces[0], extra, pieces[1], pieces[2]]):
                if order[1] is extra and kind in ("beyond the end",):
                    continue
                none(lab.up(*order, wait=0.08)[0], f"{kind} ({pair.name})")
                for again in order:
                    number += 1
                    if again.version == 4:
                        again.id = number
                order = [fresh(again, number) for again in order]
                number += 1


def fresh(packet, number):
    """The same piece of another datagram."""
    copy = packet.copy()
    if copy.version == 4:
        copy.id = number
        del copy.chksum
    else:
        copy[IPv6ExtHdrFragment].id = number
    return copy


@case("G-3")
def an_exact_duplicate_harms_nothing(lab):
    for pair in PAIRS:
        packet, payload = question(pair)
        pieces = cut(packet)
        got = whole(lab.up(pieces[0], pieces[0], pieces[1], pieces[1], *pieces[2:])[0])
        same(bytes(got[UDP].payload), payload, "payload")


@case("G-4")
def two_clients_fragments_never_mix(lab):
    number = next(NUMBERS)
    sources = ("10.1.1.61", "10.1.1.62")
    packets = [IP(src=source, dst=ENDPOINT) / UDP(sport=5000, dport=53) / Raw(source.encode() * 300) for source in sources]
    first, second = (cut(packet, 800, number) for packet in packets)
    mixed = [one_ for pair in zip(first, second) for one_ in pair] + first[len(second):] + second[len(first):]
    at_server, _ = lab.up(*mixed)
    by = {}
    for packet in at_server:
        by.setdefault((packet.src, packet.id), []).append(packet)
    same(len(by), 2, "identifications at the server")
    payloads = {bytes(join(group)[UDP].payload) for group in by.values()}
    same(payloads, {source.encode() * 300 for source in sources}, "payloads")


@case("G-4")
def identifications_of_what_may_be_cut_are_our_own(lab):
    seen = set()
    for source in ("10.1.1.63", "10.1.1.64", "10.1.1.65"):
        packet = IP(src=source, dst=ENDPOINT, id=0x4242) / UDP(sport=5001, dport=53) / Raw(b"x")
        got = one(lab.up(packet)[0], "datagram")
        seen.add((got.src, got.id))
    same(len(seen), 3, "identifications")


@case("G-5")
def a_flood_does_not_hurt_whole_packets(lab):
    flood = [piece(FOUR.up() / UDP() / Raw(b""), b"x" * 64, 0, True, number) for number in range(1, 3000)]
    lab.up(*flood)
    datagram(lab, FOUR)
    other = Pair("other source", "10.1.1.70", ENDPOINT, SERVER, ())
    packet, payload = question(other)
    same(bytes(whole(lab.up(*cut(packet))[0])[UDP].payload), payload, "another source's fragments")
    counts = lab.drops()
    want(counts.get("fragment_full", 0) > 1000, f"refused for want of room: {counts}")


@case("G-5")
def too_many_pieces(lab):
    packet, _ = question(SIX, 8 * 300)
    none(lab.up(*cut(packet, 8), wait=0.2)[0], "a datagram of 301 pieces")


@case("G-6")
def small_first_fragments_pass(lab):
    for pair in (SIX, SIXFOUR, FOURSIX):
        packet, payload = question(pair, 100)
        raw = bytes(packet)
        header = 40 if packet.version == 6 else 20
        body, number = raw[header:], next(NUMBERS)
        pieces = [piece(packet, body[:8], 0, True, number), piece(packet, body[8:], 8, False, number)]
        before = lab.drops()
        got = lab.up(*pieces)[0]
        want(got, lambda: f"nothing at the server ({pair.name}): {before} {lab.drops()}")
        same(bytes(whole(got)[UDP].payload), payload, "payload")


@case("G-3", "X-1")
def the_ping_of_death(lab):
    packet = FOUR.up() / UDP(sport=1, dport=53) / Raw(b"")
    number = next(NUMBERS)
    pieces = [piece(packet, b"x" * 1480, at, True, number) for at in range(0, 65120, 1480)]
    none(lab.up(*pieces, piece(packet, b"x" * 1480, 65120, False, number), wait=0.1)[0], "a datagram beyond 65,535 bytes")


@case("G-2", "X-1")
def tiny_and_crooked_pieces(lab):
    packet = FOUR.up() / UDP(sport=1, dport=53) / Raw(b"x" * 100)
    for bytes_, at, more in ((b"", 0, True), (b"x" * 7, 0, True), (b"x" * 13, 8, True), (b"", 16, False)):
        none(lab.up(piece(packet, bytes_, at, more, next(NUMBERS)), wait=0.06)[0], f"{len(bytes_)} bytes at {at}")


@case("46-1", "I-9")
def what_grows_beyond_the_path(lab):
    packet = FOURSIX.up(flags="DF") / UDP(sport=next(PORTS), dport=53) / Raw(b"x" * 1472)
    at_server, back = lab.up(packet)
    none(at_server, "1500 bytes of IPv4 towards IPv6")
    error = one(back, "fragmentation needed")
    same((error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu), (3, 4, 1480), "what fits")
    packet = FOURSIX.up() / UDP(sport=next(PORTS), dport=53) / Raw(b"y" * 1472)
    got = lab.up(packet)[0]
    want(all(len(one_) <= 1280 for one_ in got), "pieces that every IPv6 link carries")
    same(bytes(join(got)[UDP].payload), b"y" * 1472, "payload")
    assert answer


@case("G-1", "G-3")
def a_number_is_used_again_after_an_overlap(lab):
    for pair in PAIRS:
        packet, _ = question(pair, 2000)
        number = next(NUMBERS)
        pieces = cut(packet, 800, number)
        crooked = piece(packet, b"z" * 800, 800, True, number)
        none(lab.up(pieces[0], pieces[1], crooked, pieces[2])[0], "an overlap")
        packet, payload = question(pair, 2500)
        same(bytes(whole(lab.up(*cut(packet, 800, number))[0])[UDP].payload), payload, "another datagram of that number")


@case("G-1", "X-2")
def pieces_behind_other_extension_headers(lab):
    packet, payload = question(SIX, 2000)
    pieces = cut(packet, 800)
    for at, one_ in enumerate(pieces):
        header, rest = one_.copy(), one_[IPv6ExtHdrFragment]
        header.remove_payload()
        del header.nh, header.plen
        pieces[at] = header / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0\0")]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0")]) / rest
    got = lab.up(*pieces)[0]
    bodies = sorted((part(one_)[0], part(one_)[2]) for one_ in got)
    # Destination options may be part of what is cut (RFC 8200 §4.5).
    want(b"".join(body for _, body in bodies).endswith(payload), "payload")
    same(len({ident(one_) for one_ in got}), 1, "identifications")
