"""What privlink should reach, and whether these runs show it."""

SPEED = ("bits_per_second", "packets_per_second", "connections_per_second")


def in_ms(nanoseconds):
    return nanoseconds and nanoseconds / 1e6


def goals(runs, report):
    found = []

    def judge(kind, goal, value, least=None, most=None, form="{:.2f}"):
        if value is None:
            found.append({"kind": kind, "goal": goal, "measured": "not measured", "holds": "–"})
            return
        holds = (least is None or value >= least) and (most is None or value <= most)
        found.append({"kind": kind, "goal": goal, "measured": form.format(value), "holds": "yes" if holds else "**no**"})

    def ratio(load, peer, ours="privlink"):
        if load not in runs.loads:
            return None
        value = runs.ratio(load, ours, peer, runs.loads[load]["figure"])
        return value["median"] if value else None

    # --- side by side ---------------------------------------------------------------------------------
    for load in runs.report["loads"]:
        value = ratio(load["key"], "bare")
        if load["lower_is_better"]:
            judge("must", f"{load['title']}: at most 1 ÷ 0.85 of the bare TUN loop's", value, most=1 / 0.85)
        elif load["key"] != "udp-steady":
            judge("must", f"{load['title']}: at least 0.85 × the bare TUN loop", value, least=0.85)
    for load in ("tcp1-up", "tcp1-down"):
        judge("must", f"{load}: at least 1.3 × haproxy", ratio(load, "haproxy"), least=1.3)
    judge("must", "udp64: at least 1.3 × nginx", ratio("udp64", "nginx"), least=1.3)
    for load in ("connections", "connections-reuse"):
        judge("must", f"{load}: at least haproxy's", ratio(load, "haproxy"), least=1.0)
    for peer, ours in (("tayga", "privlink-six"), ("socat", "privlink")):
        ratios = {load["key"]: ratio(load["key"], peer, ours) for load in runs.report["loads"] if load["figure"] in SPEED and load["key"] != "udp-steady"}
        ratios = {load: value for load, value in ratios.items() if value is not None}
        worst = min(ratios, key=ratios.get, default=None)
        judge("must", f"at least 5 × {peer} on every load it can do (least here: {worst})", ratios.get(worst), least=5.0)
    judge("aim", "tcp1-up: at least 0.7 × kernel nftables NAT", ratio("tcp1-up", "nftables"), least=0.7)
    judge("aim", "tcp1-down: at least 0.7 × kernel nftables NAT", ratio("tcp1-down", "nftables"), least=0.7)
    judge("aim", "tcp8-up: at least 0.6 × kernel nftables NAT", ratio("tcp8-up", "nftables"), least=0.6)
    judge("aim", "udp64: at least 0.9 × kernel nftables NAT", ratio("udp64", "nftables"), least=0.9)
    judge("aim", "latency, p50: at most 1.5 × kernel nftables NAT", ratio("latency", "nftables"), most=1.5)

    # --- many sessions, revocation --------------------------------------------------------------------
    full = next((one for one in report["idle"] if one["contender"] == "privlink" and one["sessions"] == "1 M"), None)
    judge("reach", "1 M idle sessions cost a running TCP stream at most 5 %: full ÷ empty", full and full["ratio"] and full["ratio"]["median"], least=0.95)
    away = report["revocation"]
    judge("reach", "last packet before the revoking call returns, ms after its return", away["runs"] and away["last_after_return_ms"]["max"] or None, most=0.0, form="{:.1f}")
    for kind, one in away["among"].items():
        judge("reach", f"1 M live {kind.upper()} sessions: last packet, ms after the revoking command began", one["last_after_begin_ms"]["median"], most=5.0, form="{:.1f}")
    for kind in ("udp", "tcp"):
        many = away["full"].get(kind, {})
        judge("reach", f"1 M {kind.upper()} sessions revoked at once are all ended{' and reset' if kind == 'tcp' else ''} within 10 s", many.get("ended_after_seconds") if not many.get("left") else None, most=10.0, form="{:.1f} s")
        judge("reach", "meanwhile another stream keeps 80 % of its rate", many.get("during") and many["during"] / many["before"], least=0.8)

    # --- in memory ------------------------------------------------------------------------------------
    times = {one["name"]: one["nanoseconds"] for one in report["criterion"]}
    if times:
        for name, sessions, most in (("64k", "64 K", 45), ("1m", "1 M", 90)):
            hits = [times.get(f"time/forward/udp4_hit_{way}_{name}") for way in ("to_service", "to_consumer")]
            judge("reach", f"a hit among {sessions} sessions, batches of 32: at most {most} ns", max(hits) if all(hits) else None, most=most, form="{:.1f} ns")
        ours = [times.get(f"time/lookup_hit/tcp4_{who}_1m") for who in ("ours", "ours-batched")]
        ours = min((value for value in ours if value), default=None)
        theirs = times.get("time/lookup_hit/tcp4_dashmap_1m")
        judge("reach", "lookup among 1 M sessions: at least twice as fast as dashmap", ours and theirs and theirs / ours, least=2.0, form="{:.2f} ×")
        chosen = {name.rsplit("/", 1)[1]: value for name, value in times.items() if name.startswith("time/lookup_chosen/")}
        worst = max(chosen.values(), default=None)
        judge("reach", "lookup of keys that an attacker chose, against random ones", worst and worst / chosen["random"], most=1.3, form="{:.2f} ×")
        judge("reach", "at most 200 bytes per IPv4 session", report["bytes_per_session"].get("ours"), most=200, form="{} bytes")
        admitted = times.get("time/admit/udp4")
        judge("reach", "one change among 100 K endpoints reaches all workers within 20 ms", in_ms(times.get("time/snapshot/change_one_and_publish_100k_endpoints")), most=20, form="{:.2f} ms")
        judge("reach", "100 K endpoints built anew within 250 ms", in_ms(times.get("time/snapshot/build_100k_endpoints")), most=250, form="{:.0f} ms")
        judge("reach", "at least 1 M sessions admitted a second", admitted and 1e9 / admitted / 1e6, least=1.0, form="{:.2f} M/s")
    return found
