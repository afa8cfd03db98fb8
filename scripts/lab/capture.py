"""Captures the IPv4 packets of a namespace into a pcap file, where tcpdump cannot.

usage: capture.py INTERFACE|any FILE

In a user namespace tcpdump fails to give up its rights, which there are nobody's. This reads the
kernel's ring directly (TPACKET_V2, 96 bytes of each packet) and writes what `tcpdump -r` understands.
Says "listening on" when it runs, and ends on SIGTERM once the ring is empty.
"""

import mmap
import select
import signal
import socket
import struct
import sys

SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 263, 5, 6, 10
TPACKET_V2, STATUS_KERNEL, STATUS_USER = 1, 0, 1
FRAME, BLOCK, BLOCKS = 256, 1 << 20, 32
LINKTYPE_RAW, SNAPLEN = 101, 96


def main(interface, path):
    ears = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    ears.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
    ears.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("IIII", BLOCK, BLOCKS, FRAME, BLOCK // FRAME * BLOCKS))
    ring = mmap.mmap(ears.fileno(), BLOCK * BLOCKS)
    if interface != "any":
        ears.bind((interface, 0x0800))
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    with open(path, "wb") as out:
        out.write(struct.pack("IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAPLEN, LINKTYPE_RAW))
        print(f"listening on {interface}", file=sys.stderr, flush=True)
        at = 0
        while True:
            status, length, kept, _, net, second, nanosecond = struct.unpack_from("IIIHHII", ring, at)
            if status & STATUS_USER:
                kept = min(kept, SNAPLEN, FRAME - net)
                out.write(struct.pack("IIII", second, nanosecond // 1000, kept, length))
                out.write(ring[at + net:at + net + kept])
                struct.pack_into("I", ring, at, STATUS_KERNEL)
                at = (at + FRAME) % len(ring)
            elif stopping:
                break
            else:
                out.flush()
                select.select([ears], [], [], 0.05)
    _, lost = struct.unpack("II", ears.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    print(f"{lost} packets dropped by kernel", file=sys.stderr)


main(*sys.argv[1:3])
