"""A provider link that carries less than the client's (I-9, T-6): what a path MTU discovery meets."""

import time

import kit
from cases.errors import told
from cases.fragments import is_piece, join, whole
from kit import NARROW, PORTS, Connection, case, each_pair, none, one, right, same, want
from lab import IP, TCP, UDP, IPv6, ip
from scapy.all import Raw


@each_pair("I-9", cases=NARROW)
def what_does_not_fit_is_told_with_what_does(lab, pair):
    port = next(PORTS)
    header = 48 if pair.near is IPv6 else 28
    fields = {} if pair.near is IPv6 else {"flags": "DF"}
    growth = (40 if pair.far is IPv6 else 20) - (40 if pair.near is IPv6 else 20)
    fits, steps = 1500, 0
    # privlink itself says what its own devices carry, then the router behind it what its link does.
    while fits > 1400 - growth:
        at_server, back = lab.up(pair.up(**fields) / UDP(sport=port, dport=53) / Raw(b"x" * (fits - header)))
        none(at_server, "a packet beyond the provider's link")
        error = right(one(back, "packet too big"))
        same(told(error)[:2], (2, 0) if pair.near is IPv6 else (3, 4), "type and code")
        same((error.src, error.dst), (pair.endpoint, pair.client), "who tells whom")
        fits, steps = told(error)[2], steps + 1
        want(steps < 3, f"told {fits}")
    same(fits, 1400 - growth, "what fits")
    smaller = pair.up(**fields) / UDP(sport=port, dport=53) / Raw(b"x" * (fits - header))
    got = right(one(lab.up(smaller)[0], "a packet of what fits"))
    same(len(got), 1400, "bytes at the server")


@each_pair("I-9", "T-6", cases=NARROW)
def segments_that_do_not_fit(lab, pair):
    connection = Connection(lab, pair)
    header = 60 if pair.near is IPv6 else 40
    packet = connection.client("PA", b"x" * (1500 - header))
    if pair.near is IP:
        packet.flags = "DF"
    at_server, back = lab.up(packet)
    none(at_server, "a segment beyond the provider's link")
    right(one(back, "packet too big"))
    connection.works()


@case("I-9", "G-4", cases=NARROW)
def what_may_be_cut_is_cut(lab):
    packet = kit.FOUR.up(id=7) / UDP(sport=next(PORTS), dport=53) / Raw(b"z" * 1472)
    got = lab.up(packet)[0]
    want(len(got) > 1 and all(is_piece(piece) and len(piece) <= 1400 for piece in got), "pieces")
    same(bytes(whole(got)[UDP].payload), b"z" * 1472, "payload")
    assert join


@each_pair("T-6", cases=NARROW)
def the_mss_follows_the_path(lab, pair):
    least = min(1400 - (60 if pair.far is IPv6 else 40), 1500 - (60 if pair.near is IPv6 else 40))
    for before in ([], [("NOP", None)]):
        connection = Connection(lab, pair, established=False, options=[*before, ("MSS", 1460)])
        want(dict(connection.syn[TCP].options)["MSS"] <= least, f"MSS of the SYN {connection.syn[TCP].options}")
        back = connection.server_says("SA", options=[*before, ("MSS", 1460)])
        want(dict(back[TCP].options)["MSS"] <= least, f"MSS of the answer {back[TCP].options}")
    connection = Connection(lab, pair, established=False, options=[("MSS", 1460), ("MSS", 9000)])
    both = [value for name, value in connection.syn[TCP].options if name == "MSS"]
    want(len(both) == 2 and max(both) <= least, f"both MSS options {both}")
    connection = Connection(lab, pair, established=False, options=[("MSS", 1000)])
    same(dict(connection.syn[TCP].options)["MSS"], 1000, "a smaller MSS")


def mss_becomes(lab, pair, expected):
    """Links and devices are looked at every two seconds."""
    deadline = time.monotonic() + 20
    while True:
        connection = Connection(lab, pair, established=False, options=[("MSS", 1460)])
        back = connection.server_says("SA", options=[("MSS", 1460)])
        found = [dict(packet[TCP].options)["MSS"] for packet in (connection.syn, back)]
        if found == [expected] * 2:
            return
        want(time.monotonic() < deadline, f"MSS {found}, not {expected}")
        time.sleep(0.5)


@case("T-6", cases=NARROW)
def the_mss_follows_a_link_that_changes(lab):
    for link, expected in ((1300, 1260), (1400, 1360)):
        ip(f"-n core link set net0 mtu {link}")
        mss_becomes(lab, kit.FOUR, expected)


@case("T-6", cases=NARROW)
def the_mss_follows_a_device_that_changes(lab):
    ip("-n core link set pl-core mtu 1300")
    mss_becomes(lab, kit.FOUR, 1260)
    mss_becomes(lab, kit.SIX, 1240)
    ip("-n core link set pl-core mtu 1500")
    mss_becomes(lab, kit.FOUR, 1360)
