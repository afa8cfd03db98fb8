"""Headers and checksums (T-1 to T-10, X-2, X-3)."""

import random

from kit import (FOUR, FOURSIX, PORTS, SIX, SIXFOUR, Connection, case, datagram, each_pair, none, one, reply, right, same, sums, want)
from lab import CLIENT, ENDPOINT, ENDPOINT6, ICMP, IP, SERVER, TCP, UDP, IPv6, answer
from scapy.all import (ICMPv6EchoRequest, ICMPv6TimeExceeded, IPerror, IPerror6, IPOption_LSRR, IPOption_NOP, IPOption_RR, IPOption_Router_Alert,
                       IPOption_SSRR, IPOption_Timestamp, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, Raw, UDPerror)
from scapy.layers.inet6 import HAO, HBHOptUnknown


@each_pair("T-1")
def checksums_of_random_packets(lab, pair):
    for _ in range(12):
        payload = random.randbytes(random.randrange(1, 1200))
        packet, _ = datagram(lab, pair, payload)
        same(bytes(packet[UDP].payload), payload, "payload")
        right(one(lab.down(reply(packet, payload))[0], "answer"))
    for ident in (1, 0x7FFF, 0xFFFF, random.randrange(65536)):
        request = right(one(lab.up(pair.up() / pair.echo(True, ident, data=random.randbytes(33)))[0], "request"))
        seen = request[ICMP].id if ICMP in request else request[ICMPv6EchoRequest].id
        back = right(one(lab.down(answer(request) / pair.echo(False, seen, near=False))[0], "reply"))
        same((back[ICMP] if ICMP in back else back.payload).id, ident, "identifier")


@case("T-2")
def a_udp_checksum_of_zero_stays_zero(lab):
    at_server, _ = lab.up(FOUR.up() / UDP(sport=next(PORTS), dport=53, chksum=0) / Raw(b"none"))
    packet = one(at_server, "datagram")
    same(packet[UDP].chksum, 0, "checksum")
    back = reply(packet)
    back[UDP].chksum = 0
    same(one(lab.down(back)[0], "answer")[UDP].chksum, 0, "checksum of the answer")


@case("T-2")
def a_udp_checksum_that_becomes_zero_is_sent_as_ffff(lab):
    for pair in (FOUR, SIX):
        packet, port = datagram(lab, pair, b"\0\0ab")
        # The word that makes the translated sum zero: what it is short of, by the checksum seen at zero.
        word = packet[UDP].chksum
        packet, _ = datagram(lab, pair, word.to_bytes(2, "big") + b"ab", port=port)
        same(packet[UDP].chksum, 0xFFFF, "checksum")


@each_pair("T-3")
def a_wrong_checksum_is_never_made_right(lab, pair):
    for body in (TCP(sport=next(PORTS), dport=443, flags="S", chksum=0x1234), UDP(sport=next(PORTS), dport=53, chksum=0x1234) / Raw(b"x"),
                 pair.echo(True, 77)):
        if not isinstance(body, (TCP, UDP)):
            setattr(body, "cksum" if hasattr(body, "cksum") else "chksum", 0x1234)
        at_server, _ = lab.up(pair.up() / body, wait=0.12)
        for packet in at_server:
            same(sums(packet), (True, False), f"checksums (IP, transport) of {packet.summary()}")


@case("T-3")
def a_wrong_ip_checksum_is_dropped(lab):
    none(lab.up(FOUR.up(chksum=0x1111) / UDP(sport=9, dport=53) / Raw(b"x"), wait=0.12)[0], "at the server")


@each_pair("T-4")
def the_hop_limit_falls(lab, pair):
    field = "hlim" if pair.near is IPv6 else "ttl"
    other = "hlim" if pair.far is IPv6 else "ttl"
    packet, port = datagram(lab, pair, **{field: 64})
    # Two routers of the lab's own, and privlink between them.
    same(getattr(packet, other), 61, "hop limit at the server")
    for hops in (1, 2):
        at_server, back = lab.up(pair.up(**{field: hops}) / UDP(sport=port, dport=53) / Raw(b"trace"), wait=0.15)
        none(at_server, "a packet with no hop left")
        error = right(one(back, "time exceeded"))
        layer = error[ICMPv6TimeExceeded] if pair.near is IPv6 else error[ICMP]
        same((layer.type, layer.code), (3, 0) if pair.near is IPv6 else (11, 0), "type and code")
        quote = error[IPerror6] if pair.near is IPv6 else error[IPerror]
        same((quote.src, quote.dst, error[UDPerror].sport, error[UDPerror].dport), (pair.client, pair.endpoint, port, 53), "the quote")
        if hops == 2:
            same(error.src, pair.endpoint, "who says so")


