"""What rates let pass (M-11): what is beyond them is dropped silently, in each direction and for new sessions by itself."""

import time

from kit import FOUR, SIXFOUR, PORTS, Connection, Pair, case, datagram, none, one, reply, right, same, want
from lab import MIXED64, TCP, UDP
from scapy.all import Raw

RATE = 1_000_000
# What a meter of this rate lets pass after a pause: two super-packets.
AT_ONCE = 2 * 65536
SIZE = 1000


def limited(lab, pair, ip, *rates):
    """An endpoint of the pair's resource at an address of its own, and the pair by way of it."""
    lab.cli("endpoint", "create", "limited", "--vnet", "spoke", "--subnet", "endpoints", "--ip", ip, "--resource", "four", *rates)
    return Pair(f"limited {pair.name}", pair.client, ip, pair.server, pair.nats)


def drops(lab):
    return lab.drops().get("rate_limited", 0)


def sent(direction, packet):
    """Three hundred of a packet, a few at a time, lest a queue on their way be full; what arrives, and what comes back."""
    both = [direction(*[packet] * 50) for _ in range(6)]
    return [sum(packets, []) for packets in zip(*both)]


def passes_as_much_as_the_meter_holds(packets, began, size, what):
    """All that may pass at once, and what has become due meanwhile."""
    due = RATE / 8 * (time.monotonic() - began)
    want(AT_ONCE - 2 * size <= len(packets) * size <= AT_ONCE + due + 2 * size, lambda: f"{what}: {len(packets)} of {size} bytes")


def bits_of_each_direction(lab, pair, ip):
    pair = limited(lab, pair, ip, "--bits-per-second", str(RATE))
    try:
        port, payload = next(PORTS), b"x" * SIZE
        question = pair.up() / UDP(sport=port, dport=53) / Raw(payload)
        for _ in range(2):
            before, began = drops(lab), time.monotonic()
            at_server, back = sent(lab.up, question)
            none(back, "an answer to what is beyond the rate")
            passes_as_much_as_the_meter_holds(at_server, began, len(question), "questions")
            same(drops(lab) - before, 300 - len(at_server), "drops")
            began, answer = time.monotonic(), reply(right(at_server[0]), payload)
            at_client, back = sent(lab.down, answer)
            none(back, "an answer to the server")
            passes_as_much_as_the_meter_holds(at_client, began, len(answer), "answers, whatever was asked")
            right(at_client[0])
            # Full again, whatever was dropped.
            time.sleep(1.2)
        datagram(lab, FOUR)
    finally:
        lab.cli("endpoint", "delete", "limited")


@case("M-11")
def bits_are_limited_in_each_direction(lab):
    bits_of_each_direction(lab, FOUR, "10.1.9.30")


@case("M-11", "46-1")
def bits_are_limited_between_families(lab):
    bits_of_each_direction(lab, SIXFOUR, MIXED64.replace("::16", "::30"))


@case("M-11", "M-9")
def new_sessions_are_limited_and_those_there_are_live_on(lab):
    pair = limited(lab, FOUR, "10.1.9.31", "--new-sessions-per-second", "1")
    try:
        connections = [Connection(lab, pair) for _ in range(2)]
        began, before = time.monotonic(), drops(lab)
        syns = [pair.up() / TCP(sport=next(PORTS), dport=443, flags="S", seq=7) for _ in range(20)]
        at_server, back = lab.up(*syns)
        none(back, "an answer to a SYN beyond the rate")
        want(len(at_server) <= 1 + time.monotonic() - began, f"{len(at_server)} more at once")
        same(drops(lab) - before, 20 - len(at_server), "drops")
        for connection in connections:
            connection.works()
        time.sleep(1.5)
        one(lab.up(pair.up() / UDP(sport=next(PORTS), dport=53) / Raw(b"x"))[0], "a session a second later")
    finally:
        lab.cli("endpoint", "delete", "limited")
