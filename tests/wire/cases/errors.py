"""ICMP errors (I-1 to I-9)."""

from kit import FOUR, PAIRS, PORTS, SIX, Connection, case, datagram, each_pair, leaks, none, one, reply, right, same, want
from lab import (CLIENT, ENDPOINT, ICMP, IP, SERVER, TCP, UDP, IPv6, answer)
from scapy.all import (ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6PacketTooBig, ICMPv6ParamProblem, ICMPv6TimeExceeded, IPerror, IPerror6,
                       IPOption_NOP, Raw, TCPerror, UDPerror, checksum)

ROUTER, ROUTER6 = "10.20.1.99", "fd20:1::99"

# What the other family's error is called: RFC 7915 §4.2 and §5.2.
TO6 = {(3, 0): (1, 0), (3, 1): (1, 0), (3, 2): (4, 1), (3, 3): (1, 4), (3, 9): (1, 1), (3, 10): (1, 1), (3, 13): (1, 1),
       (11, 0): (3, 0), (11, 1): (3, 1), (3, 4): (2, 0)}
TO4 = {(1, 0): (3, 1), (1, 1): (3, 10), (1, 2): (3, 1), (1, 3): (3, 1), (1, 4): (3, 3), (3, 0): (11, 0), (3, 1): (11, 1), (2, 0): (3, 4)}
SIXES = {1: ICMPv6DestUnreach, 2: ICMPv6PacketTooBig, 3: ICMPv6TimeExceeded, 4: ICMPv6ParamProblem}


def error(version, kind, code, mtu=0):
    if version == 6:
        return SIXES[kind](code=code, **({"mtu": mtu} if kind == 2 else {}))
    return ICMP(type=kind, code=code, **({"nexthopmtu": mtu} if (kind, code) == (3, 4) else {}))


def told(packet):
    """Type, code and MTU of an error."""
    if packet.version == 4:
        return packet[ICMP].type, packet[ICMP].code, packet[ICMP].nexthopmtu if packet[ICMP].code == 4 else 0
    for kind, layer in SIXES.items():
        if layer in packet:
            return kind, packet[layer].code, packet[layer].mtu if kind == 2 else 0
    return None


def quoted(packet):
    """Addresses and ports of the quoted packet, and whether its IPv4 header's checksum is right."""
    inner = packet[IPerror] if packet.version == 4 else packet[IPerror6]
    layer = packet[UDPerror] if UDPerror in packet else packet[TCPerror]
    if packet.version == 4:
        fresh = IP(bytes(inner)[:20])
        del fresh.chksum
        same(IP(bytes(fresh)).chksum, inner.chksum, "the quoted header's checksum")
    return inner.src, inner.dst, layer.sport, layer.dport


def router(pair):
    return ROUTER6 if pair.far is IPv6 else ROUTER


def quote(packet, length=None):
    raw = bytes(packet)
    header = 40 if packet.version == 6 else 20
    return Raw(raw[:header + (8 if length is None else length)])


def expected(pair, kind, code, mtu):
    if pair.near is pair.far:
        return kind, code, mtu
    if pair.near is IPv6:
        return (*TO6[kind, code], max(mtu + 20, 1280) if (kind, code) == (3, 4) else 0)
    return (*TO4[kind, code], mtu - 20 if kind == 2 else 0)


@each_pair("I-1", "I-6", "I-5")
def errors_about_datagrams_reach_the_client(lab, pair):
    packet, port = datagram(lab, pair, b"x" * 40)
    kinds = [(3, 0, 0), (3, 1, 0), (3, 2, 0), (3, 3, 0), (3, 4, 1400), (3, 9, 0), (3, 10, 0), (3, 13, 0), (11, 0, 0), (11, 1, 0)]
    if pair.far is IPv6:
        kinds = [(1, 0, 0), (1, 1, 0), (1, 3, 0), (1, 4, 0), (2, 0, 1400), (3, 0, 0), (3, 1, 0)]
    for kind, code, mtu in kinds:
        version = 6 if pair.far is IPv6 else 4
        for length in (8, 20, None if kind == 0 else 48):
            message = pair.far(src=router(pair), dst=packet.src) / error(version, kind, code, mtu) / quote(packet, length)
            got = right(one(lab.down(message)[0], f"{kind}/{code}"))
            same(told(got), expected(pair, kind, code, mtu), "type, code and MTU")
            same((got.src, got.dst), (pair.endpoint, pair.client), "outer addresses")
            if UDPerror in got:
                same(quoted(got), (pair.client, pair.endpoint, port, 53), "the quote")
            same(leaks(got, pair.server, *pair.nats, router(pair)), [], "addresses of the provider")
    right(one(lab.down(reply(packet))[0], "the session lives"))


