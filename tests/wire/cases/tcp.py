"""TCP as it comes (C-1 to C-4, M-6, T-7)."""

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
    want(again.nat != connection.nat or again.syn[TCP].seq != connection.syn[TCP].seq, "a new connection")
    again.works()
    assert answer
