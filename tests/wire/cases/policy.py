"""Who may send what to whom (P-1 to P-7, F-1, F-2, M-1, M-2, M-8)."""

from kit import (FOUR, PAIRS, PORTS, SIX, Connection, case, datagram, each_pair, none, one, reply, right, same, want)
from lab import (CLIENT, ENDPOINT, ENDPOINT6, ICMP, IP, NAT, NAT2, NAT6, OTHER, SERVER, SERVER6, TCP, UDP, WAITING, IPv6, answer,
                 ip)
from scapy.all import ICMPv6DestUnreach, Raw, fragment


def syn(port=443, **fields):
    return TCP(sport=next(PORTS), dport=port, flags="S", seq=1000, **fields)


@case("P-1")
def pending_passes_nothing(lab):
    for body in (syn(), UDP(sport=next(PORTS), dport=53) / Raw(b"x"), ICMP(type=8, id=9) / Raw(b"x")):
        at_server, back = lab.up(IP(src=CLIENT, dst=WAITING) / body, wait=0.15)
        none(at_server, "at the server")
        answered = right(one(back, "answer"))
        same(answered.src, WAITING, "who answers")
        if TCP in body:
            same((str(answered[TCP].flags), answered[TCP].ack), ("RA", 1001), "the reset")
        else:
            same((answered[ICMP].type, answered[ICMP].code), (3, 13), "the ICMP error")
    large = IP(src=CLIENT, dst=WAITING, id=9) / UDP(sport=1, dport=53) / Raw(b"x" * 3000)
    none(lab.up(*fragment(large, 1400), wait=0.15)[0], "fragments at the server")


@case("P-2")
def nothing_but_the_bound_resource(lab):
    at_server, back = lab.up(IP(src=CLIENT, dst=ENDPOINT) / syn(80), wait=0.15)
    none(at_server, "another port")
    want("R" in str(one(back, "reset")[TCP].flags), "a reset")
    none(lab.up(IP(src=CLIENT, dst=ENDPOINT) / UDP(sport=7, dport=443) / Raw(b"x"), wait=0.15)[0], "another protocol")
    at_server, back = lab.up(IP(src=CLIENT, dst="10.1.9.200") / syn(), wait=0.15)
    none(at_server, "another address")
    same((one(back, "error")[ICMP].type, back[0][ICMP].code), (3, 1), "host unreachable")
    for target in (SERVER, NAT, "10.20.1.77"):
        none(lab.up(IP(src=CLIENT, dst=target) / syn(8443), wait=0.1)[0], f"the provider's {target}")
    for number in (47, 50, 132, 41):
        none(lab.up(IP(src=CLIENT, dst=ENDPOINT, proto=number) / Raw(b"x" * 40), wait=0.1)[0], f"protocol {number}")
    at_server, back = lab.up(IPv6(src=SIX.client, dst=ENDPOINT6) / syn(80), wait=0.15)
    none(at_server, "another port of IPv6")
    want("R" in str(one(back, "reset")[TCP].flags), "a reset")
    at_server, back = lab.up(IPv6(src=SIX.client, dst="fd01:9::99") / syn(), wait=0.15)
    none(at_server, "another address of IPv6")
    same((one(back, "error")[ICMPv6DestUnreach].code), 3, "address unreachable")


@case("P-3")
def sources_that_may_not_send(lab):
    for source in ("172.16.0.9", ENDPOINT, OTHER, SERVER, NAT, "127.0.0.1", "0.0.0.0", "224.0.0.9", "255.255.255.255",
                   "169.254.1.1", "240.0.0.1", "10.2.0.1", "10.1.1.0", "10.1.1.255", "10.1.9.77"):
        for body in (syn(), UDP(sport=next(PORTS), dport=53) / Raw(b"x"), ICMP(type=8, id=5) / Raw(b"x")):
            at_server, back = lab.up(IP(src=source, dst=ENDPOINT) / body, wait=0.06)
            none(at_server, f"from {source} at the server")
            none([packet for packet in back if packet.src == ENDPOINT], f"an answer to {source}")
    for source in ("fd02::1", ENDPOINT6, SERVER6, NAT6, "::1", "::", "ff02::1", "::ffff:10.1.1.10", "fd01:1::", "fd01:9::77"):
        at_server, _ = lab.up(IPv6(src=source, dst=ENDPOINT6) / syn(), wait=0.06)
        none(at_server, f"from {source} at the server")


