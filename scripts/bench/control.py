"""How long `reject` takes among many endpoints, beside whatever else keeps the control plane busy (see bench-control.sh)."""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

ASKED = 50.0  # milliseconds, the 99th percentile
HOSTILE = 1000
USERS = [4001, 4002, 4003, 4004]  # on this host, without any right
GROUP = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network"


class Unix(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def configuration(work, endpoints, port):
    """The daemon's file, and what is connected at its start."""
    text = f"""
[daemon]
state = "{work}/state"
socket = "{work}/privlink.sock"
api = "127.0.0.1:{port}"
on_exit = "undo"
workers = 1

[[attachment]]
vnet = "spoke"
netns = "spoke"

[[attachment]]
vnet = "core"
netns = "core"

[[vnet]]
name = "spoke"
address_space = ["10.0.0.0/8"]
subnets = [{{ name = "endpoints", prefix = "10.64.0.0/14", dedicated = true }}]

[[vnet]]
name = "core"
address_space = ["172.16.0.0/16"]
subnets = [{{ name = "nat", prefix = "172.16.99.0/24", nat = true }}]

[[resource]]
name = "service"
vnet = "core"
nat = ["172.16.99.4"]
targets = [{{ backends = ["172.16.0.2"], ports = [{{ protocol = "tcp", port = 443 }}] }}]
"""
    one = '[[endpoint]]\nname="e{n}"\nvnet="spoke"\nsubnet="endpoints"\nresource="service"\nstatus="Approved"\n'
    return text + "".join(one.format(n=number) for number in range(endpoints))


# What keeps the control plane busy. Each runs in a process of its own until it is ended, and tells when it has begun.


def as_user(uid):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def hold(place, first, began):
    """Opens connections that send `first` and nothing more, and opens each again that is closed."""
    held = []
    told = False
    while True:
        while len(held) < HOSTILE:
            one = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
            one.settimeout(5)
            try:
                one.connect(place)
                if first:
                    one.sendall(first)
            except OSError:
                # Refused or full: it is tried again like any other.
                pass
            one.setblocking(False)
            held.append(one)
        if not told:
            began.set()
            told = True
        time.sleep(0.02)
        left = []
        for one in held:
            with contextlib.suppress(BlockingIOError, OSError):
                if not one.recv(4096):
                    one.close()
                    continue
                left.append(one)
                continue
            if one.fileno() >= 0:
                left.append(one)
        held = left


def again_and_again(make, ask, began):
    connection = None
    while True:
        try:
            connection = connection or make()
            ask(connection)
            began.set()
        except (OSError, http.client.HTTPException):
            connection = None
            time.sleep(0.01)


def asked(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


class Lab:
    """One daemon, and who asks it."""

    def __init__(self, binary, work, endpoints):
        self.work, self.endpoints = work, endpoints
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with open(f"{work}/privlink.toml", "w") as file:
            file.write(configuration(work, endpoints, self.port))
        os.chmod(work, 0o755)
        self.socket = f"{work}/privlink.sock"
        self.log = open(f"{work}/log", "w")
        self.daemon = subprocess.Popen([binary, "run", "-c", f"{work}/privlink.toml"], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 300
        while not self.ready():
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the daemon does not start: {open(f'{work}/log').read()[-2000:]}")
            time.sleep(0.2)
        root = Unix(self.socket)
        self.tokens = {}
        for name, role in [("revoker", "Owner"), ("creator", "Contributor")]:
            status, body = asked(root, "POST", "/v1/tokens", json.dumps({"name": name, "lifetimeSeconds": 86400}))
            assert status == 200, body
            self.tokens[name] = json.loads(body)["items"][0]["secret"]
            given = {"principal": f"token:{name}", "role": role, "scope": "/"}
            status, body = asked(root, "POST", "/v1/assignments", json.dumps(given))
            assert status == 200, body

    def ready(self):
        try:
            return asked(Unix(self.socket), "GET", "/readyz")[0] == 200
        except OSError:
            return False

    def network(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)

    def headers(self, name):
        return {"Authorization": f"Bearer {self.tokens[name]}", "Content-Type": "application/json"}

    def beside(self, name):
        """The processes of a situation: what each does, and as whom."""
        api = ("127.0.0.1", self.port)
        head = b"POST /v1/connections/default%2Fe0/reject HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n"
        slow = head + f"Authorization: Bearer {self.tokens['creator']}\r\n\r\n{{".encode()
        unprivileged = lambda ask: [(uid, again_and_again, (lambda: Unix(self.socket), ask)) for uid in USERS]
        if name == "idle":
            return []
        if name == "connections":
            return [(USERS[0], hold, (self.socket, b"GET /v1/st")), (USERS[1], hold, (api, b"GET"))]
        if name == "slow-bodies":
            return [(USERS[0], hold, (self.socket, head + b"\r\n{")), (USERS[1], hold, (self.socket, slow))]
        if name == "handshakes":
            return [(USERS[0], hold, (api, b"")), (USERS[1], hold, (api, b"\x16\x03\x01\x02\x00\x01"))]
        if name == "documents":
            table = '[[endpoint]]\nname = "x{n}"\nvnet = "spoke"\nsubnet = "endpoints"\nresource = "nowhere{n}"\n'
            text = "".join(table.format(n=number) for number in range(30_000))
            body = json.dumps({"name": "big", "document": text, "dryRun": True})
            ask = lambda connection: asked(connection, "POST", "/v1/apply", body)
            mine = lambda connection: asked(connection, "POST", "/v1/apply", body, self.headers("creator"))
            return unprivileged(ask)[:2] + [(USERS[2], again_and_again, (lambda: Unix(self.socket), mine))]
        if name == "lists":
            return unprivileged(lambda connection: asked(connection, "GET", "/v1/endpoints"))
        if name == "granted-lists":
            mine = lambda connection: asked(connection, "GET", "/v1/endpoints", None, self.headers("creator"))
            return [(uid, again_and_again, (lambda: Unix(self.socket), mine)) for uid in USERS[:2]]
        assert name == "creations", name
        return [(USERS[0], self.create, (1,)), (USERS[1], self.create, (2,))]

    def create(self, which, began):
        number = 0
        connection = None
        while True:
            number += 1
            body = {
                "location": "local",
                "properties": {
                    "subnet": {"id": f"{GROUP}/virtualNetworks/spoke/subnets/endpoints"},
                    "privateLinkServiceConnections": [
                        {"name": "c", "properties": {"privateLinkServiceId": f"{GROUP}/privateLinkServices/service"}}
                    ],
                },
            }
            path = f"{GROUP}/privateEndpoints/new-{which}-{number}?api-version=2026-03-01"
            try:
                connection = connection or Unix(self.socket)
                status, answer = asked(connection, "PUT", path, json.dumps(body), self.headers("creator"))
                assert status in (200, 201, 503), answer
                began.set()
            except (OSError, http.client.HTTPException):
                connection = None

    def measure(self, name, rejects, first):
        """Milliseconds of each `reject`, over the socket and over the API, by turns."""
        processes = []
        for uid, work, arguments in self.beside(name):
            began = multiprocessing.Event()

            def run(uid=uid, work=work, arguments=arguments, began=began):
                as_user(uid)
                work(*arguments, began)

            process = multiprocessing.Process(target=run, daemon=True)
            process.start()
            processes.append((process, began))
        for process, began in processes:
            # A big document may take its time.
            began.wait(60)
        took = {"socket": [], "api": [], "arm": []}
        try:
            root, api = Unix(self.socket), self.network()
            for number in range(first, first + rejects):
                place = list(took)[number % 3]
                if place == "arm":
                    path, body = self.connection_of(root, number)
                    request = ("PUT", path, body, self.headers("revoker"))
                else:
                    headers = {} if place == "socket" else self.headers("revoker")
                    request = ("POST", f"/v1/connections/default%2Fe{number}/reject", "{}", headers)
                connection = root if place == "socket" else api
                begin = time.perf_counter()
                try:
                    status, answer = asked(connection, *request)
                except (OSError, http.client.HTTPException):
                    # An idle connection ends after a while: the next one is opened before the clock runs.
                    connection.close()
                    asked(connection, "GET", "/healthz")
                    begin = time.perf_counter()
                    status, answer = asked(connection, *request)
                took[place].append((time.perf_counter() - begin) * 1000)
                assert status == 200, answer
        finally:
            for process, _ in processes:
                process.kill()
                process.join()
        return took

    def connection_of(self, root, number):
        status, answer = asked(root, "GET", f"{GROUP}/privateEndpoints/e{number}?api-version=2026-03-01")
        assert status == 200, answer
        # The service's side has a name of its own for it: the endpoint's, and a part derived from its key.
        name = f"e{number}.{guid(number)}"
        state = {"properties": {"privateLinkServiceConnectionState": {"status": "Rejected", "description": "bench"}}}
        path = f"{GROUP}/privateLinkServices/service/privateEndpointConnections/{name}?api-version=2026-03-01"
        return path, json.dumps(state)


def guid(number):
    """As `control::ids` derives it."""
    import hashlib

    digest = bytearray(hashlib.sha256(f"privlink connection default/default/e{number}".encode()).digest()[:16])
    digest[6] = 0x80 | digest[6] & 0x0F
    digest[8] = 0x80 | digest[8] & 0x3F
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main():
    situations = [
        "idle", "connections", "slow-bodies", "handshakes", "documents", "lists", "granted-lists", "creations",
    ]
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("out")
    parser.add_argument("--endpoints", type=int, default=30_000)
    parser.add_argument("--rejects", type=int, default=600)
    parser.add_argument("--only", default=",".join(situations))
    given = parser.parse_args()
    multiprocessing.set_start_method("fork")
    results, slow = {}, []
    with tempfile.TemporaryDirectory() as work:
        lab = Lab(given.binary, work, given.endpoints)
        try:
            for index, name in enumerate(given.only.split(",")):
                load = os.getloadavg()[0]
                took = lab.measure(name, given.rejects, index * given.rejects)
                results[name] = {"load_before": load, "load_after": os.getloadavg()[0]}
                for place, values in took.items():
                    p50, p99 = statistics.median(values), percentile(values, 0.99)
                    results[name][place] = {"p50": p50, "p99": p99, "most": max(values), "count": len(values)}
                    print(f"{name:14} {place:7} p50 {p50:7.1f} ms  p99 {p99:7.1f} ms  most {max(values):7.1f} ms", flush=True)
                    if p99 > ASKED:
                        slow.append(f"{name} ({place})")
        finally:
            lab.daemon.terminate()
            lab.daemon.wait()
    with open(f"{given.out}/control.json", "w") as file:
        json.dump({"endpoints": given.endpoints, "asked_p99": ASKED, "results": results}, file, indent=2)
    if slow:
        sys.exit(f"p99 above {ASKED:.0f} ms: {', '.join(slow)}")


main()
