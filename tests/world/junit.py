# SPDX-License-Identifier: MIT
"""junit.py -- results of CPython's regrtest as lines `GROUP:TEST<tab>STATUS<tab>`.

usage: junit.py GROUP FILE

A test may run more than once in a file (doctests, tests of several classes of one name): its
occurrences are numbered. What the tests print is not compared, only how each ended.
"""
import sys
import xml.etree.ElementTree as ElementTree


def status(case):
    """How a test ended, in one word."""
    for word in ("error", "failure", "skipped"):
        if case.find(word) is not None:
            return "skipped" if word == "skipped" else "failed"
    if case.get("status") == "notrun" or case.get("result") in ("skipped", "suppressed"):
        return "skipped"
    return "passed"


def main():
    group, path = sys.argv[1:]
    seen = {}
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as err:
        print(f"no results: {err}", file=sys.stderr)
        return
    for case in root.iter("testcase"):
        name = case.get("name", "?").replace("\t", " ").replace("\n", " ")
        seen[name] = seen.get(name, 0) + 1
        suffix = f"#{seen[name]}" if seen[name] > 1 else ""
        print(f"{group}:{name}{suffix}\t{status(case)}\t")


main()
