"""What is too big on its way to a client (I-9): whoever sends to a NAT address is told nothing, and what it sends is cut."""

import random

from cases.errors import error, quote
from cases.fragments import is_piece, whole
from kit import FOUR, PAIRS, SIXFOUR, Connection, case, datagram, each_pair, none, one, reply, right, same, want
from lab import CLIENT6, IP, TCP, UDP, IPv6
from scapy.all import Raw

ROUTER, ROUTER6 = "10.1.1.99", "fd01:1::99"


def too_big(pair, packet, mtu, length=8):
    """A router on the client's side about a packet to the client."""
    six = pair.near is IPv6
    kind = (2, 0) if six else (3, 4)
    return pair.near(src=ROUTER6 if six else ROUTER, dst=pair.endpoint) / error(6 if six else 4, *kind, mtu) / quote(packet, length)


def least(pair):
    return 1280 if pair.near is IPv6 else 576


def told(lab, pair, packet, mtu, length=8):
    at_server, back = lab.up(too_big(pair, packet, mtu, length))
    none(at_server, "an error at the server")
    none(back, "an answer to an error")


def unbroken(packet):
    """The same, which its sender wants whole."""
    if packet.version == 4:
        packet.flags = "DF"
    return packet


def says(lab, connection, payload):
    """A segment of the server's, whole at the client."""
    return right(one(lab.down(unbroken(connection.server("PA", payload)))[0], "a segment at the client"))


@each_pair("I-9", "I-1", "G-4", "T-5")
def a_datagram_is_cut_for_its_client_alone(lab, pair):
    question, port = datagram(lab, pair)
    other, other_port = datagram(lab, pair)
    payload = random.randbytes(1400)
    before = right(one(lab.down(unbroken(reply(question, payload)))[0], "an answer"))
    told(lab, pair, before, least(pair))
    numbers = set()
    for _ in range(3):
        got, back = lab.down(unbroken(reply(question, payload)))
        none(back, "an error at the server")
        want(len(got) > 1 and all(is_piece(piece) and len(piece) <= least(pair) for piece in got), "pieces")
        want(pair.near is IPv6 or not any(piece.flags.DF for piece in got), "pieces that may be cut")
        answer = whole(got)
        same((answer.src, answer.dst, answer[UDP].dport), (pair.endpoint, pair.client, port), "its ends")
        same(bytes(answer[UDP].payload), payload, "payload")
        numbers.add(bytes(got[0])[4:6] if pair.near is IP else bytes(got[0])[44:48])
    same(len(numbers), 3, "identifications of three datagrams")
    got = right(one(lab.down(unbroken(reply(other, payload)))[0], "an answer to another port"))
    same((len(got), got[UDP].dport), (len(before), other_port), "another session's answer")
    got = right(one(lab.up(unbroken(pair.up() / UDP(sport=port, dport=53) / Raw(payload)))[0], "a question of 1400 bytes"))
    same(bytes(got[UDP].payload), payload, "what goes to the server")


@each_pair("I-9", "I-1", "I-5", "C-1")
def a_segment_is_cut_for_its_client_alone(lab, pair):
    connection, other = Connection(lab, pair), Connection(lab, pair)
    payload = random.randbytes(1380)
    before = says(lab, connection, payload)
    told(lab, pair, before, least(pair))
    headers = len(before) - len(payload)
    for flags in ("A", "PA", "FPA"):
        got, back = lab.down(unbroken(connection.server(flags, payload)))
        none(back, "an error at the server")
        same(sum(len(right(segment)) - headers for segment in got), len(payload), "bytes")
        want(len(got) > 1 and max(map(len, got)) == least(pair), lambda: f"segments of {[len(segment) for segment in got]}")
        want(not any(is_piece(segment) for segment in got), "segments, not pieces")
        at = connection.back
        for segment in got:
            same((segment.src, segment.dst, segment[TCP].dport), (pair.endpoint, pair.client, connection.port), "ends")
            same((segment[TCP].seq, segment[TCP].ack), (at, connection.seq), "numbers")
            same(bytes(segment[TCP].payload), payload[at - connection.back:][:len(segment[TCP].payload)], "payload")
            at += len(segment[TCP].payload)
        same([str(segment[TCP].flags) for segment in got], ["A"] * (len(got) - 1) + [flags], "flags")
    same(len(says(lab, other, payload)), len(before), "another connection's segment")


@each_pair("T-3", "I-9")
def what_cannot_be_cut_is_dropped(lab, pair):
    connection = Connection(lab, pair)
    payload = random.randbytes(1380)
    told(lab, pair, says(lab, connection, payload), least(pair))
    crooked = connection.server("PA", payload).__class__(bytes(connection.server("PA", payload)))
    crooked[TCP].chksum ^= 0x0F0F
    drops = lab.drops()
    got, back = lab.down(crooked)
    none(got + back, "a segment with a wrong checksum")
    same(lab.drops().get("bad_checksum", 0), drops.get("bad_checksum", 0) + 1, "drops")
    for flags in ("UPA", "SA", "RA"):
        got, back = lab.down(connection.server(flags, payload))
        none(got + back, f"a large segment with {flags}")
    got = lab.down(connection.server("CPA", payload))[0]
    same(["C" in str(segment[TCP].flags) for segment in got], [True] + [False] * (len(got) - 1), "CWR once")
    connection.works()


