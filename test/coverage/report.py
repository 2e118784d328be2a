#!/usr/bin/python3
"""
What measure.sh has counted, as a table: report.py build/coverage/all.json. With a second argument, the list of what no test
takes and why, it is also a check: status 1 if too few branches are taken, or a line is not that the list does not have.

A row of the list's tables is: file, function, a quotation of the source in backquotes, reason. It stands for the untaken
lines and branches of that function that the quotation is found in, and for the untaken lines behind an untaken branch that
it is found in, or behind the first line of a function that is never called. Line numbers would rot.
"""

import json
import re
import sys

LEAST_BRANCHES = 95.0


class File:
    def __init__(self, data):
        self.name = data["file"]
        with open(self.name, encoding="utf-8") as source:
            self.text = [""] + source.read().split("\n")
        self.lines = [line for line in data["lines"] if not line.get("gcovr/noncode")]
        self.functions = sorted((f["lineno"], f["name"]) for f in data["functions"])

    def function_at(self, number):
        return next((name for first, name in reversed(self.functions) if first <= number), "")

    def figures(self):
        """Branches, those taken, lines, those taken."""
        counts = [branch["count"] for line in self.lines for branch in line["branches"]]
        return len(counts), sum(c > 0 for c in counts), len(self.lines), sum(line["count"] > 0 for line in self.lines)

    def untaken(self):
        """For each line that is not taken, or of whose branches one is not: number, whether that is the line, its text, and
        the text of what would lead there: the branch before, or the first line of a function that is never called."""
        entry = ""
        for line in self.lines:
            number = line["line_number"]
            text = self.text[number].strip()
            whole = line["count"] <= 0
            if not whole:
                entry = ""
            if whole or any(branch["count"] <= 0 for branch in line["branches"]):
                entry = entry if whole and entry else text
                yield number, whole, text, entry


def read_list(path):
    """Rows of file, function, quotation."""
    with open(path, encoding="utf-8") as source:
        rows = re.findall(r"^\| (src/\S+) \| (\w+) \| `(.*?)` \| \S.* \|$", source.read(), re.M)
    return [(file, function, quotation.replace("\\|", "|")) for file, function, quotation in rows]


def rate(taken, of):
    return 100.0 if of == 0 else 100.0 * taken / of


def print_table(files):
    total = [0, 0, 0, 0]
    print(f"{'':32}{'branches':>19}{'lines':>22}")
    for file in files + [None]:
        figures = total if file is None else file.figures()
        if file is not None:
            total = [a + b for a, b in zip(total, figures)]
        branches, branches_taken, lines, lines_taken = figures
        print(
            f"{'all' if file is None else file.name:32}"
            f"{branches_taken:6} of {branches:4}  {rate(branches_taken, branches):5.1f} %"
            f"{lines_taken:6} of {lines:4}  {rate(lines_taken, lines):5.1f} %"
        )
    return rate(total[1], total[0])


def compare(files, listed):
    """How many untaken lines the list does not have; they, and branches, are printed. So are entries that are out of date."""
    missing = 0
    used = set()
    for file in files:
        for number, whole, text, entry in file.untaken():
            function = file.function_at(number)
            here = {e for e in listed if e[:2] == (file.name, function) and (e[2] in text or e[2] in entry)}
            used |= here
            if not here:
                missing += whole
                print(f"{file.name}:{number}: {function}: {'no test takes' if whole else 'a branch of'}: {text}")
    source = {file.name: "\n".join(file.text) for file in files}
    for row in listed:
        if row[2] not in source.get(row[0], ""):
            missing += 1
            print(f"listed, but not in the source: {' '.join(row)}")
        elif row not in used:
            print(f"listed, but taken: {' '.join(row)}")
    return missing


def main():
    with open(sys.argv[1], encoding="utf-8") as source:
        files = [File(data) for data in json.load(source)["files"]]
    branches = print_table(files)
    if len(sys.argv) < 3:
        return 0
    print()
    missing = compare(files, read_list(sys.argv[2]))
    if branches < LEAST_BRANCHES:
        print(f"Less than {LEAST_BRANCHES} % of the branches are taken.")
    if missing > 0:
        print(f"{missing} of these belong into a test, or with a reason into {sys.argv[2]}.")
    return 1 if branches < LEAST_BRANCHES or missing > 0 else 0


sys.exit(main())
