"""Runs every case against the daemon of a lab of its own; one line per case that fails, and the sum.

usage: run.py PRIVLINK [NAME...]
"""

import importlib
import pathlib
import sys
import time
import traceback

import kit
import lab as laboratory

MODULES = ("policy", "translation", "tcp", "errors", "fragments", "families")


def main(binary, wanted):
    for name in MODULES:
        if (pathlib.Path(__file__).parent / "cases" / f"{name}.py").exists():
            importlib.import_module(f"cases.{name}")
    lab = laboratory.Lab(binary)
    passed, failed, began = 0, [], time.monotonic()
    for requirements, function, _ in kit.CASES:
        name = function.__name__
        if wanted and not any(part in name or part in requirements for part in wanted):
            continue
        lab.client.drain()
        lab.server.drain()
        try:
            function(lab)
            passed += 1
        except kit.Wrong as wrong:
            failed.append(name)
            print(f"  FAILED {'/'.join(requirements)} {name}: {wrong}", flush=True)
        except Exception:  # a case that stumbles has failed
            failed.append(name)
            print(f"  FAILED {'/'.join(requirements)} {name}: {traceback.format_exc(limit=-3)}", flush=True)
    if lab.daemon.poll() is not None:
        failed.append("the daemon ended")
        print(open(f"{laboratory.RUN}/log").read())
    lab.end()
    covered = {requirement for requirements, _, _ in kit.CASES for requirement in requirements}
    print(f"{len(covered)} requirements, {time.monotonic() - began:.0f} s: {' '.join(sorted(covered))}")
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {len(failed)} failed; 0 ignored")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