@case("T-5")
def ipv4_fields_stay(lab):
    port = next(PORTS)
    for tos in (0x00, 0xB8, 0x01, 0x02, 0x03, 0xFF):
        for flags in ("", "DF"):
            packet, _ = datagram(lab, FOUR, port=port, tos=tos, flags=flags, id=0x1234)
            same((packet.tos, str(packet.flags)), (tos, flags), "TOS and flags")
            back = reply(packet)
            back.tos, back.flags = tos, flags
            back = one(lab.down(back)[0], "answer")
            same((back.tos, str(back.flags)), (tos, flags), "TOS and flags of the answer")


@case("T-5")
def ipv6_fields_stay(lab):
    port = next(PORTS)
    for tc, label in ((0, 0), (0xB8, 0x12345), (3, 0xFFFFF)):
        packet, _ = datagram(lab, SIX, port=port, tc=tc, fl=label)
        same((packet.tc, packet.fl), (tc, label), "traffic class and flow label")


@each_pair("T-5")
def tcp_options_and_flags_stay(lab, pair):
    options = [("NOP", None), ("NOP", None), ("Timestamp", (12345, 0)), ("SAckOK", b""), ("WScale", 7), ("MSS", 1000)]
    connection = Connection(lab, pair, options=options)
    same(connection.syn[TCP].options[:6], options, "options of the SYN")
    for flags, extra in (("PAU", {"urgptr": 3}), ("PAEC", {}), ("A", {"reserved": 1})):
        segment = connection.client_says(flags, b"abcd", window=4321, **extra)
        same((str(segment[TCP].flags), segment[TCP].window), (flags, 4321), "flags and window")
        same(segment[TCP].urgptr, extra.get("urgptr", 0), "urgent pointer")
        connection.seq += 4
    sack = [("NOP", None), ("NOP", None), ("SAck", (connection.seq + 5, connection.seq + 9))]
    same(connection.server_says("A", options=sack)[TCP].options, sack, "SACK")


@each_pair("T-6")
def the_mss_is_lowered_to_the_path_and_never_raised(lab, pair):
    least = min(1500 - (60 if network is IPv6 else 40) for network in (pair.near, pair.far))
    for announced, expected in ((9000, least), (1460, min(1460, least)), (536, 536), (1, 1)):
        for before in ([], [("NOP", None)], [("NOP", None), ("NOP", None)], [("WScale", 7)]):
            connection = Connection(lab, pair, established=False, options=[*before, ("MSS", announced)])
            same(dict(connection.syn[TCP].options)["MSS"], expected, f"MSS behind {before}")
            back = connection.server_says("SA", options=[*before, ("MSS", announced)])
            same(dict(back[TCP].options)["MSS"], expected, f"MSS of the answer behind {before}")


@each_pair("T-7")
def syn_with_data_and_fast_open(lab, pair):
    cookie = [("TFO", (0x11223344, 0x55667788)), ("MSS", 1000)]
    syn = pair.up() / TCP(sport=next(PORTS), dport=443, flags="S", seq=7, options=cookie) / Raw(b"early data")
    first = right(one(lab.up(syn)[0], "SYN with data"))
    same(bytes(first[TCP].payload), b"early data", "its data")
    again = right(one(lab.up(syn)[0], "the SYN again"))
    same((again.src, again[TCP].sport), (first.src, first[TCP].sport), "mapping")


@case("T-9")
def source_routes_are_dropped_and_other_options_pass_or_drop(lab):
    for option in (IPOption_LSRR(routers=["10.1.9.4"]), IPOption_SSRR(routers=["10.1.9.4"])):
        none(lab.up(FOUR.up(options=[option]) / UDP(sport=next(PORTS), dport=53) / Raw(b"x"), wait=0.1)[0], option.name)
    at_server, _ = lab.up(FOUR.up(options=[IPOption_NOP(), IPOption_NOP(), IPOption_NOP(), IPOption_NOP()])
                          / UDP(sport=next(PORTS), dport=53) / Raw(b"x"), wait=0.15)
    right(one(at_server, "NOPs"))
    at_server, _ = lab.up(SIXFOUR.up() / UDP(sport=next(PORTS), dport=53) / Raw(b"x"), wait=0.15)
    right(one(at_server, "plain"))


@each_pair("T-10")
def link_padding_is_ignored(lab, pair):
    packet = right(one(lab.up(pair.up() / UDP(sport=next(PORTS), dport=53) / Raw(b"ab"), trailer=b"\xAA" * 20)[0], "datagram"))
    same(bytes(packet[UDP].payload), b"ab", "payload")
    right(one(lab.up(pair.up() / pair.echo(True, 99, data=b"ab"), trailer=b"\xAA" * 18)[0], "echo"))


