"""Where a packet's time goes: samples of privlink's threads under load (perf), and their system calls (strace)."""

import collections
import re
import shutil
import subprocess
import time

import lab
from lab import Failed

# The first that a sample's call chain contains says what it was for: innermost work first.
STAGES = [
    ("the receiving host's TCP or UDP, within our write", ("tcp_v4_rcv", "tcp_v6_rcv", "udp_rcv", "__udp4_lib_rcv", "udpv6_rcv", "udp_unicast_rcv_skb")),
    ("read: copying out of the device", ("skb_copy_datagram_iter", "__skb_datagram_iter", "_copy_to_iter", "simple_copy_to_iter")),
    ("read: freeing the packet, waking its sender", ("consume_skb", "kfree_skb_reason", "sk_skb_reason_drop", "skb_release_data", "__kfree_skb")),
    ("write: routing and sending on, within our write", ("ip_forward", "ip6_forward", "ip_rcv", "ipv6_rcv", "__netif_receive_skb_core", "netif_receive_skb", "net_rx_action", "process_backlog", "dev_hard_start_xmit")),
    ("write: copying into the kernel", ("copy_page_from_iter", "_copy_from_iter", "skb_copy_datagram_from_iter", "zerocopy_sg_from_iter", "copy_from_iter")),
    ("write: making the packet", ("tun_get_user", "tun_chr_write_iter")),
    ("read: the rest", ("tun_chr_read_iter", "tun_do_read", "tun_ring_recv")),
    ("waiting: poll, sleep, wake-up", ("do_sys_poll", "do_poll", "__x64_sys_poll", "__x64_sys_ppoll", "schedule", "try_to_wake_up")),
    ("entering and leaving the kernel", ("do_syscall_64", "entry_SYSCALL_64", "entry_SYSCALL_64_after_hwframe", "syscall_return_via_sysret", "vfs_read", "vfs_write", "ksys_read", "ksys_write")),
]
OWN, OTHER = "privlink's own code", "interrupts and the rest"
SAMPLES_A_SECOND = 1_999


def profile(bench, privlink, loads):
    missing = [name for name in ("perf", "strace") if not shutil.which(name)]
    if missing:
        print(f"  no profile: {', '.join(missing)} not installed", flush=True)
        return []
    parts = []
    for load in loads:
        try:
            parts.append(part(bench, privlink, load))
            print(f"  profile of {load.key}: done", flush=True)
        except (Failed, subprocess.TimeoutExpired, ValueError, KeyError, ZeroDivisionError) as failure:
            print(f"  no profile of {load.key}: {failure}", flush=True)
    return parts


def part(bench, privlink, load):
    found = sampled(bench, privlink, lambda: bench.traffic(privlink.to(), privlink.listen(), *load.arguments), forwarded)
    calls = [[name, f"{count:,}", f"{count / handled:.2f}"] for name, count, handled in traced(bench, privlink, load)]
    return written(load.title, "wrote {:,} packets (a super-packet is one)", found, [
        {"head": ["system call (strace, which slows them)", "calls", "per packet written"], "rows": calls},
    ])


def profile_resets(bench, privlink, seconds):
    """Where the time goes while privlink ends sessions for so many seconds, or None where perf cannot say."""
    try:
        found = sampled(bench, privlink, lambda: time.sleep(seconds), lambda privlink: privlink.resets())
        if not found[3]:
            raise Failed("all sessions had ended before it began")
        return written("Sessions of a revoked endpoint reset, nothing beside them", "wrote {:,} resets", found, [])
    except (Failed, OSError, subprocess.TimeoutExpired, ValueError, KeyError, ZeroDivisionError) as failure:
        print(f"  no profile of resets: {failure}", flush=True)
        return None


