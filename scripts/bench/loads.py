"""The loads: what the traffic program is told, and which of its figures counts."""

import dataclasses

from contenders import TCP, UDP


@dataclasses.dataclass(frozen=True)
class Load:
    key: str
    title: str
    kind: str
    arguments: tuple
    figure: str
    unit: str
    scale: float = 1.0
    lower_is_better: bool = False
    quick: bool = False


def bulk(streams, way, quick=False):
    title = f"TCP, {streams} stream{'s' if streams > 1 else ''}, {'client to server' if way == 'up' else 'server to client'}"
    arguments = ("bulk", "--streams", str(streams), *(["--down"] if way == "down" else []))
    return Load(f"tcp{streams}-{way}", title, TCP, arguments, "bits_per_second", "Gbit/s", 1e-9, quick=quick)


LOADS = [
    bulk(1, "up", quick=True),
    bulk(1, "down"),
    bulk(8, "up", quick=True),
    bulk(8, "down"),
    bulk(64, "up"),
    bulk(64, "down"),
    Load("udp64", "UDP, 64-byte packets, as fast as one thread sends", UDP, ("datagrams", "--size", "64"), "packets_per_second", "kpps", 1e-3, quick=True),
    Load("udp1400", "UDP, 1400-byte packets, as fast as one thread sends", UDP, ("datagrams", "--size", "1400"), "packets_per_second", "kpps", 1e-3),
    Load("udp-steady", "UDP, 64-byte packets, 50,000 a second", UDP, ("datagrams", "--size", "64", "--rate", "50000"), "packets_per_second", "kpps", 1e-3),
    Load("latency", "TCP, request and answer of 64 bytes", TCP, ("requests",), "p50_us", "µs (p50)", 1.0, lower_is_better=True, quick=True),
    Load("connections", "New TCP connections, fresh ports", TCP, ("connections",), "connections_per_second", "1000/s", 1e-3, quick=True),
    Load("connections-reuse", "New TCP connections, ports reused at once", TCP, ("connections", "--reuse"), "connections_per_second", "1000/s", 1e-3),
]

# The running stream beside which the table holds idle sessions.
IDLE = LOADS[0]
