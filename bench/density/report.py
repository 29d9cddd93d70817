# SPDX-License-Identifier: MIT
"""report -- the bench's tables and verdict, printed and put into doc/density.md."""

import csv
import os
import time

import goals
import picture
from case import MIB, REFAULT_SECONDS, ROOT, say

COLUMNS = ("jemalloc", "KSM", "zram lzo-rle", "zram lz4", "zalloc")
DOC = os.path.join(ROOT, "doc")
BEGIN, END = "<!-- bench/density/run --doc -->\n", "<!-- end -->\n"


class Page:
    """Lines that are said and kept."""

    def __init__(self):
        self.lines = []

    def say(self, text=""):
        """One line."""
        say(text)
        self.lines.append(text.rstrip())


def cell(value, form, width=13):
    """A value or a dash."""
    return f"{'-':>{width}}" if value is None else f"{value:{width}{form}}"


def table(page, title, cases, value, form):
    """One row for each program."""
    page.say(f"\n{title}\n{'':22}" + "".join(f"{c:>13}" for c in COLUMNS))
    for case in cases:
        page.say(f"{case.name:22}" + "".join(cell(value(case, c), form) for c in COLUMNS))


def mib(case, column):
    """Footprint."""
    value = case.last(column)
    return None if value is None else value / MIB


def ratio(case, column):
    """Footprint of jemalloc's to that of the column."""
    value, whole = case.last(column), case.last("jemalloc")
    return whole / value if value and whole else None


def rows(page, title, head, cases, values):
    """A table with columns (name, width) of its own; values(case): texts, or None: no row."""
    page.say(f"\n{title}\n{'':22}" + "".join(f"{name:>{width}}" for name, width in head))
    for case in cases:
        texts = values(case)
        if texts:
            page.say(f"{case.name:22}" + "".join(f"{text:>{width}}"
                                                 for text, (_, width) in zip(texts, head)))


def thread_row(case):
    """What zalloc's threads took."""
    if not case.threads:
        return None
    return (f"{case.threads['zalloc-worker']:.2f}", f"{case.threads['zalloc-fault']:.2f}",
            cell(case.background(), ".1f", 0), cell(case.in_all(), ".1f", 0), cell(case.busiest(), ".1f", 0),
            cell(case.quiet.get("percent"), ".3f", 0), cell(case.quiet.get("wakes"), ".2f", 0),
            cell(case.quiet.get("fault"), ".2f", 0),
            cell(case.quiet.get("restored"), "d", 0), f"{case.stats['pager.thrash']}")


def thread_table(page, cases):
    """Their processor time, and how quiet they get."""
    watched = max((case.quiet.get("seconds", 0) for case in cases), default=0)
    rows(page, "zalloc's two threads: processor time since the process began, and, when all has "
         f"settled, over {watched:.0f} s",
         (("worker s", 10), ("fault s", 9), ("s/GiB", 8), ("in all", 8), ("10 s %", 8), ("settled %", 11),
          ("wakes/s", 9), ("of fault", 10), ("restored", 10), ("thrash", 8)), cases, thread_row)


def store_row(case):
    """What the store consists of."""
    if not case.stored():
        return None
    s = case.stats
    return (f"{s['pager.stored']}", f"{s['pager.split']}", f"{s['store.blob_bytes'] / MIB:.1f}",
            f"{100 * case.waste(headers=True):.1f}%", f"{100 * case.waste(headers=False):.1f}%",
            f"{s['pager.stored'] / s['store.blobs']:.2f}", f"{s['pager.incompressible']}",
            f"{s['store.dictionary_bytes'] / MIB:.1f}")


def meta_row(case):
    """What stands beside the blobs."""
    parts = case.metadata()
    if not parts:
        return None
    return (f"{sum(parts.values()):.1f}", *[f"{v:.1f}" for v in parts.values()],
            *[f"{v / MIB:.2f}" for v in case.heap_metadata()])


def store_tables(page, cases):
    """The store, and its books."""
    rows(page, "zalloc's store (split: pages packed with their pointers taken apart; raw: that do "
         "not compress)\nwaste: memory of segments beyond compressed bytes, to these; bare: the "
         "same, headers not counted as waste",
         (("pages", 10), ("split", 9), ("MiB", 8), ("waste", 8), ("bare", 8), ("pages/blob", 12),
          ("raw", 7), ("dict MiB", 10)), cases, store_row)
    rows(page, "Metadata of a stored page beside its blob, bytes: all, and of it its record, and its share "
         "of the table\nof blobs, of headers and of the index of contents; not in it, MiB: records of "
         "pages that are not stored,\nof units and chunks; the allocator's own books",
         (("all", 8), ("record", 8), ("table", 8), ("headers", 9), ("index", 8), ("others", 9),
          ("allocator", 11)), cases, meta_row)


def verdict(page, cases, full):
    """Every goal, met or missed; how many were missed."""
    page.say("\nGoals" + ("" if full else " (not at full size and time: they say little, and none "
                          "fails)"))
    missed = 0
    for word, what, words, said in goals.verdicts(cases):
        page.say(f"{word:7} {what:44} {words:28} {said}")
        missed += word == "MISSED"
    return missed


def report(page, cases, words, full):
    """All tables, and the verdict: how many goals were missed."""
    for case in cases:
        for name, pages in case.merged.items():
            if pages:
                page.say(f"not to be believed: {case.name}, {name}: the kernel merged {pages} "
                         "pages")
    table(page, "Footprint when all is quiet, MiB", cases, mib, ".1f")
    table(page, "jemalloc's footprint to it", cases, ratio, ".2f")
    table(page, "Processor time, s: the whole process's since it was full; zram: the bench's own "
          "in process_madvise,\nwhere the kernel compresses (nothing of kswapd's, nor of reading "
          "back)", cases, lambda case, c: case.cpu.get(c), ".2f")
    table(page, f"Pages fetched back while idle (zram: in {REFAULT_SECONDS} s)", cases,
          lambda case, c: case.refaults.get(c), "d")
    thread_table(page, cases)
    store_tables(page, cases)
    page.say()
    for case in cases:
        if case.program.remark:
            page.say(f"{case.name}: {case.program.remark}")
    for word in words:
        page.say(word)
    return verdict(page, cases, full)


def samples(path, cases):
    """Every sample as CSV."""
    with open(path, "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["program", "how", "seconds", "bytes"])
        for case in cases:
            for name, line in case.lines.items():
                if name != "KSM":
                    out.writerows([case.name, name, f"{t:.1f}", v] for t, v in line)
            out.writerows([case.name, name, "", v] for name, v in case.levels.items())


def draw(path, cases, seconds):
    """The picture."""
    drawn = [{"name": c.name, "levels": c.levels,
              "lines": {n: line for n, line in c.lines.items() if n != "KSM"}}
             for c in cases if c.lines]
    if drawn:
        picture.draw(path, drawn, seconds)


def where(size, idle):
    """A line of what was run, when and on what."""
    kernel = ".".join(os.uname().release.split(".")[:2])
    return (f"{size} MiB of data, idle for {idle:.0f} s; {time.strftime('%Y-%m-%d')}, "
            f"{os.cpu_count()} processors, Linux {kernel}")


def document(page, cases, seconds):
    """The tables into doc/density.md between its marks, the picture beside it."""
    path = os.path.join(DOC, "density.md")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    body = "\n".join(page.lines).strip("\n")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{before}{BEGIN}```\n{body}\n```\n{END}{after}")
    draw(os.path.join(DOC, "density.svg"), cases, seconds)
