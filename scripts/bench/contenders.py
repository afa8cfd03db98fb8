"""What is compared. Each contender builds its middle, says which loads it can do, and why not the others."""

import json
import os
import pathlib
import resource
import shutil

import lab
from lab import BACKEND, CLIENT, Failed

PORT = 7000
IDLE_PORT = 7100  # and the 31 after it: where idle sessions go
NATS = 4
TCP, UDP = "tcp", "udp"
WRITER = "writes0"


class Contender:
    """Base: a middle with both legs in one namespace, and the addresses that go with its number."""

    key = label = note = ""
    kinds = (TCP, UDP)
    needs = ()
    settings = ""

    def __init__(self, number, work, binaries):
        self.number, self.work, self.binaries = number, pathlib.Path(work) / f"{self.key}-{number}", binaries
        self.left, self.right = f"10.{number}", f"10.{100 + number}"
        self.endpoint, self.idle_endpoint = f"{self.left}.9.4", f"{self.left}.9.5"
        self.backend, self.sink = f"{self.right}.0.10", f"{self.right}.0.12"
        self.nats = [f"{self.right}.99.{4 + n}" for n in range(NATS)]
        self.idle_nats = [f"{self.right}.99.{4 + NATS + n}" for n in range(NATS)]
        self.middle = f"middle{number}"
        self.processes = []
        self.work.mkdir(parents=True)

    def to(self):
        return f"{self.endpoint}:{PORT}"

    def listen(self):
        return f"{self.backend}:{PORT}"

    @classmethod
    def absent(cls):
        """Why it cannot take part, or None."""
        missing = [name for name in cls.needs if not shutil.which(name)]
        return f"not installed: {', '.join(missing)}" if missing else None

    def legs(self):
        return self.middle, self.middle

    def build(self):
        left, right = self.legs()
        for name in dict.fromkeys((left, right)):
            lab.namespace(name, "router")
        six = f"fd00:{self.number}:"
        lab.build(
            f"link {left} left0 {self.left}.0.1/24,{six}:1/64 {CLIENT} m{self.number} {self.left}.0.10/24,{six}:10/64",
            f"link {right} right0 {self.right}.0.1/24 {BACKEND} m{self.number} {self.right}.0.10/24",
            f"route {CLIENT} {self.left}.0.0/16 {self.left}.0.1",
            f"route {CLIENT} fd00:{self.number}::/32 {six}:1",
            f"route {BACKEND} {self.right}.0.0/16 {self.right}.0.1",
        )
        # Idle sessions end in a hole: no answer disturbs what is measured.
        lab.build(f"route {right} {self.sink} {self.backend}")
        lab.run("ip", "-n", BACKEND, "route", "add", "blackhole", self.sink)
        self.setup()

    def setup(self):
        raise NotImplementedError

    def spawn(self, *command, **options):
        self.processes.append(lab.start(*command, netns=self.middle, log=self.work / "log", **options))
        return self.processes[-1]

    def cpu(self):
        return lab.cpu_of(process.pid for process in self.processes)

    def held(self):
        """Sessions it holds now, or None where it keeps none."""
        return None

    def stop(self):
        for process in self.processes:
            lab.stop(process)

    def own_addresses(self):
        for address in (self.endpoint, self.idle_endpoint, *self.nats):
            lab.build(f"address {self.middle} {address}")

    def ready(self, kinds):
        for kind in kinds:
            lab.until(lambda kind=kind: lab.listens(self.middle, PORT, kind), f"{self.key} does not listen: {self.tail()}")

    def tail(self):
        log = self.work / "log"
        return log.read_text(errors="replace")[-400:] if log.exists() else ""


class Forward(Contender):
    key, label = "forward", "kernel, no NAT"
    note = "the kernel forwards, nothing is translated or checked: the ceiling"
    settings = "ip_forward"

    def to(self):
        return f"{self.backend}:{PORT}"

    def setup(self):
        lab.build(f"route {CLIENT} {self.right}.0.0/16 {self.left}.0.1", f"route {BACKEND} {self.left}.0.0/16 {self.right}.0.1")


