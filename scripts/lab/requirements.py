"""Prints which test shows which requirement of tests/requirements.csv, as a table, and fails where none does.

A test names its requirements: a case of tests/wire in its decorator, a test in Rust in the comment or name before it.
"""

import csv
import pathlib
import re
import sys

# No test can show the absence of something that was never written.
BY_ABSENCE = {"T-8"}
NAMED = re.compile(r"\b(?:[PTMFCIGX]-\d+|46-1)\b")


def tests():
    """(requirement, test) pairs."""
    for path in sorted(pathlib.Path("tests/wire/cases").glob("*.py")):
        for decorator, name in re.findall(r'@(?:case|each_pair)\(([^)]*)\)\ndef (\w+)', path.read_text()):
            for requirement in NAMED.findall(decorator):
                yield requirement, f"wire {path.stem}::{name}"
    for path in sorted([*pathlib.Path("src").rglob("*.rs"), *pathlib.Path("tests").rglob("*.rs")]):
        text = path.read_text()
        if "#[test]" not in text and "proptest!" not in text:
            continue
        for comment, name, body in re.findall(r"((?:[ \t]*///[^\n]*\n)*)[ \t]*#\[test\]\n[ \t]*fn (\w+)((?:.*\n){0,40}?\s*\}\n)", text):
            for requirement in NAMED.findall(comment + body):
                yield requirement, f"{path.with_suffix('')}::{name}"


def main():
    shown = {}
    for requirement, test in tests():
        if test not in shown.setdefault(requirement, []):
            shown[requirement].append(test)
    missing = 0
    print("| requirement | what | source | shown by |\n|---|---|---|---|")
    with open("tests/requirements.csv", newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            found = shown.pop(row["id"], [])
            state = ", ".join(found) or ("absence" if row["id"] in BY_ABSENCE else "NOTHING")
            missing += state == "NOTHING"
            print(f"| {row['id']} | {row['requirement']} | {row['source']} | {state} |")
    for unknown in sorted(shown):
        print(f"{unknown} is no requirement: {', '.join(shown[unknown])}", file=sys.stderr)
    return 1 if missing or shown else 0


if __name__ == "__main__":
    sys.exit(main())
