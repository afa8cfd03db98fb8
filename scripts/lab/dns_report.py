"""Medians and ratios of scripts/bench-dns.sh, as JSON and as a table."""

import json
import statistics
import sys
from collections import defaultdict

out, names = sys.argv[1:]


def rows(file):
    with open(f"{out}/{file}") as lines:
        return [line.rstrip("\n").split("\t") for line in lines]


runs = [dict(zip(rows("dns.tsv")[0], row)) for row in rows("dns.tsv")[1:]]
per_core, rates = defaultdict(dict), defaultdict(list)
for run in runs:
    key = run["kind"], run["server"]
    per_core[key][run["round"]] = int(run["queries"]) / float(run["cpu_seconds"])
    rates[key].append(float(run["queries_per_second"]))


def spread(values):
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


kinds = list(dict.fromkeys(kind for kind, _ in per_core))
servers = list(dict.fromkeys(server for _, server in per_core))
report = {"names": int(names), "queries_per_cpu_second": {}, "queries_per_second": {}, "privlink_to": {}}
lines = ["| names | server | per second of its CPU | per second | privlink ÷ it |", "|---|---|---|---|---|"]
for kind in kinds:
    own = per_core[kind, "privlink"]
    for server in servers:
        theirs = per_core[kind, server]
        cores, rate = spread(theirs.values()), spread(rates[kind, server])
        ratio = spread(own[turn] / theirs[turn] for turn in own)
        for name, value in [("queries_per_cpu_second", cores), ("queries_per_second", rate), ("privlink_to", ratio)]:
            report[name].setdefault(kind, {})[server] = value
        said = "" if server == "privlink" else f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"
        core = f"{cores['median'] / 1000:.0f} K ({cores['min'] / 1000:.0f}–{cores['max'] / 1000:.0f})"
        lines.append(f"| {kind} | {server} | {core} | {rate['median'] / 1000:.0f} K | {said} |")
report["resident_megabytes"] = {server: int(kilobytes) / 1024 for server, kilobytes in rows("dns-memory.tsv")}
report["new_name_milliseconds"] = spread(float(row[1]) for row in rows("dns-new.tsv"))
memory = ", ".join(f"{server} {size:.0f} MB" for server, size in report["resident_megabytes"].items())
new = report["new_name_milliseconds"]
lines += ["", f"{names} private and {names} cached names. Resident: {memory}. A new endpoint's name is answered "
              f"{new['median']:.1f} ms ({new['min']:.1f}–{new['max']:.1f}) after the call has returned."]
with open(f"{out}/dns.json", "w") as file:
    json.dump(report, file, indent=1)
with open(f"{out}/dns.md", "w") as file:
    file.write("\n".join(lines) + "\n")
print("\n".join(lines))
