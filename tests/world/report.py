# SPDX-License-Identifier: MIT
"""report.py -- compares what tests/world/run left behind and writes the report.

usage: report.py WORLD EXPLAINED                  writes WORLD/report.md, prints a summary
       report.py --differing WORLD PROGRAM CONF   prints the steps that differ from the plain run

WORLD/PROGRAM/CONF/results holds `NAME<tab>STATUS<tab>DIGEST` lines; NAME is a step or STEP:TEST.
EXPLAINED holds `PROGRAM CONF TEST: why` lines, each of the three a shell pattern; the reason says
what shows that the difference is not the library's doing.
"""
import fnmatch
import functools
import json
import pathlib
import sys

CONFS = ["plain", "torture", "cold", "remap", "remap-cold", "none"]
PAGE = 4096


@functools.lru_cache(maxsize=None)
def read_results(folder):
    """The results of one run: name -> (status, digest)."""
    results = {}
    path = folder / "results"
    if path.exists():
        for line in path.read_text(errors="replace").splitlines():
            name, status, digest = (line.split("\t") + ["", ""])[:3]
            results[name] = (status, digest)
    return results


def show(result):
    """A result for a reader."""
    if result is None:
        return "not run"
    return f"{result[0]} {result[1]}".strip()


def step_of(name):
    """The step a result belongs to."""
    return name.split(":", 1)[0]


def steps_of(results):
    """The steps that were finished."""
    return {n for n in results if ":" not in n}


def cut_short(program, conf):
    """Whether a run was interrupted: some steps have no result, and it has no duration."""
    missing = steps_of(read_results(program / "plain")) - steps_of(read_results(program / conf))
    return bool(missing) and not (program / conf / "seconds").exists()


def diff(program, conf):
    """Names whose results differ; of a run that was cut short only the steps it finished.

    A step that hangs is one difference, not one for each of its tests.
    """
    plain, other = read_results(program / "plain"), read_results(program / conf)
    names = {n for n in plain.keys() | other.keys() if plain.get(n) != other.get(n)}
    if cut_short(program, conf):
        done = steps_of(other)
        names = {n for n in names if step_of(n) in done}
    hang = {n for n in steps_of(other) if other[n][0] == "hangs"}
    return sorted(n for n in names if ":" not in n or step_of(n) not in hang)


def again_folders(program, conf, which):
    """Later runs of the differing steps: plainly, or under the configuration."""
    return sorted(program.glob(f"again-{conf}/{which}-*"))


def outcomes(folders, name):
    """How a test ended in later runs."""
    return [show(read_results(f).get(name)) for f in folders]


def read_explained(path):
    """The list of known reasons: (program, conf, test, why)."""
    rules = []
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.strip() and not line.startswith("#"):
            head, why = line.split(": ", 1)
            rules.append(head.split(None, 2) + [why])
    return rules


def reason(rules, program, conf, name):
    """Why a test may differ, or None."""
    for a, b, c, why in rules:
        if all(map(fnmatch.fnmatchcase, (program, conf, name), (a, b, c))):
            return why
    return None


def summed(folder):
    """Sums of the statistics of all processes that ended by exit()."""
    sums = {"processes": 0}
    for path in sorted(folder.glob("**/stats/*.json")):
        try:
            stats = json.loads(path.read_text())["stats"]
        except (ValueError, KeyError, OSError):
            continue
        sums["processes"] += 1
        for key, value in stats.items():
            sums[key] = sums.get(key, 0) + value
    return sums


class Difference:
    """One test that ended otherwise than without the library."""

    def __init__(self, program, conf, name, rules):
        plain = read_results(program / "plain")
        other = read_results(program / conf)
        self.conf, self.program, self.name = conf, program.name, name
        self.plain = [show(plain.get(name))]
        self.other = [show(other.get(name))]
        self.plain += outcomes(again_folders(program, conf, "plain"), name)
        self.other += outcomes(again_folders(program, conf, conf), name)
        self.why = reason(rules, program.name, conf, name)

    def unsteady(self):
        """Comes out in more than one way without the library."""
        return len(set(self.plain)) > 1

    def passed_again(self):
        """Every later run agreed: differed once only."""
        return len(self.other) > 1 and set(self.other[1:]) == set(self.plain)

    def verdict(self):
        """What to make of it."""
        if self.unsteady():
            return "unsteady without the library too"
        if self.why:
            return f"explained: {self.why}"
        if self.passed_again():
            return f"DIFFERS once in {len(self.other)} runs"
        return "DIFFERS"

    def row(self):
        """A line of the report."""
        plain = ", ".join(self.plain)
        other = ", ".join(self.other)
        return (f"| {self.program} | {self.conf} | `{self.name}` | {plain} | {other} "
                f"| {self.verdict()} |")