class Nftables(Contender):
    key, label, needs = "nftables", "kernel nftables NAT", ("nft",)
    note = "the same policy as rules: source and port checked, destination and source translated, all else dropped"
    settings = "conntrack, dnat and snat to 4 addresses fully-random, forward policy drop"

    def setup(self):
        rules = f"""
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority -100;
    ip saddr {self.left}.0.0/16 ip daddr {self.endpoint} tcp dport {PORT} dnat to {self.backend}
    ip saddr {self.left}.0.0/16 ip daddr {self.endpoint} udp dport {PORT} dnat to {self.backend}
    ip saddr {self.left}.0.0/16 ip daddr {self.idle_endpoint} udp dport {IDLE_PORT}-{IDLE_PORT + 31} dnat to {self.sink}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    ip daddr {self.backend} snat to {self.nats[0]}-{self.nats[-1]} fully-random
    ip daddr {self.sink} snat to {self.nats[0]}-{self.nats[-1]} fully-random
  }}
}}
table ip filter {{
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ct status dnat accept
  }}
}}
"""
        lab.run("nft", "-f", "-", netns=self.middle, stdin=rules)
        for name in ("udp_timeout", "udp_timeout_stream"):
            lab.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}=7200", netns=self.middle, check=False)

    def held(self):
        return int(lab.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count", netns=self.middle))


class Haproxy(Contender):
    key, label, kinds, needs = "haproxy", "haproxy", (TCP,), ("haproxy",)
    note = "TCP only: it has no UDP proxy"
    settings = "mode tcp, a thread per core, splice-auto, maxconn 20000"

    def setup(self):
        self.own_addresses()
        config = self.work / "haproxy.cfg"
        config.write_text(f"""
global
  maxconn {min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3)}
defaults
  mode tcp
  option splice-auto
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind {self.endpoint}:{PORT}
  tcp-request connection reject if !{{ src {self.left}.0.0/16 }}
  server one {self.backend}:{PORT} source {self.nats[0]}
""")
        self.spawn("haproxy", "-db", "-f", str(config))
        self.ready([TCP])


class Nginx(Contender):
    key, label, needs = "nginx", "nginx stream", ("nginx",)
    note = "a socket per session on each side; UDP idle sessions need one each"
    settings = "a worker per core, reuseport, 64 KiB buffers, 4 source addresses in turn"
    MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

    @classmethod
    def absent(cls):
        return super().absent() or (None if os.path.exists(cls.MODULE) else "its stream module is not installed (libnginx-mod-stream)")

    def setup(self):
        self.own_addresses()
        config = self.work / "nginx.conf"
        shares = " ".join(f"{100 // NATS}% {nat};" for nat in self.nats[:-1]) + f" * {self.nats[-1]};"
        allow = f"allow {self.left}.0.0/16; deny all; proxy_bind $nat; proxy_timeout 2h; proxy_buffer_size 64k;"
        idle = "\n".join(f"    listen {self.idle_endpoint}:{IDLE_PORT + n} udp reuseport;" for n in range(32))
        config.write_text(f"""
load_module {self.MODULE};
daemon off;
user root;
pid {self.work}/pid;
error_log {self.work}/error.log crit;
worker_processes auto;
worker_rlimit_nofile 300000;
events {{ worker_connections 150000; }}
stream {{
  split_clients "$remote_addr$remote_port" $nat {{ {shares} }}
  server {{
    listen {self.endpoint}:{PORT} reuseport;
    {allow} proxy_pass {self.backend}:{PORT};
  }}
  server {{
    listen {self.endpoint}:{PORT} udp reuseport;
    {allow} proxy_pass {self.backend}:{PORT};
  }}
  server {{
{idle}
    {allow} proxy_pass {self.sink}:$server_port;
  }}
}}
""")
        self.spawn("nginx", "-c", str(config))
        self.ready([TCP, UDP])

    def held(self):
        return int(lab.run("sh", "-c", "ss -Hun state established | wc -l", netns=self.middle, timeout=120))


class Socat(Contender):
    key, label, needs = "socat", "socat", ("socat",)
    note = "a process per session"
    settings = "fork, 64 KiB buffers"

    def setup(self):
        self.own_addresses()
        for listen, connect in (("TCP-LISTEN", "TCP"), ("UDP-LISTEN", "UDP")):
            backlog = ",backlog=1024" if connect == "TCP" else ""
            self.spawn(
                "socat", "-b", "65536",
                f"{listen}:{PORT},bind={self.endpoint},fork,reuseaddr{backlog},range={self.left}.0.0/16",
                f"{connect}:{self.backend}:{PORT},bind={self.nats[0]}",
            )
        self.ready([TCP, UDP])


class Tayga(Contender):
    key, label, needs = "tayga", "tayga (6→4)", ("tayga",)
    note = "IPv6 clients before an IPv4 backend only; stateless, one IPv4 address per client, no policy"
    settings = "one thread, no offload; compare with privlink 6→4"

    def to(self):
        return f"[fd00:{self.number}:64::{self.backend}]:{PORT}"

    def setup(self):
        config = self.work / "tayga.conf"
        pool = f"{self.right}.200.0/24"
        config.write_text(f"""
tun-device nat64
ipv4-addr {self.right}.200.1
prefix fd00:{self.number}:64::/96
dynamic-pool {pool}
data-dir {self.work}
""")
        lab.run("tayga", "--mktun", "--config", str(config), netns=self.middle)
        lab.run("ip", "-n", self.middle, "link", "set", "nat64", "up")
        lab.build(f"route {self.middle} {pool} dev nat64", f"route {self.middle} fd00:{self.number}:64::/96 dev nat64")
        self.spawn("tayga", "--nodetach", "--config", str(config))


class Bare(Contender):
    key, label = "bare", "bare TUN loop"
    note = "benches/tools/tun_bare.rs: super-packets whole, one fixed rewrite, no policy, no table: the floor of any TUN forwarder"
    settings = "one queue, a thread per direction"

    def legs(self):
        return self.middle, f"{self.middle}b"

    def setup(self):
        left, right = self.legs()
        client = f"{self.left}.0.10"
        program = self.binaries / "examples/tun_bare"
        self.spawn(str(program), left, "left-tun", right, "right-tun", client, self.endpoint, self.nats[0], self.backend)
        lab.until(lambda: "ready" in self.tail(), f"tun_bare does not start: {self.tail()}")
        for netns, device in ((left, "left-tun"), (right, "right-tun")):
            lab.run("ip", "-n", netns, "link", "set", device, "up")
        lab.build(f"route {left} {self.endpoint} dev left-tun", f"route {right} {self.nats[0]} dev right-tun")


class Privlink(Contender):
    key, label = "privlink", "privlink"
    settings = "as it comes: a worker per core, steering, 4 NAT addresses"
    offload = True

    def legs(self):
        return self.middle, f"{self.middle}b"

    def endpoint_six(self):
        return f"fd00:{self.number}:9::4"

    def setup(self):
        left, right = self.legs()
        config = self.work / "privlink.toml"
        quoted = lambda addresses: json.dumps(list(addresses))
        config.write_text(f"""
[daemon]
state = "{self.work}/state"
socket = "{self.work}/privlink.sock"
on_exit = "undo"
offload = {str(self.offload).lower()}
max_sessions = 4194304
flow_log = false
timeouts = {{ udp = "2h", tcp_transitory = "2h" }}

[[attachment]]
vnet = "left"
netns = "{left}"

[[attachment]]
vnet = "right"
netns = "{right}"

[[vnet]]
name = "left"
address_space = ["{self.left}.0.0/16", "fd00:{self.number}::/32"]
subnets = [
  {{ name = "endpoints", prefix = "{self.left}.9.0/24" }},
  {{ name = "endpoints-six", prefix = "fd00:{self.number}:9::/64" }},
]

[[vnet]]
name = "right"
address_space = ["{self.right}.0.0/16"]
subnets = [{{ name = "nat", prefix = "{self.right}.99.0/24", nat = true }}]

[[resource]]
name = "bench"
vnet = "right"
nat = {quoted(self.nats)}
targets = [{{ backends = ["{self.backend}"], ports = [{{ protocol = "tcp", port = {PORT} }}, {{ protocol = "udp", port = {PORT} }}] }}]

[[resource]]
name = "idle"
vnet = "right"
nat = {quoted(self.idle_nats)}
targets = [{{ backends = ["{self.sink}"], ports = [
  {{ protocol = "udp", port = "{IDLE_PORT}-{IDLE_PORT + 31}" }}, {{ protocol = "tcp", port = "{IDLE_PORT}-{IDLE_PORT + 31}" }} ] }}]

[[endpoint]]
name = "bench"
vnet = "left"
subnet = "endpoints"
ip = "{self.endpoint}"
resource = "bench"
status = "Approved"

[[endpoint]]
name = "bench-six"
vnet = "left"
subnet = "endpoints-six"
ip = "{self.endpoint_six()}"
resource = "bench"
status = "Approved"

[[endpoint]]
name = "idle"
vnet = "left"
subnet = "endpoints"
ip = "{self.idle_endpoint}"
resource = "idle"
status = "Approved"
""")
        self.spawn(str(self.binaries / "privlink"), "run", "-c", str(config))
        lab.until(lambda: self.ask("status", check=False).strip(), f"{self.key} does not start: {self.tail()}", 20)
        if self.processes[0].poll() is not None:
            raise Failed(f"{self.key} does not start: {self.tail()}")

    def writes(self, program, rate):
        """What writes resets as privlink does: from its addresses, to where its idle sessions end."""
        return [str(program), WRITER, self.idle_nats[0], str(NATS), self.sink, str(rate)]

    def let_writes(self):
        right = self.legs()[1]
        lab.until(lambda: WRITER in lab.run("ip", "-n", right, "-br", "link"), "tun_writes does not start")
        lab.run("ip", "-n", right, "link", "set", WRITER, "up")
        for name, value in (("forwarding", 1), ("rp_filter", 0)):
            lab.run("sysctl", "-qw", f"net.ipv4.conf.{WRITER}.{name}={value}", netns=right)

    def written(self):
        """Resets that the writer has written so far: what a device is given to receive."""
        return json.loads(lab.run("ip", "-n", self.legs()[1], "-s", "-j", "link", "show", WRITER))[0]["stats64"]["rx"]["packets"]

    def command(self, *words):
        return [str(self.binaries / "privlink"), "--socket", f"{self.work}/privlink.sock", *words]

    def ask(self, *words, check=True):
        return lab.run(*self.command(*words), check=check)

    def held(self):
        items = json.loads(self.ask("status", "-o", "json"))["items"]
        return find_number(items, "sessions")

    def resets(self):
        return find_number(json.loads(self.ask("status", "-o", "json")), "originated")


class PrivlinkPlain(Privlink):
    key, label = "privlink-plain", "privlink, offload off"
    note = "offload = false: no super-packets, full checksums"
    settings = "offload = false"
    offload = False


class PrivlinkSix(Contender):
    """The same daemon as `privlink`, asked by IPv6."""

    key, label = "privlink-six", "privlink (6→4)"
    note = "the same daemon as privlink: IPv6 clients before the IPv4 backend"
    settings = "as privlink"

    def __init__(self, other):
        super().__init__(other.number, other.work, other.binaries)
        self.other = other

    def to(self):
        return f"[{self.other.endpoint_six()}]:{PORT}"

    def cpu(self):
        return self.other.cpu()

    def build(self):
        pass

    def setup(self):
        pass


def find_number(value, name):
    """Sum of the numbers called `name` in a tree of JSON."""
    if isinstance(value, dict):
        return sum(v if k == name and isinstance(v, int) else find_number(v, name) for k, v in value.items())
    return sum(find_number(v, name) for v in value) if isinstance(value, list) else 0
