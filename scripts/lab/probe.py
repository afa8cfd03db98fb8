"""Sends an exact number of packets and reports what came back.

usage: probe.py syn|ack|udp|echo SOURCE DESTINATION PORT COUNT

Raw packets: no stack repeats them, so `sent` is the number that left. Prints one line,
`sent=3 rst=3 synack=0 icmp=0 udp=0 echo=0`, 0.3 s after the last answer, or 1 s after the last packet.
"""

import select
import socket
import struct
import sys
import time

FIRST_PORT = 42000


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(kind, source, destination, port, index):
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    sport = FIRST_PORT + index
    if kind in ("syn", "ack"):
        flags = 0x02 if kind == "syn" else 0x10
        segment = struct.pack("!HHIIBBHHH", sport, port, 1000 + index, 0 if kind == "syn" else 7, 0x50, flags, 64240, 0, 0)
        total = checksum(addresses + struct.pack("!BBH", 0, 6, len(segment)) + segment)
        protocol, body = 6, segment[:16] + struct.pack("!HH", total, 0)
    elif kind == "udp":
        datagram = struct.pack("!HHHH", sport, port, 13, 0) + b"probe"
        total = checksum(addresses + struct.pack("!BBH", 0, 17, len(datagram)) + datagram) or 0xFFFF
        protocol, body = 17, datagram[:6] + struct.pack("!H", total) + datagram[8:]
    else:
        message = struct.pack("!BBHHH", 8, 0, 0, sport, index)
        protocol, body = 1, message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    # The kernel fills in identification, length and the header's checksum.
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + addresses + body


def classify(data, destination, quoted):
    """Which answer to one of ours this packet is, or None."""
    start = (data[0] & 15) * 4
    protocol, source, body = data[9], socket.inet_ntoa(data[12:16]), data[start:]
    if protocol == 1:
        if body[0] == 0 and source == destination:
            return "echo"
        if body[0] in (3, 11) and body[8 + 16:8 + 20] == quoted:
            return "icmp"
    elif source == destination and protocol == 6:
        return "rst" if body[13] & 0x04 else "synack"
    elif source == destination and protocol == 17:
        return "udp"
    return None


def main(kind, source, destination, port, count):
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    ears = [socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) for protocol in (1, 6, 17)]
    seen = dict.fromkeys(("rst", "synack", "icmp", "udp", "echo"), 0)
    sent = 0
    for index in range(count):
        try:
            sent += sender.sendto(packet(kind, source, destination, port, index), (destination, 0)) > 0
        except OSError as error:  # an unreachable route refuses it here: nothing leaves
            print(f"probe: {error.strerror}", file=sys.stderr)
    until = time.monotonic() + 1.0
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select(ears, [], [], left)
        for ear in ready:
            what = classify(ear.recv(65535), destination, socket.inet_aton(destination))
            if what:
                seen[what] += 1
                if sum(seen.values()) >= sent:
                    until = min(until, time.monotonic() + 0.3)
    print(f"sent={sent}", *(f"{name}={number}" for name, number in seen.items()))


main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]))
