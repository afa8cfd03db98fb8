"""Two hosts made of raw sockets, one on each side of privlink, and the daemon between them.

    client -- eth0 | lan0 -- spoke -- pl-spoke | privlink | pl-core -- core -- net0 | eth0 -- server

`client` and `server` have no addresses of their own: nothing but a case answers there. Everything stands in
namespaces that end with this process (see scripts/conformance.sh).
"""

import ctypes
import ipaddress
import json
import os
import select
import shutil
import socket
import subprocess
import time

from scapy.all import ICMP, IP, TCP, UDP, Ether, IPv6, Raw, conf

conf.checkIPaddr = False
NETNS = ctypes.CDLL(None, use_errno=True)
CLIENT, SERVER = "10.1.1.10", "10.20.1.2"
CLIENT6, SERVER6 = "fd01:1::10", "fd20:1::2"
ENDPOINT, WAITING, MIXED46, OTHER = "10.1.9.4", "10.1.9.5", "10.1.9.6", "10.1.9.7"
ENDPOINT6, MIXED64 = "fd01:9::14", "fd01:9::16"
NAT, NAT2, NAT6 = "10.20.99.4", "10.20.99.5", "fd20:99::14"
RUN = "/run/privlink"

CONFIG = f"""
[daemon]
state = "{RUN}/state"
socket = "{RUN}/privlink.sock"
metrics = "127.0.0.1:9464"
workers = 2
EXTRA

[[attachment]]
vnet = "spoke"
netns = "spoke"

[[attachment]]
vnet = "core"
netns = "core"

[[vnet]]
name = "spoke"
address_space = ["10.1.0.0/16", "fd01::/16"]
subnets = [{{ name = "clients", prefixes = ["10.1.1.0/24", "fd01:1::/64"] }},
           {{ name = "endpoints", prefixes = ["10.1.9.0/24", "fd01:9::/64"], dedicated = true }}]

[[vnet]]
name = "core"
address_space = ["10.20.0.0/16", "fd20::/16"]
subnets = [{{ name = "nat", prefixes = ["10.20.99.0/24", "fd20:99::/64"], nat = true }}]

[[resource]]
name = "four"
vnet = "core"
nat = ["{NAT}", "{NAT2}"]
targets = [{{ backends = ["{SERVER}"], ports = [{{ protocol = "tcp", port = 443, backend_port = 8443 }},
             {{ protocol = "udp", port = 53, backend_port = 5353 }}, {{ protocol = "icmp" }}] }}]
shared_backend = true

[[resource]]
name = "six"
vnet = "core"
nat = ["{NAT6}"]
targets = [{{ backends = ["{SERVER6}"], ports = [{{ protocol = "tcp", port = 443, backend_port = 8443 }},
             {{ protocol = "udp", port = 53, backend_port = 5353 }}, {{ protocol = "icmp" }}] }}]
"""


def endpoint(name, ip, resource, status="Approved"):
    return (f'\n[[endpoint]]\nname = "{name}"\nvnet = "spoke"\nsubnet = "endpoints"\nip = "{ip}"\n'
            f'resource = "{resource}"\nmanual = true\nstatus = "{status}"\n')


ENDPOINTS = (endpoint("four", ENDPOINT, "four") + endpoint("waiting", WAITING, "four", "Pending")
             + endpoint("other", OTHER, "four") + endpoint("six", ENDPOINT6, "six")
             + endpoint("mixed46", MIXED46, "six") + endpoint("mixed64", MIXED64, "four"))


def run(*line, **more):
    subprocess.run(line, check=True, capture_output=True, text=True, **more)


def ip(text):
    run("ip", *text.split())


def build(*lines):
    """Makes networks, a line for each part (tests/support/networks.rs)."""
    run(os.environ["PRIVLINK_LAB_BUILDER"], input="\n".join(lines))


