"""A host that answers every address: ICMP echo, any TCP port, any UDP port.

usage: decoy.py INTERFACE LOG

It stands on a default route. Whatever falls through a missing route lands here, is written to LOG
(`time protocol source sport destination dport`), and gets an answer that looks like success: a TCP
client connects and reads "decoy". So a leak shows twice, in the log and in the client.
"""

import socket
import struct
import sys
import time


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(protocol, source, destination, payload):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, source, destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def transport(protocol, source, destination, segment, at):
    """The packet that carries `segment`, with its checksum put at offset `at`."""
    pseudo = source + destination + struct.pack("!BBH", 0, protocol, len(segment))
    total = checksum(pseudo + segment)
    return ip_packet(protocol, source, destination, segment[:at] + struct.pack("!H", total) + segment[at + 2:])


def answer_tcp(source, destination, segment):
    sport, dport, seq, ack, offset, flags = struct.unpack("!HHIIBB", segment[:14])
    data = segment[(offset >> 4) * 4:]

    def reply(at, of, bits, body=b""):
        return transport(
            6, destination, source, struct.pack("!HHIIBBHHH", dport, sport, at, of % 2**32, 0x50, bits, 65535, 0, 0) + body, 16
        )

    if flags & 0x04:
        return None
    if flags & 0x02:
        return reply(0, seq + 1, 0x12)
    if data:
        return reply(ack, seq + len(data), 0x19, b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\ndecoy\n")
    if flags & 0x01:
        return reply(ack, seq + 1, 0x11)
    return None


def answer(packet):
    """The log line of an IPv4 packet and the packet that answers it."""
    start = (packet[0] & 15) * 4
    length, protocol = struct.unpack("!H", packet[2:4])[0], packet[9]
    source, destination, body = packet[12:16], packet[16:20], packet[start:length]
    names = socket.inet_ntoa(source), socket.inet_ntoa(destination)
    if protocol == 6 and len(body) >= 20:
        sport, dport = struct.unpack("!HH", body[:4])
        return f"tcp {names[0]} {sport} {names[1]} {dport}", answer_tcp(source, destination, body)
    if protocol == 17 and len(body) >= 8:
        sport, dport = struct.unpack("!HH", body[:4])
        echo = struct.pack("!HHHH", dport, sport, len(body), 0) + body[8:]
        return f"udp {names[0]} {sport} {names[1]} {dport}", transport(17, destination, source, echo, 6)
    if protocol == 1 and len(body) >= 8 and body[0] == 8:
        echo = b"\0\0\0\0" + body[4:]
        echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
        return f"icmp {names[0]} 0 {names[1]} 0", ip_packet(1, destination, source, echo)
    return f"other-{protocol} {names[0]} 0 {names[1]} 0", None


def main(interface, log_path):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    link.bind((interface, 0x0800))
    with open(log_path, "w", buffering=1, encoding="ascii") as log:
        log.write("# ready\n")
        while True:
            packet, address = link.recvfrom(65535)
            if address[2] == socket.PACKET_OUTGOING or len(packet) < 20:
                continue
            line, reply = answer(packet)
            log.write(f"{time.time():.6f} {line}\n")
            if reply is not None:
                link.sendto(reply, address)


main(*sys.argv[1:3])
