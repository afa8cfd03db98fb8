"""Runs the comparison inside the lab; scripts/bench.sh calls it.

usage: run.py BINARIES OUT [--quick] [--rounds N] [--seconds S] [--loads A,B] [--contenders A,B] [--no-idle] [--no-profile]

Contenders stand ready side by side, and every load visits them in turn, round after round: A B C, A B C. Writes
OUT/runs.json.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import contenders as c
import lab
from lab import BACKEND, CLIENT, Failed
from loads import IDLE, LOADS
from profile import profile, profile_resets

ORDER = [c.Forward, c.Nftables, c.Haproxy, c.Nginx, c.Socat, c.Tayga, c.Bare, c.Privlink, c.PrivlinkPlain]
# A proxy needs two per session.
FILES = 400_000
# Packets are lost on the way into a full queue: so often a fill is repeated, and this share is enough.
FILLS, ENOUGH = 5, 0.99
# Streams of which the median counts, before, beside and after a revocation.
STREAMS_BESIDE = 3
IDLE_SIZES = {"64 K": 65_536, "1 M": 1_000_000}


class Bench:
    def __init__(self, arguments):
        self.binaries, self.out = pathlib.Path(arguments.binaries).resolve(), pathlib.Path(arguments.out)
        self.seconds = arguments.seconds or (1.0 if arguments.quick else 2.0)
        self.rounds = arguments.rounds or (3 if arguments.quick else 5)
        self.quick = arguments.quick
        self.loads = [load for load in LOADS if (load.key in arguments.loads if arguments.loads else not self.quick or load.quick)]
        self.wanted = arguments.contenders
        self.idle, self.profiles, self.profile = not arguments.no_idle, not arguments.no_profile, []
        self.work = tempfile.mkdtemp(prefix="privlink-bench-")
        self.all, self.absent, self.rows, self.full = [], {}, [], None
        self.built = []

    def run(self):
        began = time.time()
        lab.namespace(CLIENT)
        lab.namespace(BACKEND)
        try:
            self.build()
            self.compare()
            if self.idle and "privlink" in self.standing():
                self.beside_idle()
                self.revoke()
            if self.profiles and "privlink" in self.standing():
                self.profile += profile(self, self.standing()["privlink"], [load for load in LOADS if load.key in ("udp64", "tcp1-up")])
        finally:
            for contender in self.built:
                contender.stop()
            shutil.rmtree(self.work, ignore_errors=True)
            report = {
                "machine": machine(), "began": began, "took_seconds": time.time() - began, "rounds": self.rounds, "seconds": self.seconds,
                "quick": self.quick, "nat_addresses": c.NATS, "absent": self.absent,
                "contenders": [dict(key=x.key, label=x.label, note=x.note, settings=x.settings) for x in self.all],
                "loads": [vars(load) | {"arguments": list(load.arguments)} for load in self.loads], "runs": self.rows, "profile": self.profile,
            }
            (self.out / "runs.json").write_text(json.dumps(report, indent=1) + "\n")

    def standing(self):
        return {contender.key: contender for contender in self.all}

    def build(self):
        for kind in ORDER:
            if self.wanted and kind.key not in self.wanted:
                continue
            reason = kind.absent()
            try:
                if reason:
                    raise Failed(reason)
                self.add(kind)
            except Failed as failure:
                self.absent[kind.key] = {"label": kind.label, "why": str(failure)}
                print(f"  {kind.label} does not take part: {failure}", flush=True)
        if "privlink" in self.standing() and (not self.wanted or "privlink-six" in self.wanted):
            self.all.append(c.PrivlinkSix(self.standing()["privlink"]))

    def add(self, kind, listed=True):
        contender = kind(len(self.built) + 1, self.work, self.binaries)
        self.built.append(contender)
        contender.build()
        if listed:
            self.all.append(contender)
        return contender

    def compare(self):
        for turn in range(1, self.rounds + 1):
            for load in self.loads:
                for contender in self.all:
                    if load.kind in contender.kinds:
                        self.measure(load.key, load, turn, contender, contender.key)

    def measure(self, phase, load, turn, contender, key):
        busy, own = lab.cpu_of_machine(), contender.cpu()
        row = {"phase": phase, "round": turn, "contender": key}
        try:
            row |= self.traffic(contender.to(), contender.listen(), *load.arguments)
            after = lab.cpu_of_machine()
            row["cpu"] = {name: after[name] - busy[name] for name in busy} | {"own": contender.cpu() - own}
            shown = f"{row[load.figure] * load.scale:9.2f} {load.unit}"
        except (Failed, subprocess.TimeoutExpired) as failure:
            row["error"] = str(failure).strip().splitlines()[-1][:300]
            shown = f"failed: {row['error']}"
        self.rows.append(row)
        print(f"  round {turn}, {phase:<18} {key:<16} {shown}", flush=True)

    def traffic(self, to, listen, *arguments, seconds=None, timeout=40):
        return json.loads(lab.run(
            str(self.binaries / "examples/traffic"), "--client-netns", CLIENT, "--server-netns", BACKEND, "--to", to, "--listen", listen,
            "--seconds", str(seconds or self.seconds), *arguments, timeout=timeout,
        ))

    # --- a stream beside idle sessions --------------------------------------------------------------

    def beside_idle(self):
        """The same contender twice, one of them full of idle sessions, in turns."""
        pairs = [(self.standing()[kind.key], self.add_full(kind)) for kind in (c.Privlink, c.Nftables, c.Nginx) if kind.key in self.standing()]
        for name, size in IDLE_SIZES.items():
            # What cannot hold 64 K is not asked for a million.
            pairs = [(empty, full) for empty, full in pairs if full and self.fill(full, name, size)]
            for turn in range(1, self.rounds + 1):
                for empty, full in pairs:
                    self.measure(f"idle {name}", IDLE, turn, empty, empty.key)
                    self.measure(f"idle {name}", IDLE, turn, full, f"{full.key}+idle")
        self.full = next((full for _, full in pairs if full.key == "privlink"), None)

    def add_full(self, kind):
        try:
            return self.add(kind, listed=False)
        except Failed as failure:
            print(f"  a second {kind.label} does not start: {failure}", flush=True)
            return None

    def fill(self, contender, name, size, *kind):
        """Fills the table until it holds `size` idle sessions, or says how many it can hold. `kind`: `--tcp`, or UDP."""
        row = {"phase": f"fill {name}", "contender": contender.key, "wanted": size}
        began = time.monotonic()
        try:
            for _ in range(FILLS):
                before = row.get("held", -1)
                self.traffic(
                    f"{contender.idle_endpoint}:{c.IDLE_PORT}", contender.listen(), "fill", "--from", f"{contender.left}.0.10",
                    "--sessions", str(size), *kind, timeout=120,
                )
                row["held"] = contender.held()
                if row["held"] >= size or row["held"] <= 1.01 * before:
                    break
        except (Failed, subprocess.TimeoutExpired) as failure:
            row["error"] = str(failure)[:300]
        row["seconds"] = time.monotonic() - began
        self.rows.append(row)
        print(f"  {contender.label}: {row.get('held', 0)} of {size} idle sessions held after {row['seconds']:.1f} s {row.get('error', '')}", flush=True)
        return row.get("held", 0) >= ENOUGH * size

    # --- revocation ---------------------------------------------------------------------------------

    def revoke(self):
        privlink = self.standing()["privlink"]
        for turn in range(1, self.rounds + 1):
            row = {"phase": "revoke", "round": turn, "contender": "privlink"}
            try:
                row |= self.traffic(privlink.to(), privlink.listen(), "revoke", "--", *privlink.command("connection", "reject", "bench"))
                privlink.ask("connection", "approve", "bench")
                print(f"  round {turn}, revoke: last packet {row['last_after_begin_ms']:.1f} ms after the call began", flush=True)
            except (Failed, subprocess.TimeoutExpired) as failure:
                row["error"] = str(failure)[:300]
                print(f"  round {turn}, revoke: failed: {row['error']}", flush=True)
            self.rows.append(row)
        for kind, *flag in (("udp",), ("tcp", "--tcp")) if self.full else ():
            for revoke in (*[self.revoke_among] * (1 if self.quick else 3), self.revoke_full):
                if self.fill(self.full, f"1 M, {kind.upper()}", IDLE_SIZES["1 M"], *flag):
                    revoke(self.full, kind)
                    self.full.ask("connection", "approve", "idle")

    def revoke_among(self, privlink, kind):
        """Takes away the endpoint with all the idle sessions while it carries traffic itself."""
        row = {"phase": f"revoke among {kind}", "contender": "privlink", "sessions": privlink.held()}
        to, listen = (f"{host}:{c.IDLE_PORT}" for host in (privlink.idle_endpoint, privlink.sink))
        # The hole where idle sessions end is a host for as long.
        place = (f"{privlink.sink}/32", "dev", "lo")
        lab.run("ip", "-n", BACKEND, "address", "add", *place)
        try:
            began = time.monotonic()
            row |= self.traffic(to, listen, "revoke", "--", *privlink.command("connection", "reject", "idle"))
            self.until_ended(privlink, began)
        except (Failed, subprocess.TimeoutExpired) as failure:
            row["error"] = str(failure)[:300]
        finally:
            lab.run("ip", "-n", BACKEND, "address", "del", *place)
        self.rows.append(row)
        print(f"  revoke among {row['sessions']} sessions: {row}", flush=True)

    def until_ended(self, privlink, began):
        while privlink.held() > 10 and time.monotonic() - began < 60:
            time.sleep(0.2)

    def revoke_full(self, privlink, kind):
        """Takes away the endpoint with all the idle sessions while a stream of another endpoint runs."""
        row = {"phase": f"revoke full {kind}", "contender": "privlink", "sessions": privlink.held()}
        resets = privlink.resets()
        try:
            before = statistics.median(self.stream(privlink) for _ in range(STREAMS_BESIDE))
            began = time.monotonic()
            reject = subprocess.Popen(privlink.command("connection", "reject", "idle"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            during = [self.stream(privlink)]
            # Half of them are left for another stream, or it is none beside a revocation; then for the profile.
            if privlink.held() > row["sessions"] / 2:
                during.append(self.stream(privlink))
            reject.wait(30)
            row |= {"before": before, "during": statistics.median(during), "streams": len(during)}
            if self.profiles and kind == "tcp":
                self.profile += filter(None, [profile_resets(self, privlink, 2)])
            self.until_ended(privlink, began)
            row |= {"left": privlink.held(), "ended_after_seconds": time.monotonic() - began, "resets": privlink.resets() - resets}
            if row["resets"]:
                row |= self.beside_writes(privlink, round(row["resets"] / row["ended_after_seconds"]))
        except (Failed, subprocess.TimeoutExpired) as failure:
            row["error"] = str(failure)[:300]
        self.rows.append(row)
        print(f"  revoke with {row['sessions']} sessions: {row}", flush=True)

    def beside_writes(self, privlink, rate):
        """The stream beside a loop that only writes as many resets: no forwarder's cost less."""
        writer = lab.start(*privlink.writes(self.binaries / "examples/tun_writes", rate), netns=privlink.legs()[1], log=self.work + "/writes")
        try:
            privlink.let_writes()
            written, began = privlink.written(), time.monotonic()
            floor = statistics.median(self.stream(privlink) for _ in range(STREAMS_BESIDE))
            return {"floor": floor, "floor_rate": (privlink.written() - written) / (time.monotonic() - began)}
        finally:
            lab.stop(writer)

    def stream(self, privlink):
        return self.traffic(privlink.to(), privlink.listen(), *IDLE.arguments)["bits_per_second"]


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False).stdout.strip()
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("binaries")
    parser.add_argument("out")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--loads", type=lambda text: text.split(","))
    parser.add_argument("--contenders", type=lambda text: text.split(","))
    parser.add_argument("--no-idle", action="store_true")
    parser.add_argument("--no-profile", action="store_true")
    arguments = parser.parse_args()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    except (ValueError, OSError):
        print(f"  this user may not open {FILES} files: proxies hold fewer sessions", flush=True)
    Bench(arguments).run()


try:
    main()
except Failed as failure:
    sys.exit(f"bench: {failure}")