@case("P-3")
def a_stranger_learns_nothing(lab):
    stranger = "172.16.9.9"
    ip(f"-n spoke route add {stranger} via {CLIENT} dev lan0")
    for target in (ENDPOINT, WAITING, "10.1.9.200"):
        for body in (syn(), syn(80), UDP(sport=next(PORTS), dport=53) / Raw(b"x"), ICMP(type=8, id=5) / Raw(b"x")):
            at_server, back = lab.up(IP(src=stranger, dst=target) / body, wait=0.06)
            none(at_server, f"from a stranger to {target} at the server")
            none(back, f"an answer of {target} to a stranger")
    ip(f"-n spoke route delete {stranger}")


@case("T-3")
def what_has_a_wrong_checksum_is_never_answered(lab):
    for target in (WAITING, "10.1.9.200"):
        for body in (syn(chksum=0x1234), UDP(sport=next(PORTS), dport=53, chksum=0x1234) / Raw(b"x"),
                     ICMP(type=8, id=5, chksum=0x1234) / Raw(b"x")):
            none(lab.up(IP(src=CLIENT, dst=target) / body, wait=0.06)[1], f"an answer of {target}")
    none(lab.up(IP(src=CLIENT, dst=ENDPOINT, ttl=2) / syn(chksum=0x1234), wait=0.06)[1], "time exceeded")


@each_pair("P-4", "F-2")
def the_provider_never_opens(lab, pair):
    nat = pair.nats[0]
    for body in (TCP(sport=8443, dport=2000, flags="S"), TCP(sport=8443, dport=2000, flags="SA"),
                 UDP(sport=5353, dport=2000) / Raw(b"x"), pair.echo(True, 2000, near=False), pair.echo(False, 2000, near=False)):
        at_client, back = lab.down(pair.far(src=pair.server, dst=nat) / body, wait=0.08)
        none(at_client, "at the client")
        none(back, "an answer")


@case("P-5")
def revocation_cuts_and_approval_works_again(lab):
    connection = Connection(lab, FOUR)
    connection.works()
    packet, port = datagram(lab, FOUR)
    one(lab.down(reply(packet))[0], "the answer")
    lab.cli("connection", "reject", "four")
    to_server, to_client = lab.settle()
    resets = [p for p in to_client if TCP in p and "R" in str(p[TCP].flags)]
    want(any(p[TCP].seq == connection.back for p in resets), f"a reset the client accepts: {[p.summary() for p in to_client]}")
    resets = [p for p in to_server if TCP in p and "R" in str(p[TCP].flags)]
    want(any(p[TCP].seq == connection.seq for p in resets), f"a reset the server accepts: {[p.summary() for p in to_server]}")
    at_server, back = lab.up(connection.client("PA", b"late"), wait=0.15)
    none(at_server, "late data")
    same(one(back, "the answer to late data")[TCP].seq, connection.back, "reset at its ACK number")
    none(lab.down(connection.server("PA", b"late"), wait=0.15)[0], "late data of the server")
    none(lab.down(reply(packet), wait=0.15)[0], "a late answer")
    none(lab.up(FOUR.up() / UDP(sport=port, dport=53) / Raw(b"x"), wait=0.15)[0], "a late question")
    large = FOUR.up(id=4) / UDP(sport=port, dport=53) / Raw(b"x" * 3000)
    none(lab.up(*fragment(large, 1400), wait=0.15)[0], "late fragments")
    quoted = IP(src=SERVER, dst=packet.src) / ICMP(type=3, code=3) / packet.__class__(bytes(packet)[:28])
    none(lab.down(quoted, wait=0.15)[0], "a late ICMP error")
    lab.cli("connection", "approve", "four")
    Connection(lab, FOUR).works()


