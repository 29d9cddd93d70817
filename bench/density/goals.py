# SPDX-License-Identifier: MIT
"""goals -- what the bench is to show, and whether it did."""

import collections

from case import SHARES

IDLE_SECONDS = 180
ALGORITHMS = ("lz4", "lzo-rle")
SAVED_PERCENT = 1  # for the 20 ms that the worker may save up, and what is not on the budget
CPU_LIMIT = 15     # the default of the key `cpu_limit`

# What it says; of which program (None: of each); the figure, or None; how to print it; whether a
# figure will do; the goal in words.
Goal = collections.namedtuple("Goal", "what program figure form good words")


def percent(value):
    """A share."""
    return f"{100 * value:.1f} %"


def metadata(case):
    """All of it."""
    parts = case.metadata()
    return None if parts is None else sum(parts.values())


GOALS = [
    Goal(f"Redis strings to jemalloc's, idle {IDLE_SECONDS} s", "redis strings",
         lambda case: case.share(IDLE_SECONDS), percent, lambda v: v <= SHARES["redis strings"], "at most 28 %"),
    Goal(f"60 % deleted to jemalloc's, idle {IDLE_SECONDS} s", "redis, 60 % deleted",
         lambda case: case.share(IDLE_SECONDS), percent, lambda v: v <= SHARES["redis, 60 % deleted"], "at most 18 %"),
    *[Goal(f"footprint to zram's with {a}", None, lambda case, a=a: case.below("zram " + a),
           percent, lambda v: v < 1, "below 100 %") for a in ALGORITHMS],
    Goal("background processor time to get there, for a GiB", None, lambda case: case.background(),
         "{:.1f} s".format, lambda v: v < 30, "below 30 s"),
    Goal("worker's share of a processor, over 10 s", None, lambda case: case.busiest(),
         "{:.1f} %".format, lambda v: v <= CPU_LIMIT + SAVED_PERCENT,
         f"at most {CPU_LIMIT} %, and {SAVED_PERCENT} saved up"),
    Goal("settled: share of a processor", None, lambda case: case.calm("percent"),
         "{:.3f} %".format, lambda v: v < 0.1, "below 0.1 %"),
    Goal("settled: wake-ups", None, lambda case: case.calm("wakes"),
         "{:.2f} /s".format, lambda v: v <= 2, "at most 2 /s"),
    Goal("store's waste, headers in it", None, lambda case: case.waste(headers=True),
         percent, lambda v: v < 0.05, "below 5 %"),
    Goal("metadata of a stored page", None, metadata,
         "{:.1f} B".format, lambda v: v <= 16, "at most 16 B"),
]


def judge(goal, cases):
    """(verdict, what is to be said of it)."""
    told = [(goal.figure(case), case.name) for case in cases
            if goal.program in (None, case.name)]
    told = sorted((v, name) for v, name in told if v is not None)
    if not told:
        return "-", "not measured"
    said = [f"{goal.form(v)} {name}" for v, name in told]
    missed = [s for s, (v, _) in zip(said, told) if not goal.good(v)]
    if missed:
        return "MISSED", ", ".join(reversed(missed))
    return "met", said[-1] + (f" (the most of {len(said)})" if len(said) > 1 else "")


def verdicts(cases):
    """[(verdict, goal, its words, figures)]."""
    rows = [(*judge(goal, cases), goal) for goal in GOALS]
    rows = [(verdict, goal.what, goal.words, said) for verdict, said, goal in rows]
    broken = [f"{case.name}: {case.broken}" for case in cases if case.broken]
    if broken:
        rows.append(("MISSED", "every program that runs under jemalloc", "runs",
                     "; ".join(broken)))
    return rows
