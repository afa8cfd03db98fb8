"""TCP as it comes (C-1 to C-4, M-6, T-7)."""

import json
import time

from cases.errors import error, quote, router
from kit import FOUR, PORTS, Connection, case, each_pair, none, one, right, same, want
from lab import ENDPOINT, IP, TCP, answer
from scapy.all import Raw


@each_pair("C-1")
def open_talk_and_close(lab, pair):
    connection = Connection(lab, pair)
    connection.works()
    connection.client_says("FA")
    connection.seq += 1
    connection.server_says("A")
    same(bytes(connection.server_says("PA", b"half-closed")[TCP].payload), b"half-closed", "data after the client's FIN")
    connection.back += 11
    connection.client_says("A")
    connection.server_says("FA")
    connection.back += 1
    connection.client_says("A")
    connection.client_says("A")
    connection.server_says("FA", seq=connection.back - 1)


@each_pair("C-1")
def simultaneous_close_and_repeated_fins(lab, pair):
    connection = Connection(lab, pair)
    connection.client_says("FA")
    connection.server_says("FA")
    connection.client_says("FA")
    connection.server_says("FA")
    connection.seq, connection.back = connection.seq + 1, connection.back + 1
    connection.client_says("A")
    connection.server_says("A")


@each_pair("C-1")
def the_server_closes_first(lab, pair):
    connection = Connection(lab, pair)
    connection.server_says("FA")
    connection.back += 1
    connection.client_says("PA", b"still sending")
    connection.seq += 13
    connection.server_says("A")
    connection.client_says("FA")
    connection.seq += 1
    connection.server_says("A")


@each_pair("C-1")
def a_stray_syn_and_its_challenge_pass(lab, pair):
    connection = Connection(lab, pair)
    stray = pair.up() / TCP(sport=connection.port, dport=443, flags="S", seq=connection.seq + 99999)
    same(one(lab.up(stray)[0], "the SYN")[TCP].sport, connection.nat[1], "its mapping")
    connection.server_says("A")
    connection.works()


@each_pair("C-1")
def simultaneous_open_and_repeated_syn_acks(lab, pair):
    connection = Connection(lab, pair, established=False)
    for _ in range(2):
        connection.server_says("SA")
    connection.back += 1
    connection.client_says("A")
    connection.server_says("SA", seq=connection.back - 1)
    connection.client_says("A")
    connection.works()


@each_pair("C-2")
def a_reset_just_outside_changes_nothing(lab, pair):
    connection = Connection(lab, pair)
    for seq in (connection.back + 1, connection.back + 64000, connection.back + 70000, connection.back - 5):
        for packet in lab.down(connection.server("R", seq=seq), wait=0.15)[0]:
            right(packet)
        connection.works()
    for seq in (connection.seq + 1, connection.seq + 64000):
        lab.up(connection.client("R", seq=seq), wait=0.15)
        connection.works()


@each_pair("C-2")
def a_reset_at_the_exact_number_passes(lab, pair):
    connection = Connection(lab, pair)
    connection.server_says("R")
    connection = Connection(lab, pair)
    connection.client_says("RA")


@each_pair("C-1")
def a_refused_connection(lab, pair):
    connection = Connection(lab, pair, established=False)
    refused = connection.server_says("RA", seq=0)
    same((refused[TCP].ack, refused.src), (connection.seq, pair.endpoint), "the refusal")


@case("C-4")
def garbage_and_middles_open_nothing(lab):
    for flags in ("A", "PA", "FA", "SA", "SF", "SR", "R", "RA", "", "FPU", "SFRPAU", "F"):
        packet = IP(src=FOUR.client, dst=ENDPOINT) / TCP(sport=next(PORTS), dport=443, flags=flags, seq=5, ack=9) / Raw(b"x")
        at_server, back = lab.up(packet, wait=0.08)
        none(at_server, f"flags {flags!r} at the server")
        if "R" in flags:
            none(back, f"an answer to {flags}")


@each_pair("C-1")
def a_port_is_used_again_after_a_close(lab, pair):
    port = next(PORTS)
    first = Connection(lab, pair, port)
    first.client_says("FA")
    first.server_says("FA", ack=first.seq + 1)
    first.seq, first.back = first.seq + 1, first.back + 1
    first.client_says("A")
    Connection(lab, pair, port).works()


