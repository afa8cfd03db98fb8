"""Turns the runs of scripts/bench.sh into report.json and report.md.

usage: report.py FOLDER CRITERION_FOLDER

FOLDER holds runs.tsv. Figures are medians with their range; a ratio is the median of the ratios within
each round, since the rounds differ more than the contenders of one round do.
"""

import csv
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys


def machine():
    cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False).stdout.strip()
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def bulk(path):
    runs = {}
    with open(path, encoding="ascii") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            per_round = runs.setdefault((int(row["streams"]), row["contender"]), {})
            per_round[int(row["round"])] = float(row["bits_per_second"])
    report = []
    for (streams, contender), rounds in sorted(runs.items()):
        entry = {"streams": streams, "contender": contender, "bits_per_second": spread(list(rounds.values())), "ratio": {}}
        for peer in ("plain", "bare"):
            other = runs.get((streams, peer), {})
            pairs = [rounds[n] / other[n] for n in rounds if n in other]
            if peer != contender and pairs:
                entry["ratio"][peer] = spread(pairs)
        report.append(entry)
    return report


def criterion(folder):
    found = []
    for estimates in sorted(folder.glob("**/new/estimates.json")):
        benchmark = json.loads((estimates.parent / "benchmark.json").read_text())
        values = json.loads(estimates.read_text())
        found.append({"name": benchmark["full_id"], "nanoseconds": values["median"]["point_estimate"]})
    return found


def text(report):
    about = report["machine"]
    yield f"# Bench report\n\n{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, commit {about['commit']}.\n"
    yield "## Bulk TCP through two TUN devices\n"
    yield "Gbit/s received, median (min–max) of interleaved rounds; ratios pair by pair within a round.\n"
    yield "| streams | forwarder | Gbit/s | × plain | × bare |\n|---|---|---|---|---|"
    for entry in report["bulk"]:
        rate = entry["bits_per_second"]
        cells = [f"{rate['median'] / 1e9:.2f} ({rate['min'] / 1e9:.2f}–{rate['max'] / 1e9:.2f})"]
        for peer in ("plain", "bare"):
            ratio = entry["ratio"].get(peer)
            cells.append(f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})" if ratio else "")
        yield f"| {entry['streams']} | {entry['contender']} | {' | '.join(cells)} |"
    if report["criterion"]:
        yield "\n## In memory\n\n| bench | median |\n|---|---|"
        for entry in report["criterion"]:
            yield f"| {entry['name']} | {entry['nanoseconds']:,.1f} ns |"


def main(folder, criterion_folder):
    folder = pathlib.Path(folder)
    report = {"machine": machine(), "bulk": bulk(folder / "runs.tsv"), "criterion": criterion(pathlib.Path(criterion_folder))}
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / "report.md").write_text("\n".join(text(report)) + "\n")
    print((folder / "report.md").read_text(), end="")
    print(f"\nwritten: {folder}/report.json, {folder}/report.md")


main(*sys.argv[1:3])