@each_pair("I-1", "I-5")
def errors_about_segments_reach_the_client(lab, pair):
    connection = Connection(lab, pair)
    data = connection.client_says("PA", b"x" * 100)
    kind, code, mtu = (2, 0, 1300) if pair.far is IPv6 else (3, 4, 1300)
    for length in (8, 28):
        message = pair.far(src=router(pair), dst=data.src) / error(data.version, kind, code, mtu) / quote(data, length)
        got = right(one(lab.down(message)[0], "packet too big"))
        same(told(got), expected(pair, kind, code, mtu), "type, code and MTU")
        same(quoted(got), (pair.client, pair.endpoint, connection.port, 443), "the quote")
    connection.seq += 100
    connection.server_says("A")
    connection.works()


@each_pair("I-1", "I-6")
def errors_of_the_client_reach_the_server(lab, pair):
    packet, port = datagram(lab, pair)
    got = right(one(lab.down(reply(packet))[0], "answer"))
    version = got.version
    kind, code = (1, 4) if version == 6 else (3, 3)
    message = pair.near(src=pair.client, dst=pair.endpoint) / error(version, kind, code) / quote(got, 8)
    arrived = right(one(lab.up(message)[0], "port unreachable at the server"))
    far = 6 if pair.far is IPv6 else 4
    same(told(arrived)[:2], (1, 4) if far == 6 else (3, 3), "type and code")
    same((arrived.src, arrived.dst), (packet.src, pair.server), "outer addresses")
    same(quoted(arrived), (pair.server, packet.src, 5353, packet[UDP].sport), "the quote")
    same(leaks(arrived, pair.client, pair.endpoint), [], "addresses of the consumer")
    assert port


@each_pair("I-1")
def errors_about_echoes_reach_the_client(lab, pair):
    request = one(lab.up(pair.up() / pair.echo(True, 4711))[0], "request")
    version = request.version
    message = pair.far(src=router(pair), dst=request.src) / error(version, *((1, 0) if version == 6 else (3, 1))) / quote(request, 8)
    got = right(one(lab.down(message)[0], "unreachable"))
    raw = bytes(got)
    at = (40 + 8 + 40) if got.version == 6 else (20 + 8 + 20)
    same((raw[at], raw[at + 4:at + 6]), (128 if got.version == 6 else 8, (4711).to_bytes(2, "big")), "quoted type and identifier")
    same(got.src, pair.endpoint, "who says so")


@each_pair("I-2")
def errors_that_match_no_session_are_dropped(lab, pair):
    packet, _ = datagram(lab, pair)
    version = packet.version
    kind = (1, 4) if version == 6 else (3, 3)
    stranger = "fd20:1::55" if version == 6 else "10.20.1.55"
    def forged(change):
        copy = packet.copy()
        copy.chksum = None if version == 4 else None
        change(copy)
        return packet.__class__(bytes(copy))
    changes = [lambda p: setattr(p, "dst", stranger), lambda p: setattr(p[UDP], "sport", p[UDP].sport ^ 1),
               lambda p: setattr(p[UDP], "dport", 5354)]
    for change in changes:
        message = pair.far(src=router(pair), dst=packet.src) / error(version, *kind) / quote(forged(change), 8)
        none(lab.down(message, wait=0.1)[0], "an error with a forged quote")
    other = pair.nats[-1] if pair.nats[-1] != packet.src else pair.nats[0]
    if other != packet.src:
        message = pair.far(src=router(pair), dst=other) / error(version, *kind) / quote(packet, 8)
        none(lab.down(message, wait=0.1)[0], "an error to another address than the quoted source")


@case("I-2")
def an_error_about_a_segment_that_was_never_sent(lab):
    for pair in PAIRS:
        connection = Connection(lab, pair)
        data = connection.client_says("PA", b"x" * 100)
        data[TCP].seq += 1_000_000_000
        kind = (2, 0, 1300) if data.version == 6 else (3, 4, 1300)
        message = pair.far(src=router(pair), dst=data.src) / error(data.version, *kind) / quote(data, 8)
        none(lab.down(message, wait=0.1)[0], "an error out of sequence")


