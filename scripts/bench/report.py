"""Turns what scripts/bench.sh measured into report.json, report.md and plots.

usage: report.py FOLDER CRITERION_FOLDER

FOLDER holds runs.json. Figures are medians with their range. A ratio is the
median of the ratios within each round: rounds differ more than the contenders of one round do.
"""

import json
import pathlib
import statistics
import sys
import time

import plot
from goals import goals

# Which contender of ours a peer is compared with, where it is not `privlink` itself.
AGAINST = {"tayga": "privlink-six"}
OURS = ("privlink", "privlink-plain", "privlink-six")


class Runs:
    """Figures of the runs, by phase and contender, one per round."""

    def __init__(self, report):
        self.report = report
        self.loads = {load["key"]: load for load in report["loads"]}
        self.labels = {x["key"]: x["label"] for x in report["contenders"]}
        self.rows = report["runs"]

    def of(self, phase, contender):
        return [row for row in self.rows if row["phase"] == phase and row["contender"] == contender]

    def values(self, phase, contender, figure):
        return {row["round"]: row[figure] for row in self.of(phase, contender) if figure in row}

    def ratio(self, phase, ours, peer, figure):
        """Ours ÷ the peer's, round by round; None where no round has both."""
        one, other = self.values(phase, ours, figure), self.values(phase, peer, figure)
        pairs = [one[turn] / other[turn] for turn in one if other.get(turn)]
        return spread(pairs) if pairs else None

    def errors(self, phase, contender):
        return [row["error"] for row in self.of(phase, contender) if "error" in row]


def spread(values):
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def figure(value, scale=1.0, digits=2):
    if value is None:
        return "–"
    return f"{value['median'] * scale:.{digits}f} ({value['min'] * scale:.{digits}f}–{value['max'] * scale:.{digits}f})"


