"""Runs every case against the daemon of a lab of its own; one line per case that fails, and the sum.

usage: run.py PRIVLINK [--all | --sample] [NAME...]
"""

import importlib
import sys
import time
import traceback

import kit
import lab as laboratory

MODULES = ("policy", "translation", "tcp", "errors", "fragments", "paths", "path_mtu", "rates", "limits")


def trial(lab, cases, wanted):
    """Runs cases; how many passed, and the names of those that did not."""
    passed, failed = 0, []
    for requirements, function in cases:
        name = function.__name__
        if wanted and not any(part in name or part in requirements for part in wanted):
            continue
        lab.settle()
        lab.client.begin()
        lab.server.begin()
        try:
            function(lab)
            passed += 1
        except kit.Wrong as wrong:
            failed.append(name)
            print(f"test {name} ... FAILED ({'/'.join(requirements)}): {wrong}", flush=True)
        except Exception:  # a case that stumbles has failed
            failed.append(name)
            print(f"test {name} ... FAILED ({'/'.join(requirements)}): {traceback.format_exc(limit=-3)}", flush=True)
    if lab.daemon.poll() is not None:
        failed.append("the daemon ended")
        print(open(f"{laboratory.RUN}/log").read())
    return passed, failed


def main(binary, wanted):
    for name in MODULES:
        importlib.import_module(f"cases.{name}")
    began, passed, failed = time.monotonic(), 0, []
    labs = (({}, kit.CASES), ({"mtu": (1500, 1400)}, kit.NARROW), ({"extra": kit.SMALL, "fences": False}, kit.LIMITED))
    for settings, cases in labs:
        lab = laboratory.Lab(binary, **settings)
        good, bad = trial(lab, cases, wanted)
        lab.end()
        passed, failed = passed + good, failed + bad
    covered = sorted({requirement for _, cases in labs for requirements, _ in cases for requirement in requirements})
    print(f"{len(covered)} requirements in {time.monotonic() - began:.0f} s: {' '.join(covered)}")
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {len(failed)} failed; 0 ignored")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], [name for name in sys.argv[2:] if name not in ("--all", "--sample")]))