def enter(namespace):
    """Moves the calling thread into a namespace; sockets made there stay there."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if NETNS.setns(descriptor, 0):
        raise OSError(ctypes.get_errno(), f"setns {namespace}")
    os.close(descriptor)


class Side:
    """The wire at one host."""

    def __init__(self, namespace, mac, gateway):
        # Whether questions of the forwarder's own are shown.
        self.probes = False
        # Connections that were seen in this case, and those of cases before it.
        self.seen, self.past = set(), set()
        enter(namespace)
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.wire.bind(("eth0", 0))
        self.mac, self.gateway = mac, gateway

    def send(self, *packets, trailer=b""):
        for packet in packets:
            kind = 0x86DD if bytes(packet)[0] >> 4 == 6 else 0x0800
            self.wire.send(bytes(Ether(src=self.mac, dst=self.gateway, type=kind)) + bytes(packet) + trailer)

    def drain(self, wait=0.0, quiet=0.03, late=False):
        """Packets that have come, once none came for a moment; `wait` is how long the first may take. `late`: also
        what tells of pieces that did not all come."""
        got, until = [], time.monotonic() + wait
        while packet := self.next(max(quiet, until - time.monotonic()), late):
            got.append(packet)
            until = 0
        return got

    def collect(self, enough, seconds, late=False):
        """Packets until they are enough, and what comes with the last of them; at most so many seconds."""
        got, deadline = [], time.monotonic() + seconds
        while not enough(got) and (packet := self.next(max(0, deadline - time.monotonic()), late)):
            got.append(packet)
        return got + self.drain(late=late)

    def next(self, wait, late=False):
        """The next packet, if one comes within `wait`."""
        until = time.monotonic() + wait
        while select.select([self.wire], [], [], max(0, until - time.monotonic()))[0]:
            frame = self.wire.recv(70000)
            if frame[12:14] == b"\x08\x00":
                packet = IP(frame[14:14 + int.from_bytes(frame[16:18], "big")])
            elif frame[12:14] == b"\x86\xdd":
                packet = IPv6(frame[14:54 + int.from_bytes(frame[18:20], "big")])
            else:
                continue
            if not is_noise(bytes(packet), late) and (self.probes or not is_probe(packet)) and not self.is_past(packet):
                return packet
        return None

    def begin(self):
        """A case begins: connections of those before it may end from now on, and none of them is this case's."""
        self.past |= self.seen
        self.seen = set()

    def is_past(self, packet):
        """Whether it is the reset of an earlier case's connection, which was idle for as long as it may be."""
        if TCP not in packet:
            return False
        name = (packet.src, packet.dst, packet[TCP].sport, packet[TCP].dport)
        if name in self.past and packet[TCP].flags & "R" and not packet[TCP].payload:
            return True
        self.past.discard(name)
        self.seen.add(name)
        return False


def is_probe(packet):
    """A question of the forwarder's own to an end of a connection, perhaps of an earlier case."""
    return TCP in packet and packet[TCP].flags == "A" and packet[TCP].window == 1024 and not packet[TCP].payload


def is_noise(packet, late):
    """What no case asks for: group membership, neighbour and router discovery; and, unless `late`, what tells half a
    minute later that the pieces of an earlier case's datagram did not all come: it quotes one of them."""
    if packet[0] >> 4 == 4:
        at, number = (packet[0] & 15) * 4, packet[9]
        quote = packet[at + 8:]
        exceeded = number == 1 and packet[at:at + 2] == b"\x0b\x01" and len(quote) >= 20
        return number == 2 or not late and exceeded and int.from_bytes(quote[6:8], "big") & 0x3FFF != 0
    at, number = 40, packet[6]
    if number == 0:
        number, at = packet[40], 48
    if number != 58:
        return False
    exceeded = packet[at:at + 2] == b"\x03\x01" and packet[at + 14:at + 15] == b"\x2c"
    return 130 <= packet[at] <= 143 or not late and exceeded


class Fences:
    """Datagrams behind those of a case, one through each worker: where they have come, whatever was sent before them
    has had its verdict. So nothing is waited for longer than it takes, and a busy machine gets the time it needs."""

    def __init__(self, lab):
        self.lab, self.ports, self.number, self.back = lab, [], 0, {}
        self.round(range(61000, 61016))
        flows = json.loads(lab.cli("flows", "-o", "json").stdout)["items"]
        self.ports = list({flow["worker"]: flow["consumer"]["port"] for flow in flows}.values())

    def message(self):
        self.number += 1
        return b"fence %d" % self.number

    def round(self, ports):
        """From the client to the server and back; what else came meanwhile, at the server and at the client."""
        word = self.message()
        self.lab.client.send(*(IP(src=CLIENT, dst=OTHER) / UDP(sport=port, dport=53) / Raw(word) for port in ports))
        at_server, seen = self.until(self.lab.server, word, len(ports))
        word = self.message()
        self.lab.server.send(*(answer(packet) / UDP(sport=5353, dport=packet[UDP].sport) / Raw(word) for packet in seen))
        at_client, _ = self.until(self.lab.client, word, len(seen))
        return at_server + self.lab.server.drain(quiet=0.005), at_client + self.lab.client.drain(quiet=0.005)

    @staticmethod
    def until(side, word, count):
        """Packets at a side until `count` with `word` have come, and those."""
        others, seen, deadline = [], [], time.monotonic() + 5
        while len(seen) < count and (packet := side.next(max(0, deadline - time.monotonic()))):
            (seen if UDP in packet and bytes(packet[UDP].payload) == word else others).append(packet)
        return others, seen


