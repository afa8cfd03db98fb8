"""Prints which test shows which requirement of tests/requirements.csv, and where the tests of the behaviours of
tests/behaviours.csv are. Fails where a requirement is shown by no test, or a behaviour names one that is not there.

A test names its requirements: a case of tests/wire in its decorator, a test in Rust in the comment or name before it.
"""

import csv
import pathlib
import re
import sys

# No test can show the absence of something that was never written.
BY_ABSENCE = {"T-8"}
NAMED = re.compile(r"\b(?:[PTMFCIGX]-\d+|46-1)\b")
TEST = re.compile(r"#\[(?:tokio::)?test\b.*\]\n(?:[ \t]*#\[.*\]\n)*[ \t]*(?:async )?fn (\w+)")


def sources():
    """Path and text of each file with tests in Rust."""
    for path in sorted([*pathlib.Path("src").rglob("*.rs"), *pathlib.Path("tests").rglob("*.rs")]):
        text = path.read_text()
        if "test]" in text or "tokio::test(" in text:
            yield path, text


def tests():
    """(requirement, test) pairs."""
    for path in sorted(pathlib.Path("tests/wire/cases").glob("*.py")):
        for decorator, name in re.findall(r'@(?:case|each_pair)\(([^)]*)\)\ndef (\w+)', path.read_text()):
            for requirement in NAMED.findall(decorator):
                yield requirement, f"wire {path.stem}::{name}"
    for path, text in sources():
        for comment, name, body in re.findall(r"((?:[ \t]*///[^\n]*\n)*)[ \t]*#\[test\]\n[ \t]*fn (\w+)((?:.*\n){0,40}?\s*\}\n)", text):
            for requirement in NAMED.findall(comment + body):
                yield requirement, f"{path.with_suffix('')}::{name}"


def requirements():
    """Prints the table; how many lines of it are wrong."""
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
    return missing + len(shown)


def behaviours():
    """Prints the table; how many tests of it are not there."""
    places = {name: path for path, text in sources() for name in TEST.findall(text)}
    missing = 0
    print("\n| behaviour | tests |\n|---|---|")
    with open("tests/behaviours.csv", newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            names = row["tests"].split(", ")
            print(f"| {row['behaviour']} | {', '.join(f'{places.get(name)}::{name}' for name in names)} |")
            for name in set(names) - set(places):
                print(f"tests/behaviours.csv: there is no test {name} ({row['behaviour']})", file=sys.stderr)
                missing += 1
    return missing


if __name__ == "__main__":
    sys.exit(1 if requirements() + behaviours() else 0)