def written(title, did, found, more):
    shares, functions, ours, count, seconds = found
    each = ours / count * 1e9
    order = [name for name, _ in STAGES] + [OWN, OTHER]
    rows = [[name, f"{shares[name]:.1%}", f"{shares[name] * each:,.0f}"] for name in sorted(order, key=shares.get, reverse=True) if shares[name] >= 0.001]
    return {
        "title": title,
        "about": (
            f"privlink's threads used {ours:.2f} s of CPU in {seconds:.1f} s and {did.format(count)}: {each:,.0f} ns of CPU each. "
            "Sampled with perf; a write carries the packet through the kernel to the next host, so that host's work shows here."
        ),
        "tables": [
            {"head": ["where", "share", "ns per packet"], "rows": rows},
            {"head": ["own functions", "share of all"], "rows": [[f"`{name}`", f"{share:.1%}"] for name, share in functions]},
            *more,
        ],
    }


def sampled(bench, privlink, work, counted):
    """Share of each stage, of the busiest own functions, CPU seconds, what was counted, seconds, of some work."""
    data, process = bench.work + "/perf.data", privlink.processes[0].pid
    sampler = subprocess.Popen(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_A_SECOND), "-g", "-p", str(process), "-o", data],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    time.sleep(0.5)
    before, cpu, began = counted(privlink), privlink.cpu(), time.monotonic()
    work()
    count, ours, seconds = counted(privlink) - before, privlink.cpu() - cpu, time.monotonic() - began
    sampler.terminate()
    sampler.wait(20)
    stages, functions, total = collections.Counter(), collections.Counter(), 0
    for chain in chains(lab.run("perf", "script", "-i", data, "-F", "ip,sym,dso", timeout=120)):
        total += 1
        stage = stage_of(chain)
        stages[stage] += 1
        if stage == OWN:
            functions[named(chain[0][0])] += 1
    if not total:
        raise Failed("perf took no samples")
    shares = {name: stages[name] / total for name in [*(name for name, _ in STAGES), OWN, OTHER]}
    return shares, [(name, samples / total) for name, samples in functions.most_common(8)], ours, count, seconds


def chains(text):
    """Call chains of `perf script`, innermost first: (symbol, object) each."""
    for block in text.split("\n\n"):
        frames = re.findall(r"^\s*[0-9a-f]+ (.+?) \((\S+)\)$", block, re.MULTILINE)
        if frames:
            yield [(symbol.split("+0x")[0], where) for symbol, where in frames]


def stage_of(chain):
    if not any(mark in chain[0][1] for mark in ("kernel", "vdso", "bpf_prog")):
        return OWN
    symbols = {symbol for symbol, _ in chain}
    return next((name for name, marks in STAGES if symbols.intersection(marks)), OTHER)


def named(symbol):
    """The end of a function's path, without what the compiler added."""
    path = re.sub(r"::h[0-9a-f]{16}$|@GLIBC.*$", "", symbol)
    return path if len(path) <= 70 else "…" + path[-69:]


def forwarded(privlink):
    """Packets written so far."""
    text = privlink.ask("status", "-o", "json")
    found = re.search(r'"forwarded":\s*(\d+)', text)
    if not found:
        raise Failed("status says nothing of forwarded packets")
    return int(found.group(1))


def traced(bench, privlink, load):
    """The four most frequent system calls while the load runs, and the packets written meanwhile."""
    log = bench.work + "/strace.txt"
    tracer = subprocess.Popen(["strace", "-c", "-f", "-q", "-o", log, "-p", str(privlink.processes[0].pid)], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    before = forwarded(privlink)
    try:
        bench.traffic(privlink.to(), privlink.listen(), *load.arguments, seconds=1)
        packets = forwarded(privlink) - before
    finally:
        tracer.terminate()
        tracer.wait(20)
    calls = []
    with open(log, encoding="ascii", errors="replace") as lines:
        for line in lines:
            fields = line.split()
            if len(fields) >= 5 and fields[0].replace(".", "").isdigit() and fields[-1] != "total":
                calls.append((fields[-1], int(fields[3]), packets))
    return sorted(calls, key=lambda call: -call[1])[:4]