@case("P-5", "G-2")
def revocation_between_two_fragments(lab):
    large = fragment(FOUR.up(id=4321) / UDP(sport=next(PORTS), dport=53) / Raw(b"x" * 2000), 1400)
    lab.client.send(large[0])
    lab.cli("connection", "reject", "four")
    # Resets of earlier cases' connections.
    lab.settle()
    at_server, _ = lab.up(*large[1:])
    lab.cli("connection", "approve", "four")
    # Whole now, and not heard of again half a minute later, amid another case.
    lab.up(*large)
    none(at_server, "the datagram")


@case("P-6", "M-1")
def one_client_port_to_two_endpoints_of_one_backend(lab):
    port = next(PORTS)
    packets = [IP(src=CLIENT, dst=to) / UDP(sport=port, dport=53) / Raw(to.encode()) for to in (ENDPOINT, OTHER)]
    at_server, _ = lab.up(*packets)
    same(len(at_server), 2, "datagrams")
    want(len({(p.src, p[UDP].sport) for p in at_server}) == 2, "two NAT tuples")
    for packet in at_server:
        to = bytes(packet[UDP].payload).decode()
        same(one(lab.down(reply(packet))[0], "answer").src, to, "who answers")


@case("M-1")
def many_clients_share_few_addresses(lab):
    sources = [f"10.1.1.{host}" for host in range(20, 60)]
    at_server, _ = lab.up(*(IP(src=source, dst=ENDPOINT) / UDP(sport=4444, dport=53) / Raw(source.encode()) for source in sources))
    same(len(at_server), 40, "datagrams")
    same(len({(p.src, p[UDP].sport) for p in at_server}), 40, "distinct NAT tuples")
    want({p.src for p in at_server} <= {NAT, NAT2}, "NAT addresses")


@each_pair("M-2", "T-7")
def a_mapping_is_constant(lab, pair):
    first, port = datagram(lab, pair)
    for _ in range(3):
        again, _ = datagram(lab, pair, port=port)
        same((again.src, again[UDP].sport, again[UDP].dport), (first.src, first[UDP].sport, 5353), "mapping")
        want(again.src in pair.nats, "a NAT address")


@case("M-8")
def nat_ports_are_unpredictable(lab):
    ports = [datagram(lab, FOUR)[0][UDP].sport for _ in range(24)]
    steps = {second - first for first, second in zip(ports, ports[1:])}
    want(len(set(ports)) == 24 and len(steps) > 20 and min(ports) >= 1024, f"ports {ports}")


@each_pair("F-1")
def only_the_backend_itself_answers(lab, pair):
    packet, _ = datagram(lab, pair)
    port = packet[UDP].sport
    stranger = "10.20.1.77" if pair.far is IP else "fd20:1::77"
    for bad in (pair.far(src=stranger, dst=packet.src) / UDP(sport=5353, dport=port) / Raw(b"x"),
                answer(packet) / UDP(sport=5354, dport=port) / Raw(b"x"),
                answer(packet) / UDP(sport=5353, dport=port ^ 1) / Raw(b"x"),
                answer(packet) / TCP(sport=5353, dport=port, flags="A")):
        none(lab.down(bad, wait=0.08)[0], bad.summary())
    back = right(one(lab.down(reply(packet))[0], "the answer"))
    same((back.src, back.dst, back[UDP].sport), (pair.endpoint, pair.client, 53), "the answer's ends")


@case("P-3")
def the_provider_side_cannot_pose_as_a_client(lab):
    for packet in (IP(src=CLIENT, dst=ENDPOINT) / UDP(sport=9, dport=53) / Raw(b"x"), IP(src=SERVER, dst=ENDPOINT) / syn(),
                   IP(src=SERVER, dst=CLIENT) / syn()):
        none(lab.down(packet, wait=0.1)[0], packet.summary())
    packet, port = datagram(lab, FOUR)
    posed = IP(src=SERVER, dst=packet.src) / UDP(sport=5353, dport=packet[UDP].sport) / Raw(b"posed")
    none(lab.up(posed, wait=0.1)[1], "a reply injected by the consumer")


assert len(PAIRS) == 4
