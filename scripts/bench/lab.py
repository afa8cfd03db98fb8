"""Namespaces and processes of one bench run. Everything lives inside the lab that scripts/lab.sh made.

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


def build(*lines):
    """Makes networks, a line for each part (tests/support/networks.rs)."""
    run(os.environ["PRIVLINK_LAB_BUILDER"], stdin="\n".join(lines))


def namespace(name, kind="host"):
    build(f"{kind} {name}")
    run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_max_tw_buckets=65536", netns=name)


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
