"""Namespaces, cables and processes of one bench run. Everything lives inside the lab that scripts/lab.sh made.

One client and one backend for all, and for each contender a middle of its own, so that none runs through another's
rules and all can stand ready at once:

    client ── 10.K.0.0/24 ── middle K ── 10.(100+K).0.0/24 ── backend
"""

import contextlib
import os
import signal
import subprocess
import time

CLIENT, BACKEND = "client", "backend"


class Failed(Exception):
    """A program of the bench did not do what it was asked to; its text says which and why."""


def run(*command, netns=None, check=True, timeout=60, stdin=None):
    if netns:
        command = ("nsenter", f"--net=/run/netns/{netns}", "--", *command)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, input=stdin)
    if check and done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def start(*command, netns, log, env=None):
    with open(log, "ab") as output:
        return subprocess.Popen(
            ("nsenter", f"--net=/run/netns/{netns}", "--", *command),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(env or {})}, start_new_session=True,
        )


def stop(process):
    """Ends a process that `start` began, and those it started: they are a group of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what} after {seconds} s")
        time.sleep(0.05)


def namespace(name, forwards=False):
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    settings = ["net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_max_tw_buckets=65536"]
    if forwards:
        settings += ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
    run("sysctl", "-qw", *settings, netns=name)


def cable(one, one_end, one_addresses, other, other_end, other_addresses):
    run("ip", "-n", one, "link", "add", one_end, "type", "veth", "peer", "name", other_end, "netns", other)
    for netns, device, addresses in ((one, one_end, one_addresses), (other, other_end, other_addresses)):
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            run("ip", "-n", netns, "address", "add", address, "dev", device, *nodad)
        run("ip", "-n", netns, "link", "set", device, "up")


def route(netns, prefix, *way):
    run("ip", "-n", netns, "route", "add", prefix, *way)


def listens(netns, port, kind="tcp"):
    flag = "-Hltn" if kind == "tcp" else "-Hlun"
    return bool(run("ss", flag, "sport", "=", f":{port}", netns=netns).strip())


def cpu_of(processes):
    """Seconds of CPU that processes and their children, living or waited for, have used."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            fields = stat(name)
            children.setdefault(int(fields[1]), []).append((int(name), sum(map(int, fields[11:15]))))
    known = {pid: ticks for family in children.values() for pid, ticks in family}
    total, todo = 0, list(processes)
    while todo:
        pid = todo.pop()
        total += known.get(pid, 0)
        todo += [child for child, _ in children.get(pid, [])]
    return total / os.sysconf("SC_CLK_TCK")


def stat(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as line:
        return line.read().rpartition(")")[2].split()


def cpu_of_machine():
    """Seconds busy, of those in softirq, and stolen by others on the host, over all cores."""
    with open("/proc/stat", encoding="ascii") as lines:
        user, nice, system, _, _, irq, softirq, stolen = map(int, lines.readline().split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return {"busy": (user + nice + system + irq + softirq) / tick, "softirq": softirq / tick, "stolen": stolen / tick}