def confs_run(program):
    """The configurations a program ran under, plain first."""
    return [c for c in CONFS if (program / c / "results").exists()]


def seconds(folder):
    """How long a run took."""
    path = folder / "seconds"
    return int(path.read_text()) if path.exists() else 0


def program_rows(program, differences):
    """The table's lines for one program."""
    plain_s = seconds(program / "plain")
    version = program / "plain" / "version"
    version = version.read_text().strip() if version.exists() else ""
    rows = []
    for conf in confs_run(program):
        folder = program / conf
        results = read_results(folder)
        count = {s: sum(r[0] == s for r in results.values()) for s in ("passed", "skipped")}
        bad = len(results) - count["passed"] - count["skipped"]
        sums = summed(folder)
        mine = [d for d in differences if d.program == program.name and d.conf == conf]
        differs = sum(d.verdict().startswith("DIFFERS") for d in mine)
        ratio = f"{seconds(folder) / plain_s:.2f}" if plain_s else ""
        restored = sums.get("pager.restored", 0)
        title = conf
        if cut_short(program, conf):
            title += f" (cut short after {len(steps_of(results))} steps)"
        rows.append(f"| {program.name} | {version} | {title} | {count['passed']} "
                    f"| {count['skipped']} | {bad} | {differs} | {len(mine) - differs} "
                    f"| {ratio} | {sums['processes']} | {sums.get('pager.probed', 0)} "
                    f"| {sums.get('pager.packed', 0)} | {sums.get('pager.faults', 0)} "
                    f"| {restored * PAGE / 2**20:.0f} |")
    return rows


HEAD = """# Real programs

Made by `make test-world` (`tests/world/run`). `plain` is the program without the library; every
other line is compared with it, test by test. *Differences* failed the run; *explained* ones are
unsteady without the library too, or have a reason in tests/world/explained. Pages probed, packed
and faults served are of the processes that ended by exit(), which alone write statistics; each
page restored was checked against its checksum before the program saw it.

| program | version | configuration | passed | skipped | failed | differences | explained \
| time / plain | processes | pages probed | pages packed | faults served | MiB verified |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def write_report(world, rules):
    """Writes report.md; returns the differences."""
    programs = [p for p in sorted(world.iterdir()) if (p / "plain" / "results").exists()]
    differences = []
    for program in programs:
        for conf in confs_run(program)[1:]:
            differences += [Difference(program, conf, n, rules) for n in diff(program, conf)]
    text = HEAD + "".join(r + "\n" for p in programs for r in program_rows(p, differences))
    for refused in sorted(world.glob("refused-*")):
        text += f"\n`{refused.name[8:]}` was not run: {refused.read_text().strip()}\n"
    for said in sorted(world.glob("*/plain/said")):
        if said.read_text().startswith("skip"):
            text += f"\n{said.read_text().splitlines()[0]}\n"
    if differences:
        text += ("\n| program | configuration | test | plain | with the library | verdict |\n"
                 "|---|---|---|---|---|---|\n")
        text += "".join(d.row() + "\n" for d in differences)
    (world / "report.md").write_text(text)
    return programs, differences


def main():
    if sys.argv[1] == "--differing":
        program, conf = pathlib.Path(sys.argv[2]) / sys.argv[3], sys.argv[4]
        names = diff(program, conf)
        print(" ".join(sorted({step_of(n) for n in names})))
        return 0
    world = pathlib.Path(sys.argv[1])
    programs, differences = write_report(world, read_explained(pathlib.Path(sys.argv[2])))
    failed = [d for d in differences if d.verdict().startswith("DIFFERS")]
    for d in failed:
        print(f"FAIL {d.program} [{d.conf}] {d.name}: plain {', '.join(d.plain)}; "
              f"with the library {', '.join(d.other)}")
    same = sum(len(read_results(p / c)) for p in programs for c in confs_run(p)[1:])
    print(f"report: {world / 'report.md'}")
    print(f"{same - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
