"""Room and time (M-3 to M-5, M-7, M-10, G-5): a daemon with 60 sessions and seconds in the place of minutes."""

import random
import time

from cases.errors import error, quote, router
from cases.fragments import cut, question
from kit import FOUR, LIMITED, PAIRS, SIX, Connection, case, datagram, none, one, reply, right, same, want
from lab import ICMP, TCP, UDP
from scapy.all import ICMPv6TimeExceeded, Raw


@case("M-3", "M-6", cases=LIMITED)
def an_idle_datagram_session_ends_and_either_side_keeps_it(lab):
    sessions = [(pair, *datagram(lab, pair)) for pair in PAIRS]
    for _ in range(3):
        time.sleep(1.0)
        for pair, _, port in sessions:
            datagram(lab, pair, port=port)
    for pair, packet, _ in sessions:
        right(one(lab.down(reply(packet))[0], f"an answer after three seconds of talk ({pair.name})"))
    time.sleep(3.5)
    for pair, packet, _ in sessions:
        none(lab.down(reply(packet), wait=0.1)[0], f"an answer after the idle time ({pair.name})")


@case("M-6", "I-5", cases=LIMITED)
def an_error_keeps_nothing_alive(lab):
    sessions = [(pair, datagram(lab, pair)[0]) for pair in PAIRS]
    for _ in range(4):
        time.sleep(0.7)
        for pair, packet in sessions:
            kind = error(packet.version, *((1, 4) if packet.version == 6 else (3, 3)))
            lab.server.send(pair.far(src=router(pair), dst=packet.src) / kind / quote(packet))
    lab.client.drain()
    for pair, packet in sessions:
        none(lab.down(reply(packet), wait=0.1)[0], f"an answer after the idle time ({pair.name})")


@case("M-4", cases=LIMITED)
def an_idle_connection_is_reset_at_both_ends(lab):
    connections = [Connection(lab, pair) for pair in PAIRS]
    # One at each end for each of them, none more.
    to_client = lab.client.collect(lambda packets: len(packets) >= len(PAIRS), 15)
    to_server = lab.server.collect(lambda packets: len(packets) >= len(PAIRS), 3)
    for connection in connections:
        here = [packet for packet in to_client if TCP in packet and packet[TCP].dport == connection.port]
        there = [packet for packet in to_server if TCP in packet and (packet.src, packet[TCP].sport) == connection.nat]
        same((one(here, "reset at the client")[TCP].seq, str(here[0][TCP].flags)), (connection.back, "R"), "its reset")
        same((one(there, "reset at the server")[TCP].seq, str(there[0][TCP].flags)), (connection.seq, "R"), "its reset")
        late = one(lab.up(connection.client("PA", b"late"), wait=0.2)[1], "the answer to a late segment")
        same((late[TCP].seq, str(late[TCP].flags)), (connection.back, "R"), "the late reset")


@case("M-5", cases=LIMITED)
def an_idle_echo_ends(lab):
    requests = [(pair, one(lab.up(pair.up() / pair.echo(True, 7))[0], "request")) for pair in PAIRS]
    time.sleep(2.6)
    for pair, request in requests:
        ident = request[ICMP].id if ICMP in request else request.payload.id
        message = pair.far(src=pair.server, dst=request.src) / pair.echo(False, ident, near=False)
        none(lab.down(message, wait=0.1)[0], "a late reply")


@case("G-5", cases=LIMITED)
def pieces_do_not_wait_forever(lab):
    waiting = [(pair, cut(question(pair)[0])) for pair in (FOUR, SIX)]
    lab.client.send(*(pieces[0] for _, pieces in waiting))
    told = lab.client.collect(lambda packets: len(packets) >= 2, 12, late=True)
    for pair, pieces in waiting:
        exceeded = right(one([packet for packet in told if packet.src == pair.endpoint], "time exceeded"))
        layer = exceeded[ICMP] if exceeded.version == 4 else exceeded[ICMPv6TimeExceeded]
        same((layer.type, layer.code), (11, 1) if exceeded.version == 4 else (3, 1), "type and code")
        none(lab.up(*pieces[1:], wait=0.1)[0], "the rest alone")
    want(lab.drops()["fragment_timeout"] >= 2, "counted")


@case("M-10", cases=LIMITED)
def a_full_table_refuses_the_new_and_keeps_the_old(lab):
    time.sleep(3.2)
    kept = Connection(lab, FOUR)
    kept.works()
    # However the sessions fall to the workers: 60, the connection included.
    ports = random.sample(range(10000, 20000), 79)
    lab.client.send(*(FOUR.up() / UDP(sport=port, dport=53) / Raw(b"x") for port in ports[:59]))
    same(len(lab.server.drain(1, quiet=0.3)), 59, "sessions beside the connection")
    lab.client.send(*(FOUR.up() / UDP(sport=port, dport=53) / Raw(b"x") for port in ports[59:]))
    none(lab.server.drain(0.3), "one more")
    refused = lab.client.drain(0.3)
    want(refused and all(packet[ICMP].type == 3 and packet[ICMP].code == 13 for packet in refused), f"{len(refused)} answers")
    kept.works()
    want(lab.drops()["table_full"] >= 20, "counted")
    # Closing connections make room: oldest first, live ones never. One whose ends need not know would be told of it.
    def close(connection):
        connection.client_says("FA")
        connection.server_says("FA", ack=connection.seq + 1)
        connection.client_says("A", seq=connection.seq + 1, ack=connection.back + 1)

    close(kept)
    time.sleep(3.5)
    for _ in range(70):
        close(Connection(lab, FOUR))