@each_pair("C-1")
def reordered_and_repeated_data(lab, pair):
    connection = Connection(lab, pair)
    connection.client_says("PA", b"second", seq=connection.seq + 5)
    connection.client_says("PA", b"first")
    connection.client_says("PA", b"first")
    connection.seq += 11
    connection.server_says("A")
    connection.works()


@each_pair("C-3")
def windows_are_not_second_guessed(lab, pair):
    options = [("MSS", 1000), ("WScale", 14)]
    connection = Connection(lab, pair, options=options)
    connection.server_says("PA", b"far", seq=connection.back + 900_000_000 - 1)
    connection.client_says("PA", b"far", seq=connection.seq + 1_000_000)


@case("C-1")
def a_client_may_reuse_its_port_while_the_server_remembers(lab):
    connection = Connection(lab, FOUR)
    connection.server_says("R")
    again = Connection(lab, FOUR, connection.port)
    same([(reset[TCP].sport, reset[TCP].seq) for reset in again.told], [(connection.nat[1], connection.seq)],
         "what the server is told: somebody else may have sent the reset in its name")
    want(again.nat != connection.nat or again.syn[TCP].seq != connection.syn[TCP].seq, "a new connection")
    again.works()
    assert answer


def state(lab, connection):
    """What the daemon says of a connection."""
    flows = json.loads(lab.cli("flows", "-o", "json").stdout)["items"]
    of = [flow["state"] for flow in flows if flow["nat"] == {"ip": connection.nat[0], "port": connection.nat[1]}]
    return one_of(of)


def one_of(states):
    return states[0] if len(states) == 1 else states


@each_pair("C-2")
def a_reset_behind_data_in_flight_closes(lab, pair):
    connection = Connection(lab, pair)
    connection.server_says("PA", b"never acknowledged")
    same(state(lab, connection), "established", "before")
    connection.server_says("R", seq=connection.back + 5)
    same(state(lab, connection), "established", "after a reset amid it")
    connection.server_says("R", seq=connection.back + 18)
    same(state(lab, connection), "closing", "after a reset behind it")


@each_pair("C-1")
def a_client_that_lost_its_connection_opens_another_in_its_place(lab, pair):
    old = Connection(lab, pair)
    old.works()
    # Numbers that are not ahead of the old ones: by those alone they could be taken for late segments.
    seq, back = old.seq - 800_000_000, old.back - 900_000_000
    syn = pair.up() / TCP(sport=old.port, dport=443, flags="S", seq=seq % (1 << 32), options=[("MSS", 1000)])
    same(right(one(lab.up(syn)[0], "the SYN"))[TCP].sport, old.nat[1], "its mapping")
    old.seq, old.back = (seq + 1) % (1 << 32), back % (1 << 32)
    old.server_says("SA")
    old.back += 1
    old.client_says("A")
    # The old one has been silent for two seconds.
    time.sleep(2.2)
    old.works()
    same(state(lab, old), "established", "the new connection")
    # An error about the new connection's segment is one about a segment in flight.
    data = old.client_says("PA", b"x" * 100)
    kind = (2, 0, 1300) if data.version == 6 else (3, 4, 1300)
    one(lab.down(pair.far(src=router(pair), dst=data.src) / error(data.version, *kind) / quote(data, 8))[0], "packet too big")
    old.server_says("R")
    same(state(lab, old), "closing", "a reset at the new connection's number")


@each_pair("C-2", "C-4")
def garbage_harms_no_connection(lab, pair):
    connection = Connection(lab, pair)
    # What anybody in the client's network can send in its name.
    for flags in ("", "FPU", "SF", "SR", "SFRPAU", "F", "FR", "U"):
        for seq in (connection.seq + 70_000, connection.seq - 70_000, 5):
            lab.up(connection.client(flags, seq=seq % (1 << 32)))
    connection.works()
    same(state(lab, connection), "established", "the connection")


FAR = 1 << 30