@case("X-2", "T-9")
def extension_headers(lab):
    def at_server(*headers, wait=0.12):
        packet = SIX.up()
        for header in headers:
            packet = packet / header
        return lab.up(packet / UDP(sport=next(PORTS), dport=53) / Raw(b"x"), wait=wait)[0]
    one(at_server(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0")]), wait=0.4), "destination options")
    one(at_server(IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0\0")]), wait=0.4), "hop-by-hop options")
    none(at_server(IPv6ExtHdrRouting(type=0, addresses=["fd01:9::14"], segleft=1)), "a routing header of type 0")
    none(at_server(IPv6ExtHdrRouting(type=0, addresses=["fd01:9::14"], segleft=0)), "a used-up routing header of type 0")
    none(at_server(IPv6ExtHdrHopByHop(options=[HBHOptUnknown(otype=0xC5, optdata=b"\0\0")])), "a critical option")
    none(at_server(*[IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0")]) for _ in range(20)]), "a long chain")
    none(at_server(IPv6ExtHdrDestOpt(options=[HAO(hoa="fd01:1::99")])), "a home address")
    none(at_server(IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x1E, optdata=b"\0\0\0\0")])), "another destination option")
    packet = SIX.up() / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0")]) / TCP(sport=next(PORTS), dport=80, flags="S")
    none(lab.up(packet, wait=0.12)[0], "a forbidden port behind an extension header")


@case("X-3")
def ipv6_udp_without_a_checksum(lab):
    none(lab.up(SIXFOUR.up() / UDP(sport=next(PORTS), dport=53, chksum=0) / Raw(b"none"), wait=0.15)[0], "made a valid one of IPv4")
    question, _ = datagram(lab, FOURSIX)
    back = reply(question)
    back[UDP].chksum = 0
    none(lab.down(back, wait=0.15)[0], "an answer made a valid one of IPv4")
    for packet in lab.up(SIX.up() / UDP(sport=next(PORTS), dport=53, chksum=0) / Raw(b"none"), wait=0.15)[0]:
        same(packet[UDP].chksum, 0, "checksum")


@case("X-1")
def garbage_is_survived(lab):
    rng = random.Random(5)
    for _ in range(400):
        raw = bytearray(bytes(rng.choice((FOUR, SIX)).up() / UDP(sport=rng.randrange(65536), dport=53) / Raw(rng.randbytes(20))))
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        lab.client.send(bytes(raw[:rng.randrange(20, len(raw) + 1)]))
    lab.settle()
    Connection(lab, FOUR).works()


@case("X-1")
def lengths_that_lie(lab):
    for header in ({"len": 8}, {"len": 3}, {"len": 0}, {"len": 65535}):
        packet = FOUR.up() / UDP(sport=next(PORTS), dport=53, **header) / Raw(b"x" * 20)
        none(lab.up(packet, wait=0.08)[0] if header["len"] != 8 else [], f"UDP length {header}")
    for offset in (0, 4, 15):
        packet = FOUR.up() / TCP(sport=next(PORTS), dport=443, flags="S", dataofs=offset)
        none(lab.up(packet, wait=0.08)[0], f"TCP data offset {offset}")
    for packet in (IP(src=CLIENT, dst=ENDPOINT, proto=6) / Raw(b"\0" * 12), IP(src=CLIENT, dst=ENDPOINT, proto=17) / Raw(b"\0" * 5),
                   IP(src=CLIENT, dst=ENDPOINT, proto=1) / Raw(b"\x08\0"), IPv6(src=SIX.client, dst=ENDPOINT6, nh=6) / Raw(b"\0" * 7)):
        none(lab.up(packet, wait=0.08)[0], packet.summary())
    assert SERVER


@case("T-9", "I-6")
def records_of_the_way_are_dropped(lab):
    packet, port = datagram(lab, FOUR)
    for option in (IPOption_RR(routers=["10.1.1.1", "0.0.0.0"]), IPOption_Timestamp(flg=1)):
        none(lab.up(FOUR.up(options=[option]) / UDP(sport=port, dport=53) / Raw(b"x"))[0], option.name)
        none(lab.up(FOUR.up(options=[option]) / ICMP(type=8, id=3) / Raw(b"x"))[0], f"an echo with {option.name}")
        back = reply(packet)
        back.options = [option]
        del back.ihl
        none(lab.down(IP(bytes(back)))[0], f"an answer with {option.name}")
    right(one(lab.down(reply(packet))[0], "an answer without"))
    alert = right(one(lab.up(FOUR.up(options=[IPOption_Router_Alert()]) / UDP(sport=port, dport=53) / Raw(b"x"))[0], "router alert"))
    same(alert.options[0].copy_flag, 1, "the option")
