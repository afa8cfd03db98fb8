"""What cases are made of: pairs of families, connections, checks that trust nobody's arithmetic but scapy's."""

import itertools
import random
import sys

from lab import (CLIENT, CLIENT6, ENDPOINT, ENDPOINT6, MIXED46, MIXED64, NAT, NAT2, NAT6, SERVER, SERVER6, answer)
from scapy.all import (ICMP, IP, TCP, UDP, ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6PacketTooBig,
                       ICMPv6ParamProblem, ICMPv6TimeExceeded, IPv6, Raw)

SAMPLE = "--sample" in sys.argv
CASES = []
# Cases of a lab whose provider link carries less than the client's.
NARROW = []
# Cases of a daemon with little room and short times.
LIMITED = []
SMALL = 'max_sessions = 60\ntimeouts = { udp = "2s", icmp = "1s", tcp_transitory = "3s", tcp_established = "4s", fragment = "2s" }'
PORTS = iter(range(20000, 60000))


class Wrong(Exception):
    """A case's finding."""


def case(*requirements, cases=CASES):
    """Registers a case under the requirements it shows."""
    def register(function):
        cases.append((requirements, function))
        return function
    return register


def want(condition, what):
    if not condition:
        raise Wrong(what() if callable(what) else what)


def same(actual, expected, what):
    want(actual == expected, lambda: f"{what}: {actual!r}, not {expected!r}")


def one(packets, what):
    want(len(packets) == 1, lambda: f"{what}: {len(packets)} packets: {[packet.summary() for packet in packets]}")
    return packets[0]


def none(packets, what):
    want(not packets, lambda: f"{what}: {[packet.summary() for packet in packets]}")


LAYERS = (TCP, UDP, ICMP, ICMPv6EchoRequest, ICMPv6EchoReply, ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded,
          ICMPv6ParamProblem)


def transport(packet):
    layer = packet
    while layer:
        if isinstance(layer, LAYERS):
            return layer
        layer = layer.payload
    raise Wrong(f"no transport header: {packet.summary()}")


def sums(packet):
    """Whether IP and transport checksum are right, by scapy's reckoning."""
    fresh = packet.copy()
    if fresh.version == 4:
        del fresh.chksum
    layer = transport(fresh)
    field = "cksum" if hasattr(layer, "cksum") else "chksum"
    before = getattr(transport(packet), field)
    setattr(layer, field, None)
    rebuilt = fresh.__class__(bytes(fresh))
    network = packet.version == 6 or rebuilt.chksum == packet.chksum
    return network, before == getattr(transport(rebuilt), field)


def right(packet):
    same(sums(packet), (True, True), f"checksums (IP, transport) of {packet.summary()}")
    return packet


class Pair:
    """Client and service of certain families."""

    def __init__(self, name, client, endpoint, server, nats):
        self.name, self.client, self.endpoint, self.server, self.nats = name, client, endpoint, server, nats
        self.near = IPv6 if ":" in client else IP
        self.far = IPv6 if ":" in server else IP

    def up(self, **fields):
        """A packet of the client."""
        return self.near(src=self.client, dst=self.endpoint, **fields)

    def echo(self, request, ident, seq=1, data=b"x" * 32, near=True):
        """An echo message in the family of one side."""
        if (self.near if near else self.far) is IPv6:
            return (ICMPv6EchoRequest if request else ICMPv6EchoReply)(id=ident, seq=seq, data=data)
        return ICMP(type=8 if request else 0, id=ident, seq=seq) / Raw(data)


FOUR = Pair("4-4", CLIENT, ENDPOINT, SERVER, (NAT, NAT2))
SIX = Pair("6-6", CLIENT6, ENDPOINT6, SERVER6, (NAT6,))
FOURSIX = Pair("4-6", CLIENT, MIXED46, SERVER6, (NAT6,))
SIXFOUR = Pair("6-4", CLIENT6, MIXED64, SERVER, (NAT, NAT2))
PAIRS = (FOUR, SIX, FOURSIX, SIXFOUR)


TURNS = itertools.cycle(PAIRS)


def each_pair(*requirements, cases=CASES):
    """A case for every pair of families; in a sample for one of them, and the next case for the next."""
    def register(function):
        for pair in [next(TURNS)] if SAMPLE else PAIRS:
            def run(lab, pair=pair):
                function(lab, pair)
            run.__name__ = f"{function.__name__} ({pair.name})"
            cases.append((requirements, run))
        return function
    return register


class Connection:
    """A TCP connection through privlink, its sequence numbers kept by hand."""

    def __init__(self, lab, pair, port=None, established=True, options=(("MSS", 1200),)):
        self.lab, self.pair, self.port = lab, pair, port or next(PORTS)
        self.seq, self.back = random.randrange(1 << 31), random.randrange(1 << 31)
        at_server, _ = lab.up(pair.up() / TCP(sport=self.port, dport=443, flags="S", seq=self.seq, options=list(options)))
        # What leaves before it: resets of a session whose place it takes.
        self.told = [packet for packet in at_server if TCP in packet and packet[TCP].flags == "R"]
        self.syn = right(one([packet for packet in at_server if packet not in self.told], "SYN at the server"))
        self.nat = (self.syn.src, self.syn[TCP].sport)
        self.seq += 1
        if established:
            self.server_says("SA", options=list(options))
            self.back += 1
            one(lab.up(self.client("A"))[0], "ACK at the server")

    def client(self, flags, payload=b"", seq=None, ack=None, **more):
        flag = {} if ack is False else {"ack": self.back if ack is None else ack}
        segment = TCP(sport=self.port, dport=443, flags=flags, seq=self.seq if seq is None else seq, **flag, **more)
        return self.pair.up() / segment / Raw(payload) if payload else self.pair.up() / segment

    def server(self, flags, payload=b"", seq=None, ack=None, **more):
        segment = TCP(sport=8443, dport=self.nat[1], flags=flags, seq=self.back if seq is None else seq,
                      ack=self.seq if ack is None else ack, **more)
        packet = answer(self.syn) / segment
        return packet / Raw(payload) if payload else packet

    def server_says(self, flags, payload=b"", **more):
        return right(one(self.lab.down(self.server(flags, payload, **more))[0], f"{flags} at the client"))

    def client_says(self, flags, payload=b"", **more):
        return right(one(self.lab.up(self.client(flags, payload, **more))[0], f"{flags} at the server"))

    def works(self):
        """Data passes both ways."""
        same(bytes(self.client_says("PA", b"ping")[TCP].payload), b"ping", "data at the server")
        self.seq += 4
        same(bytes(self.server_says("PA", b"pong")[TCP].payload), b"pong", "data at the client")
        self.back += 4


def datagram(lab, pair, payload=b"question", port=None, **fields):
    """A datagram at the server, and the client's port."""
    port = port or next(PORTS)
    at_server, _ = lab.up(pair.up(**fields) / UDP(sport=port, dport=53) / Raw(payload))
    return right(one(at_server, "datagram at the server")), port


def reply(packet, payload=b"answer"):
    """The server's datagram back."""
    return answer(packet) / UDP(sport=5353, dport=packet[UDP].sport) / Raw(payload)


def leaks(packet, *secrets):
    """Addresses of the other side in a packet, as bytes."""
    import ipaddress
    raw = bytes(packet)
    return [secret for secret in secrets if ipaddress.ip_address(secret).packed in raw]