@each_pair("I-2", "I-3", "I-9")
def nobody_believes_a_forged_one(lab, pair):
    connection = Connection(lab, pair)
    payload = random.randbytes(1380)
    before = says(lab, connection, payload)
    question, _ = datagram(lab, pair)
    answer = right(one(lab.down(unbroken(reply(question, payload)))[0], "an answer"))
    for mtu in (1, 68, least(pair) - 1):
        for packet in (before, answer):
            told(lab, pair, packet, mtu, 20)
    later = before.copy()
    later[TCP].seq = (later[TCP].seq + 1_000_000_000) % (1 << 32)
    told(lab, pair, later, least(pair))
    stranger = answer.copy()
    stranger[UDP].dport ^= 1
    told(lab, pair, stranger, least(pair))
    crooked = too_big(pair, answer, least(pair))
    crooked = crooked.__class__(bytes(crooked))
    layer = crooked.payload
    setattr(layer, "cksum" if pair.near is IPv6 else "chksum", 0x1234)
    none(sum(lab.up(crooked), []), "an error with a wrong checksum")
    right(one(lab.down(unbroken(reply(question, payload)))[0], "a whole answer"))
    same(len(says(lab, connection, payload)), len(before), "a whole segment")


@each_pair("I-2", "I-9")
def a_flood_of_tiny_mtus_changes_nothing(lab, pair):
    connection = Connection(lab, pair)
    payload = random.randbytes(1380)
    segment = says(lab, connection, payload)
    question, port = datagram(lab, pair)
    answer = right(one(lab.down(unbroken(reply(question, payload)))[0], "an answer"))
    six = pair.far is IPv6
    # From both sides, all about what is in flight, and each with another MTU below the least of its family.
    of_client = [too_big(pair, packet, mtu, 20) for packet in (segment, answer) for mtu in range(1, least(pair), 5)]
    of_server = [pair.far(src=pair.server, dst=question.src) / error(6 if six else 4, *((2, 0) if six else (3, 4)), mtu)
                 / quote(question, 20) for mtu in range(1, 1280 if six else 576, 5)]
    before = lab.drops().get("icmp_unmatched", 0)
    none(sum(lab.up(*of_client), []), "an error, or an answer to one")
    none(sum(lab.down(*of_server), []), "an error, or an answer to one")
    same(lab.drops().get("icmp_unmatched", 0) - before, len(of_client) + len(of_server), "drops")
    same(len(says(lab, connection, payload)), len(segment), "a segment")
    same(len(right(one(lab.down(unbroken(reply(question, payload)))[0], "an answer"))), len(answer), "an answer")
    right(one(lab.up(unbroken(pair.up() / UDP(sport=port, dport=53) / Raw(payload)))[0], "a question"))


@case("I-9")
def a_router_that_does_not_know_says_zero(lab):
    connection = Connection(lab, FOUR)
    payload = random.randbytes(1380)
    told(lab, FOUR, says(lab, connection, payload), 0)
    got = lab.down(connection.server("PA", payload))[0]
    same(max(len(right(segment)) for segment in got), 1006, "the next smaller of the usual sizes")


@case("46-1", "I-9")
def what_grows_beyond_the_path_to_a_client_is_cut(lab):
    question, _ = datagram(lab, SIXFOUR)
    payload = random.randbytes(1472)
    got, back = lab.down(unbroken(reply(question, payload)))
    none(back, "an error at the server")
    want(len(got) == 2 and all(is_piece(piece) and len(piece) <= 1500 for piece in got), "pieces")
    answer = whole(got)
    same((answer.dst, bytes(answer[UDP].payload)), (CLIENT6, payload), "the answer")
    connection = Connection(lab, SIXFOUR)
    got, back = lab.down(unbroken(connection.server("PA", random.randbytes(1460))))
    none(back, "an error at the server")
    same([len(right(segment)) for segment in got], [1500, 80], "segments")


@case("I-1")
def other_errors_of_a_client_reach_the_server(lab):
    for pair in PAIRS:
        question, _ = datagram(lab, pair)
        answer = right(one(lab.down(reply(question))[0], "an answer"))
        kind = (3, 0) if pair.near is IPv6 else (11, 0)
        six = pair.near is IPv6
        message = pair.near(src=ROUTER6 if six else ROUTER, dst=pair.endpoint) / error(6 if six else 4, *kind) / quote(answer, 8)
        right(one(lab.up(message)[0], f"time exceeded at the server ({pair.name})"))