class Lab:
    """Both sides and the daemon."""

    def __init__(self, binary, extra="", mtu=(1500, 1500), fences=True):
        self.binary = binary
        os.makedirs(RUN, exist_ok=True)
        ends = (("client", "spoke", "lan0", "10.1.1.1/24", "fd01:1::1/64", mtu[0]),
                ("server", "core", "net0", "10.20.1.1/24", "fd20:1::1/64", mtu[1]))
        macs = []
        for host, router, link, gate, gate6, size in ends:
            build(f"router {router}", f"host {host}",
                  f"set {router} net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0 net.ipv4.icmp_ratelimit=0 "
                  "net.ipv6.icmp.ratelimit=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0",
                  f"set {host} net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
                  f"link {router} {link} {gate},{gate6} {host} eth0 - mtu {size}")
            for name, device in ((router, link), (host, "eth0")):
                run("ip", "netns", "exec", name, "ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
            mac = self.mac(host, "eth0")
            macs.append((mac, self.mac(router, link)))
            # Every address of the link is the host's: a case may speak as another one, and nobody tells seconds later that
            # an answer to it found no neighbour.
            known = [ipaddress.ip_interface(each).network[number] for each in (gate, gate6) for number in range(2, 255)]
            run("ip", "-n", router, "-batch", "-",
                input="".join(f"neigh replace {address} lladdr {mac} dev {link} nud permanent\n" for address in known))
        self.client = Side("client", *macs[0])
        self.server = Side("server", *macs[1])
        enter("spoke")
        with open(f"{RUN}/lab.toml", "w") as file:
            file.write(CONFIG.replace("EXTRA", extra) + ENDPOINTS)
        self.log = open(f"{RUN}/log", "w")
        self.daemon = subprocess.Popen([binary, "run", "-c", f"{RUN}/lab.toml"], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 15
        while self.cli("status", check=False).returncode:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(open(f"{RUN}/log").read())
            time.sleep(0.05)
        self.fences = None
        self.client.drain(quiet=0.2)
        self.server.drain()
        if fences:
            self.fences = Fences(self)

    @staticmethod
    def mac(namespace, device):
        text = subprocess.run(["ip", "-n", namespace, "-o", "link", "show", device], check=True, capture_output=True, text=True)
        return text.stdout.split("link/ether ")[1].split()[0]

    def cli(self, *arguments, check=True):
        return subprocess.run([self.binary, *arguments], capture_output=True, text=True, check=check,
                              env={**os.environ, "PRIVLINK_SOCKET": f"{RUN}/privlink.sock"})

    def drops(self):
        """Drops so far, by reason."""
        import urllib.request
        text = urllib.request.urlopen("http://127.0.0.1:9464/metrics", timeout=5).read().decode()
        counts = {}
        for line in text.splitlines():
            if line.startswith("privlink_drops_total{"):
                reason = line.split('reason="')[1].split('"')[0]
                counts[reason] = counts.get(reason, 0) + int(line.rsplit(" ", 1)[1])
        return {reason: count for reason, count in counts.items() if count}

    def up(self, *packets, wait=1.0, **more):
        """Sends from the client; what arrives at the server, and what comes back. Without fences, `wait` is how long
        the first packet may take."""
        self.client.send(*packets, **more)
        return self.settle() if self.fences else (self.server.drain(wait), self.client.drain())

    def down(self, *packets, wait=1.0):
        """Sends from the server; what arrives at the client, and what comes back."""
        self.server.send(*packets)
        if self.fences:
            at_server, at_client = self.settle()
            return at_client, at_server
        return self.client.drain(wait), self.server.drain()

    def settle(self):
        """What has come at the server and at the client, once all that was sent has had its verdict."""
        if self.fences is None:
            return self.server.drain(), self.client.drain()
        return self.fences.round(self.fences.ports)

    def end(self):
        """Stops the daemon and takes the namespaces away."""
        self.daemon.terminate()
        self.daemon.wait(10)
        self.client.wire.close()
        self.server.wire.close()
        for name in ("client", "server", "spoke", "core"):
            ip(f"netns delete {name}")
        shutil.rmtree(f"{RUN}/state")


def answer(packet, **fields):
    """An empty packet that goes the way back."""
    network = IPv6 if packet.version == 6 else IP
    return network(src=packet.dst, dst=packet.src, **fields)


__all__ = ["CLIENT", "CLIENT6", "ENDPOINT", "ENDPOINT6", "ICMP", "IP", "IPv6", "Lab", "MIXED46", "MIXED64", "NAT", "NAT2", "NAT6",
           "OTHER", "SERVER", "SERVER6", "TCP", "UDP", "WAITING", "answer", "ip", "run"]