@each_pair("I-3")
def wrong_checksums_of_errors(lab, pair):
    packet, _ = datagram(lab, pair)
    version = packet.version
    layer = error(version, *((1, 4) if version == 6 else (3, 3)))
    setattr(layer, "cksum" if version == 6 else "chksum", 0x1234)
    none(lab.down(pair.far(src=router(pair), dst=packet.src) / layer / quote(packet, 8), wait=0.1)[0], "a wrong ICMP checksum")
    if version == 4:
        raw = bytearray(bytes(packet)[:28])
        raw[10] ^= 0x55
        message = IP(src=ROUTER, dst=packet.src) / error(4, 3, 3) / Raw(bytes(raw))
        none(lab.down(message, wait=0.1)[0], "a wrong quoted header checksum")
    copy = packet.copy()
    copy[UDP].chksum ^= 0x0F0F
    message = pair.far(src=router(pair), dst=packet.src) / error(version, *((1, 4) if version == 6 else (3, 3))) / quote(copy, 8)
    one(lab.down(message)[0], "a wrong quoted transport checksum does not matter")


@case("I-4")
def quotes_with_options_and_extensions(lab):
    at_server, _ = lab.up(FOUR.up(options=[IPOption_NOP()] * 4) / UDP(sport=next(PORTS), dport=53) / Raw(b"x" * 200))
    packet = one(at_server, "a packet with options")
    header = packet.ihl * 4
    message = IP(src=ROUTER, dst=packet.src) / error(4, 3, 3) / Raw(bytes(packet)[:header + 8])
    got = right(one(lab.down(message)[0], "an error that quotes options"))
    same((got[IPerror].src, got[IPerror].dst), (CLIENT, ENDPOINT), "the quote")
    # RFC 4884: a quote of 128 bytes, then an extension that names an interface of the provider's.
    packet, _ = datagram(lab, FOUR, b"y" * 200)
    quoted_bytes = bytes(packet)[:128]
    extension = bytes.fromhex("20000000000c0201") + bytes([10, 20, 1, 99]) + b"\0" * 4
    message = IP(src=ROUTER, dst=packet.src) / Raw(b"\x0b\0\0\0\0\x20\0\0" + quoted_bytes + extension)
    raw = bytearray(bytes(message))
    total = sum(int.from_bytes(raw[20 + at:22 + at].ljust(2, b"\0"), "big") for at in range(0, len(raw) - 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    raw[22:24] = (~total & 0xFFFF).to_bytes(2, "big")
    message = IP(bytes(raw[:20])) / Raw(bytes(raw[20:]))
    message.proto = 1
    del message.chksum
    got = right(one(lab.down(message)[0], "an error with an extension"))
    same(leaks(got, ROUTER, SERVER), [], "what the extension says")


@case("I-4")
def short_and_senseless_quotes_are_dropped(lab):
    packet, _ = datagram(lab, FOUR, b"x" * 40)
    raw = bytes(packet)
    for cut in (0, 10, 19, 20, 24, 27):
        none(lab.down(IP(src=ROUTER, dst=packet.src) / error(4, 3, 3) / Raw(raw[:cut]), wait=0.06)[0], f"a quote of {cut} bytes")
    later = packet.copy()
    later.frag = 100
    del later.chksum
    later = IP(bytes(later))
    none(lab.down(IP(src=ROUTER, dst=packet.src) / error(4, 11, 1) / Raw(bytes(later)[:40]), wait=0.06)[0], "a quoted later fragment")
    inner = IP(src=packet.src, dst=SERVER) / error(4, 3, 3) / Raw(raw[:28])
    none(lab.down(IP(src=ROUTER, dst=packet.src) / error(4, 3, 1) / Raw(bytes(inner)), wait=0.06)[0], "an error about an error")


@case("I-7")
def other_messages_are_dropped(lab):
    packet, _ = datagram(lab, FOUR)
    for kind in (4, 5, 9, 10, 13, 14, 15, 17, 18):
        none(lab.down(IP(src=ROUTER, dst=packet.src) / ICMP(type=kind, gw="10.20.1.1") / quote(packet, 8), wait=0.05)[0], f"type {kind}")
        none(lab.up(IP(src=CLIENT, dst=ENDPOINT) / ICMP(type=kind, id=3) / Raw(b"x" * 40), wait=0.05)[0], f"type {kind} of the client")
    none(lab.up(IP(src=CLIENT, dst=ENDPOINT) / ICMP(type=8, code=3, id=3), wait=0.05)[0], "an echo with a code")
    none(lab.up(SIX.up() / ICMPv6EchoRequest(code=4, id=3), wait=0.05)[0], "an ICMPv6 echo with a code")


@case("I-8")
def own_errors_are_limited_and_never_about_errors(lab):
    for body in (ICMP(type=3, code=1) / Raw(bytes(IP(src="10.1.9.9", dst=CLIENT) / UDP(sport=1, dport=2))),
                 ICMP(type=11) / Raw(b"x" * 28)):
        at_server, back = lab.up(IP(src=CLIENT, dst=ENDPOINT) / body, wait=0.1)
        none(at_server + back, "an answer to an error")
        none(lab.up(IP(src=CLIENT, dst="10.1.9.200") / body, wait=0.1)[1], "an answer to an error to nowhere")
    packet = IP(src=CLIENT, dst="10.1.9.201") / UDP(sport=5, dport=5) / Raw(b"x")
    raw = [packet] * 6000
    answers = len(lab.up(*raw)[1])
    want(answers <= 2 * 1000 * 3, f"{answers} answers to 6000 packets")


@each_pair("I-9", "T-4")
def forged_tiny_mtus_are_dropped(lab, pair):
    packet, _ = datagram(lab, pair, b"x" * 40)
    for mtu in (1, 68, 500) if packet.version == 4 else (0, 68, 1279):
        kind = (2, 0) if packet.version == 6 else (3, 4)
        message = pair.far(src=router(pair), dst=packet.src) / error(packet.version, *kind, mtu) / quote(packet, 20)
        none(lab.down(message, wait=0.08)[0], f"MTU {mtu}")
    right(one(lab.down(reply(packet))[0], "the session lives"))
    assert answer


@each_pair("I-1", "I-6")
def a_router_of_any_address_may_tell(lab, pair):
    packet, _ = datagram(lab, pair, b"x" * 40)
    sources = ("192.0.0.8", "169.254.7.7", "8.8.8.8", "10.1.1.1", CLIENT, SERVER)
    if pair.far is IPv6:
        sources = ("fe80::7", "2001:db8::7", "fd01:1::1", "fd01:1::10", "fd20:1::2")
    for source in sources:
        for kind in ((1, 0), (3, 0)) if packet.version == 6 else ((3, 1), (11, 0)):
            message = pair.far(src=source, dst=packet.src) / error(packet.version, *kind) / quote(packet, 20)
            got = lab.down(message)[0]
            # A router forwards nothing from a link-local address.
            if source == "fe80::7":
                continue
            got = right(one(got, f"{kind} from {source}"))
            same((got.src, got.dst), (pair.endpoint, pair.client), "outer addresses")
            same(leaks(got, pair.server, *pair.nats), [], "addresses of the provider")
    for source in ("127.0.0.1", "224.0.0.9") if pair.far is IP else ("::1", "ff02::9"):
        message = pair.far(src=source, dst=packet.src) / error(packet.version, *kind) / quote(packet, 20)
        none(lab.down(message)[0], f"an error from {source}")


@case("I-4", "I-6")
def an_extension_that_nothing_announces_is_cut_off(lab):
    packet, _ = datagram(lab, FOUR, b"y" * 300)
    extension = bytearray(bytes.fromhex("20000000000c0201") + bytes([10, 20, 1, 99]) + b"\0" * 4)
    extension[2:4] = checksum(bytes(extension)).to_bytes(2, "big")
    for kind in ((11, 0), (3, 1), (3, 13)):
        message = IP(src=ROUTER, dst=packet.src) / error(4, *kind) / Raw(bytes(packet)[:128] + bytes(extension))
        got = right(one(lab.down(message)[0], "an error with an extension"))
        same(leaks(got, ROUTER, SERVER), [], "what the extension says")
        same(len(got), 20 + 8 + 128, "bytes")