def tabulate(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


# --- the parts of the report ----------------------------------------------------------------------------


def compare(runs):
    """One entry per load: every contender's figures, and ours against each."""
    for load in runs.report["loads"]:
        entries = []
        for contender in runs.report["contenders"]:
            key, values = contender["key"], runs.values(load["key"], contender["key"], load["figure"])
            entry = {"contender": key, "errors": runs.errors(load["key"], key)}
            if values:
                entry["value"] = spread(values.values())
                ours = AGAINST.get(key, "privlink")
                if key not in ("privlink", "privlink-six"):
                    entry["ratio"] = runs.ratio(load["key"], ours, key, load["figure"])
                for extra in ("p99_us", "p999_us", "lost", "reordered", "sent", "received", "failed"):
                    more = runs.values(load["key"], key, extra)
                    if more:
                        entry[extra] = spread(more.values())
                entry["cpu"] = processor(runs.of(load["key"], key))
            entries.append(entry)
        yield {"load": load["key"], "title": load["title"], "unit": load["unit"], "scale": load["scale"], "lower_is_better": load["lower_is_better"], "entries": entries}


def processor(rows):
    """CPU seconds per gigabyte (or per million packets): of the whole machine, and of the contender's processes."""
    found = {}
    for name in ("busy", "own", "softirq"):
        per = [row["cpu"][name] / (row["total_bytes"] / 1e9) for row in rows if row.get("total_bytes") and "cpu" in row]
        if per:
            found[f"{name}_per_gigabyte"] = spread(per)
    return found


def load_table(runs, entry):
    load = runs.loads[entry["load"]]
    latency, datagrams, bulk = load["figure"] == "p50_us", load["figure"] == "packets_per_second", load["figure"] == "bits_per_second"
    digits = 1 if latency or datagrams else 2
    head = ["", load["unit"], "privlink ÷ this"]
    head += ["p99 µs", "p99.9 µs"] if latency else ["lost", "reordered"] if datagrams else ["CPU s per GB: machine", "its processes"] if bulk else ["failed"]
    rows = []
    for one in entry["entries"]:
        label = f"**{runs.labels[one['contender']]}**" if one["contender"] == "privlink" else runs.labels[one["contender"]]
        if "value" not in one:
            why = one["errors"][0] if one["errors"] else "cannot do this"
            rows.append([label, why, *[""] * (len(head) - 2)])
            continue
        median = lambda name: one[name]["median"] if name in one else 0
        if latency:
            more = [f"{median('p99_us'):.0f}", f"{median('p999_us'):.0f}"]
        elif datagrams:
            more = [f"{median('lost') / max(median('sent'), 1):.1%}", f"{median('reordered'):.0f}"]
        elif bulk:
            more = [figure(one["cpu"].get(f"{name}_per_gigabyte")) for name in ("busy", "own")]
        else:
            more = [f"{median('failed'):.0f}"]
        failed = f", {len(one['errors'])} of its runs failed" if one["errors"] else ""
        rows.append([label, figure(one["value"], load["scale"], digits) + failed, figure(one.get("ratio")) if one.get("ratio") else "", *more])
    yield f"### {load['title']}\n"
    yield from tabulate(head, rows)


def idle(runs):
    """What idle sessions cost a running stream."""
    for phase in dict.fromkeys(row["phase"] for row in runs.rows if row["phase"].startswith("fill ")):
        size = phase.removeprefix("fill ")
        for row in (row for row in runs.rows if row["phase"] == phase):
            key = row["contender"]
            entry = {"sessions": size, "wanted": row["wanted"], "contender": key, "held": row.get("held"), "error": row.get("error"), "fill_seconds": row["seconds"]}
            for name, who in (("empty", key), ("full", f"{key}+idle")):
                values = runs.values(f"idle {size}", who, "bits_per_second")
                entry[name] = spread(values.values()) if values else None
            entry["ratio"] = runs.ratio(f"idle {size}", f"{key}+idle", key, "bits_per_second")
            yield entry


def idle_text(runs, entries):
    yield "## One TCP stream beside idle sessions\n"
    yield "UDP sessions that were opened with one packet each; the same contender empty and full, in turns.\n"
    rows = []
    for one in entries:
        held = one["held"] if one["held"] is not None else one["error"]
        if one["held"] is not None and one["held"] < one["wanted"]:
            held = f"holds {held} at most here"
        rows.append([runs.labels[one["contender"]], one["sessions"], held, figure(one["empty"], 1e-9), figure(one["full"], 1e-9), figure(one["ratio"])])
    rows.append(["haproxy, socat, tayga, bare", "", "keep no UDP sessions, or one process each: not tried", "", "", ""])
    yield from tabulate(["", "idle sessions", "held", "empty, Gbit/s", "full, Gbit/s", "full ÷ empty"], rows)


def revocation(runs):
    def timed(phase):
        rows = [row for row in runs.of(phase, "privlink") if "call_ms" in row]
        figures = {name: spread(row[name] for row in rows) for name in ("call_ms", "last_after_begin_ms", "last_after_return_ms")} if rows else {}
        return {"runs": len(rows), **figures}

    full = {kind: row for kind in ("udp", "tcp") for row in runs.of(f"revoke full {kind}", "privlink")}
    among = {kind: found for kind in ("udp", "tcp") if (found := timed(f"revoke among {kind}"))["runs"]}
    phases = ["revoke", *(f"revoke {way} {kind}" for way in ("among", "full") for kind in ("udp", "tcp"))]
    errors = [error for phase in phases for error in runs.errors(phase, "privlink")]
    return {**timed("revoke"), "among": among, "full": full, "errors": errors}


def revocation_text(found):
    yield "## Taking a right away under load\n"
    if not found["runs"]:
        yield f"Not measured: {'; '.join(found['errors']) or 'privlink did not take part'}.\n"
        return
    yield (
        f"`privlink connection reject` while a TCP stream and 20,000 datagrams a second pass ({found['runs']} runs, ms): the command takes "
        f"{figure(found['call_ms'], 1, 1)} as a process of its own; the last datagram arrives {figure(found['last_after_begin_ms'], 1, 1)} after it "
        f"began, {figure(found['last_after_return_ms'], 1, 1)} after it returned (negative: before).\n"
    )
    for kind, one in found["among"].items():
        yield (
            f"The same where a million live {kind.upper()} sessions are that endpoint's own ({one['runs']} runs, ms): the command takes "
            f"{figure(one['call_ms'], 1, 1)}, the last datagram arrives {figure(one['last_after_begin_ms'], 1, 1)} after it began, "
            f"{figure(one['last_after_return_ms'], 1, 1)} after it returned.\n"
        )
    for kind, full in found["full"].items():
        if "ended_after_seconds" in full:
            yield (
                f"With {full['sessions']:,} live {kind.upper()} sessions behind another endpoint of the same daemon, taken away at once: all ended after "
                f"{full['ended_after_seconds']:.1f} s ({full['left']} left, {full['resets']:,} resets sent); a running stream kept "
                f"{full['during'] / full['before']:.0%} of its rate ({full['before'] / 1e9:.1f} → {full['during'] / 1e9:.1f} Gbit/s).\n"
            )
        if "floor" in full:
            yield (
                f"Beside a loop that does nothing but write {full['floor_rate']:,.0f} such resets a second (benches/tools/tun_writes.rs) it keeps "
                f"{full['floor'] / full['before']:.0%}: the floor of whoever sends them.\n"
            )
    if found["errors"]:
        yield f"Failed: {'; '.join(found['errors'])}.\n"


def criterion(folder):
    found = []
    for estimates in sorted(folder.glob("**/new/estimates.json")):
        about = json.loads((estimates.parent / "benchmark.json").read_text())
        elements = (about.get("throughput") or {}).get("Elements") or 1
        values = json.loads(estimates.read_text())
        found.append({"name": about["full_id"], "nanoseconds": values["median"]["point_estimate"] / elements})
    return found


def memory(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return {who: int(size) for who, size in (line.split("\t") for line in lines)}


def profile_text(profile):
    for part in profile:
        yield f"### {part['title']}\n"
        yield part["about"] + "\n"
        for table in part["tables"]:
            yield from tabulate(table["head"], table["rows"])


def text(runs, report):
    about, machine = runs.report, runs.report["machine"]
    when = time.strftime("%Y-%m-%d", time.gmtime(about["began"]))
    yield "# Bench report\n"
    yield (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {when}, commit {machine['commit']}. {about['rounds']} rounds of "
        f"{about['seconds']:g} s per load and contender, in turns; median (min–max); ratios pair by pair within a round. "
        f"{about['nat_addresses']} NAT addresses. Nothing is pinned: clients, servers and forwarders share the cores. Every byte of TCP and every datagram is compared with what was sent. "
        f"Command: `scripts/bench.sh{' --quick' if about['quick'] else ''}`.\n"
    )
    yield "## Contenders\n"
    rows = [[x["label"], x["settings"], x["note"]] for x in about["contenders"]]
    rows += [[x["label"], "**absent**", x["why"]] for x in about["absent"].values()]
    yield from tabulate(["", "as", ""], rows)
    yield "## What it should reach\n"
    yield from tabulate(["", "goal", "measured", ""], [[g["kind"], g["goal"], g["measured"], g["holds"]] for g in report["goals"]])
    yield "## Loads\n"
    for entry in report["loads"]:
        yield from load_table(runs, entry)
    yield from idle_text(runs, report["idle"])
    yield from revocation_text(report["revocation"])
    if report["profile"]:
        yield "## Where a packet's time goes\n"
        yield from profile_text(report["profile"])
    if report["criterion"]:
        yield "## In memory\n"
        if report["bytes_per_session"]:
            yield "Bytes per session among a million: " + ", ".join(f"{who} {size}" for who, size in report["bytes_per_session"].items()) + ". Ours holds the sessions, the others both keys alone.\n"
        yield from tabulate(["bench", "median, per element"], [[f"`{one['name']}`", f"{one['nanoseconds']:,.1f} ns"] for one in report["criterion"]])


def plots(runs, report):
    groups = {"tcp": "TCP, every byte compared", "udp": "UDP, packets that arrived", "latency": "Latency of one request", "connections": "New TCP connections"}
    for name, title in groups.items():
        panels = []
        for entry in report["loads"]:
            if not entry["load"].startswith(name):
                continue
            rows = []
            for one in entry["entries"]:
                if "value" not in one:
                    continue
                key, scaled = one["contender"], {k: one["value"][k] * entry["scale"] for k in ("median", "min", "max")}
                colour = plot.OURS if key in OURS else plot.FLOOR if key == "bare" else plot.OTHERS
                rows.append((runs.labels[key], colour, scaled["median"], scaled["min"], scaled["max"]))
            if rows:
                panels.append((entry["title"], entry["unit"], rows))
        if panels:
            yield f"{name}.svg", plot.bars(title, panels)


def main(folder, criterion_folder):
    folder = pathlib.Path(folder)
    runs = Runs(json.loads((folder / "runs.json").read_text()))
    report = {
        **{key: runs.report[key] for key in ("machine", "began", "took_seconds", "rounds", "seconds", "quick", "nat_addresses", "contenders", "absent")},
        "loads": list(compare(runs)), "idle": list(idle(runs)), "revocation": revocation(runs),
        "profile": runs.report["profile"], "criterion": criterion(pathlib.Path(criterion_folder)),
        "bytes_per_session": memory(pathlib.Path(criterion_folder) / "memory.tsv"),
    }
    report["goals"] = goals(runs, report)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text("\n".join(text(runs, report)) + "\n")
    written = ["report.json", "report.md"]
    for name, drawn in plots(runs, report):
        (folder / name).write_text(drawn)
        written.append(name)
    print("\n".join(f"{goal['holds']:<8} {goal['goal']}: {goal['measured']}" for goal in report["goals"]))
    print(f"\nwritten below {folder}: {', '.join(written)}; the comparison took {report['took_seconds'] / 60:.1f} minutes")


main(*sys.argv[1:3])