@each_pair("C-1", "C-2", "C-3", "C-4")
def forged_segments_pass_and_change_nothing(lab, pair):
    connection = Connection(lab, pair)
    connection.works()
    for flags in ("A", "PA", "R", "RA", "FA", "S", "SA", "F"):
        for by in (FAR, 2 * FAR, 3 * FAR):
            seq, ack = (connection.seq + by) % (1 << 32), (connection.back + by) % (1 << 32)
            payload = b"x" if "P" in flags else b""
            connection.client_says(flags, payload, seq=seq, ack=ack)
            connection.server_says(flags, payload, seq=ack, ack=seq)
            # A byte at X, then a reset behind it.
            connection.server_says("R", seq=(ack + 1) % (1 << 32))
            connection.client_says("R", seq=(seq + 1) % (1 << 32))
        same(state(lab, connection), "established", f"after {flags}")
    connection.works()


@each_pair("C-2", "T-3")
def a_bad_checksum_closes_nothing(lab, pair):
    connection = Connection(lab, pair)
    for flags in ("R", "FA", "S"):
        one(lab.up(connection.client(flags, chksum=0x1234))[0], f"{flags} at the server")
        one(lab.down(connection.server(flags, chksum=0x1234))[0], f"{flags} at the client")
        same(state(lab, connection), "established", f"after {flags}")
    connection.works()


@each_pair("C-1", "M-2")
def a_syn_repeated_after_a_challenge_keeps_its_nat_port(lab, pair):
    connection = Connection(lab, pair)
    syn = pair.up() / TCP(sport=connection.port, dport=443, flags="S", seq=(connection.seq + FAR) % (1 << 32))
    same(right(one(lab.up(syn)[0], "the SYN"))[TCP].sport, connection.nat[1], "its NAT port")
    connection.server_says("A")
    connection.client_says("R")
    again = right(one(lab.up(syn)[0], "the SYN again"))
    same((again.src, again[TCP].sport), connection.nat, "its NAT address and port")


@each_pair("C-1")
def three_unanswered_syns_ask_both_ends_before_they_end_a_connection(lab, pair):
    for answers in (False, True):
        connection = Connection(lab, pair)
        syn = pair.up() / TCP(sport=connection.port, dport=443, flags="S", seq=(connection.seq + FAR) % (1 << 32))
        time.sleep(0.2)
        for _ in range(2):
            one(lab.up(syn)[0], "a SYN")
        time.sleep(3.2)
        lab.server.probes = lab.client.probes = True
        try:
            lab.client.send(syn)
            # Connections that ended before are asked at this time, too.
            of_this = lambda got: [p for p in got if p[TCP].flags == "A" and p[TCP].sport == connection.nat[1]]
            asked = lab.server.collect(lambda got: len(of_this(got)) >= 2, 5)
            same({p[TCP].seq for p in of_this(asked)},
                 {(connection.seq - 1) % (1 << 32), (connection.seq + 2 * FAR) % (1 << 32)}, "what the server is asked")
            same(state(lab, connection), "established", "while it is asked")
        finally:
            lab.server.probes = lab.client.probes = False
        if answers:
            lab.server.send(connection.server("A"))
        time.sleep(1.5)
        lab.settle()
        same(state(lab, connection), "established" if answers else "ended", "after a second")


@each_pair("C-2", "P-5")
def a_late_segment_gets_a_reset_at_its_own_number_however_many_come(lab, pair):
    connection = Connection(lab, pair)
    connection.client_says("S", seq=(connection.seq + FAR) % (1 << 32))
    time.sleep(0.2)
    for _ in range(2):
        lab.up(connection.client("S", seq=(connection.seq + FAR) % (1 << 32)))
    time.sleep(3.2)
    lab.up(connection.client("S", seq=(connection.seq + FAR) % (1 << 32)))
    time.sleep(1.5)
    lab.settle()
    same(state(lab, connection), "ended", "the session")
    for ack in (5, 77, 1 << 31):
        same(one(lab.down(connection.server("A", ack=ack))[1], "the answer")[TCP].seq, ack, "the reset to the server")
        same(one(lab.up(connection.client("A", ack=ack))[1], "the answer")[TCP].seq, ack, "the reset to the client")
    none(lab.down(connection.server("R"))[1], "an answer to a reset")
