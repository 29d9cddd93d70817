# SPDX-License-Identifier: MIT
"""case -- one program of the bench under all Hows, and what was measured of it."""

import collections
import os
import subprocess
import time

import machine
from programs import Unfit

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
MIB, GIB = 1 << 20, 1 << 30
SETTLED_SECONDS, SETTLED_RANGE = 25, 0.005
REFAULT_SECONDS = 3
REST_SECONDS, REST_CPU = 60, 0.02  # so long, and no more time of the fault thread in that: nobody walks
SHARES = {"redis strings": 0.28, "redis, 60 % deleted": 0.18}  # of jemalloc's, at most
MOVED = 0.01        # of the stored pages fetched back: the program is not idle
LIMIT_SECONDS = 10  # over which the processor time of the worker is looked at
HEADER = 12         # bytes in front of each blob (compress/store_private.h)
RECORD = 8          # bytes of a page's record (pager/page.h)


def say(text=""):
    """One line, at once."""
    print(text, flush=True)


def quietness(before, after):
    """What zalloc's threads did between two looks; of several processes, the busiest's."""
    seconds = after[0] - before[0]
    shares, wakes = [0], [(0, 0)]
    for pid, threads in after[1].items():
        gains = [[(a - b) / seconds for a, b in zip(threads.get(name, (0, 0)),
                                                    before[1].get(pid, {}).get(name, (0, 0)))]
                 for name in machine.LIBRARY_THREADS]
        shares.append(sum(gain[0] for gain in gains))
        wakes.append(tuple(gain[1] for gain in gains))
    worker, fault = max(wakes, key=sum)
    return {"percent": 100 * max(shares), "wakes": worker + fault, "fault": fault,
            "seconds": seconds}


class Case:
    """One program. *Born* empty, filled by start(), *dies* in stop()."""

    def __init__(self, program):
        self.program = program
        self.running = {}    # How's name: Program
        self.begun = {}      # How's name: (time, CPU seconds, pages restored) when it was full
        self.lines = {}      # How's name: [(seconds, bytes)]
        self.levels = {}     # "zram lz4" ...: bytes
        self.cpu = {}        # seconds beyond loading
        self.refaults = {}   # pages
        self.merged = {}     # pages that the kernel merged unasked: must be 0
        self.stats = collections.Counter()  # zalloc's own
        self.worker = {}     # process: [(time, CPU seconds of its worker)]
        self.spent = []      # [(seconds, bytes, CPU seconds of zalloc's threads, of the fault thread's)]
        self.threads = {}    # name: CPU seconds of zalloc's threads since the processes began
        self.quiet = {}      # what zalloc's threads do when all has settled
        self.broken = ""     # why it did not run under zalloc, but under jemalloc

    @property
    def name(self):
        """The program's."""
        return self.program.name

    # --- one after the other -------------------------------------------------------------------

    def start(self, how, data, directory):
        """Fill it, or say that it cannot run here."""
        program = self.program(how, data, directory)
        begin = time.monotonic()
        try:
            self.running[how.name] = program
            program.start()
            program.check()
        except (Unfit, OSError, subprocess.SubprocessError) as error:
            say(f"  left out: {self.name} under {how.name}: {error}")
            program.stop()
            del self.running[how.name]
            if how.name == "zalloc" and "jemalloc" in self.running:
                self.broken = str(error)
            return
        restored = self.zalloc_stats()["pager.restored"] if how.name == "zalloc" else 0
        self.begun[how.name] = (time.monotonic(), machine.cpu_seconds(program.pids()), restored)
        self.lines[how.name] = [(0, machine.footprint(program.pids()))]
        say(f"  {self.name:<22}{how.name:<10}{time.monotonic() - begin:6.1f} s "
            f"{self.lines[how.name][-1][1] / MIB:8.1f} MiB")

    def weigh(self, name):
        """One more point of the line."""
        program = self.running[name]
        program.check()
        seconds = time.monotonic() - self.begun[name][0]
        self.lines[name].append((seconds, machine.footprint(program.pids())))
        if name != "zalloc":
            return
        total = fault = 0
        for pid in program.pids():
            threads = machine.library_threads(pid)
            total += sum(spent for spent, _ in threads.values())
            fault += threads.get("zalloc-fault", (0, 0))[0]
            spent = threads.get("zalloc-worker", (0, 0))[0]
            self.worker.setdefault(pid, []).append((time.monotonic(), spent))
        self.spent.append((seconds, self.lines[name][-1][1], total, fault))

    def settled(self, least):
        """Has it been idle for `least` seconds, and does zalloc's line no longer move?"""
        line = self.lines.get("zalloc")
        if not line:
            return True
        now = line[-1][0]
        recent = [v for t, v in line if t >= now - SETTLED_SECONDS]
        return now >= least and max(recent) - min(recent) < SETTLED_RANGE * line[0][1]

    def zalloc_stats(self):
        """The library's statistics, summed over the processes."""
        total = collections.Counter()  # what is 0 is not printed
        for pid in self.running["zalloc"].pids():
            said = subprocess.run([os.path.join(BUILD, "zalloc"), "stats", str(pid)],
                                  capture_output=True, text=True, check=False)
            for line in said.stdout.splitlines():
                words = line.split()
                if len(words) > 1 and words[1].isdigit():
                    total[words[0]] += int(words[1])
        return total

    def conclude(self):
        """Processor time, refaults and statistics, once all is quiet."""
        for name, program in self.running.items():
            self.merged[name] = machine.merged(program.pids())
            self.cpu[name] = machine.cpu_seconds(program.pids()) - self.begun[name][1]
        if "zalloc" in self.running:
            self.threads = self.threads_now()
            self.stats = self.zalloc_stats()
            self.refaults["zalloc"] = self.stats["pager.restored"] - self.begun["zalloc"][2]

    def threads_now(self):
        """Processor time of zalloc's threads so far, over all processes."""
        total = dict.fromkeys(machine.LIBRARY_THREADS, 0)
        for pid in self.running["zalloc"].pids():
            for name, (spent, _) in machine.library_threads(pid).items():
                total[name] += spent
        return total

    def look(self):
        """(time, {process: its library_threads()}).

        Nobody may ask for statistics between two looks: that wakes the worker.
        """
        return (time.monotonic(), {pid: machine.library_threads(pid)
                                   for pid in self.running["zalloc"].pids()})

    def push_out(self, algorithm):
        """The one under jemalloc goes to zram, is weighed, and comes back."""
        pids = self.running["jemalloc"].pids()
        zram = machine.Zram(algorithm, 2 * machine.footprint(pids) // MIB * MIB + 64 * MIB)
        try:
            name = "zram " + algorithm
            empty = zram.used()[0]
            self.cpu[name] = machine.push_out(pids)
            time.sleep(0.5)
            self.levels[name] = machine.footprint(pids) + zram.used()[0] - empty
            before = machine.major_faults(pids)
            time.sleep(REFAULT_SECONDS)
            self.refaults[name] = machine.major_faults(pids) - before
        finally:
            zram.close()

    def stop(self):
        """End all of it."""
        for program in self.running.values():
            program.stop()
        self.running = {}

    # --- what follows from it; None where it is not known --------------------------------------

    def at_rest(self):
        """Which samples of zalloc's found the program idle: the fault thread had nothing to do."""
        return [not any(p[0] >= at[0] - REST_SECONDS and p[3] < at[3] - REST_CPU
                        for p in self.spent) for at in self.spent]

    def is_at_rest(self):
        """Was the last one at rest?"""
        return self.at_rest()[-1:] != [False]

    def last(self, name):
        """The final footprint; zalloc's while the program was idle: one with a crawler is not always."""
        if name in self.levels:
            return self.levels[name]
        rests = [p[1] for p, rest in zip(self.spent, self.at_rest()) if rest]
        if name == "zalloc" and rests:
            return rests[-1]
        return self.lines[name][-1][1] if self.lines.get(name) and name != "KSM" else None

    def share(self, seconds):
        """zalloc's footprint to jemalloc's after so many seconds, or as many as there were."""
        ours, theirs = self.lines.get("zalloc"), self.lines.get("jemalloc")
        if not ours or not theirs:
            return None
        at = min(seconds, ours[-1][0], theirs[-1][0])
        weights = [max((p for p in line if p[0] <= at), key=lambda p: p[0])[1]
                   for line in (ours, theirs)]
        return weights[0] / weights[1]

    def below(self, name):
        """zalloc's footprint to another's."""
        ours, theirs = self.last("zalloc"), self.last(name)
        return None if ours is None or theirs is None else ours / theirs

    def goal(self):
        """The footprint that it is to reach: below zram's, and its share of jemalloc's."""
        sizes = [size for name, size in self.levels.items() if name.startswith("zram")]
        whole, share = self.last("jemalloc"), SHARES.get(self.name)
        if whole and share:
            sizes.append(share * whole)
        return min(sizes, default=None)

    def background(self):
        """Seconds of zalloc's two threads per GiB of jemalloc's, from the processes' beginning until
        the footprint was what it is to be."""
        whole, goal = self.last("jemalloc"), self.goal()
        there = [p[2] for p in self.spent if goal and p[1] < goal]
        return there[0] / (whole / GIB) if there and whole else None

    def in_all(self):
        """The same, until the end of idleness."""
        whole = self.last("jemalloc")
        return self.spent[-1][2] / (whole / GIB) if self.spent and whole else None

    def calm(self, what):
        """What zalloc's threads do where all has settled; not where the program itself walks through its
        memory meanwhile, as memcached's crawler does."""
        moved = self.quiet.get("restored", 0) > MOVED * self.stats["pager.stored"]
        return self.quiet.get(what) if self.is_at_rest() and not moved else None

    def busiest(self):
        """The most of a processor that one worker took over LIMIT_SECONDS, in percent."""
        most = None
        for line in self.worker.values():
            for i, (t, spent) in enumerate(line):
                earlier = [p for p in line[:i] if t - p[0] >= LIMIT_SECONDS]
                if earlier:
                    share = 100 * (spent - earlier[-1][1]) / (t - earlier[-1][0])
                    most = share if most is None else max(most, share)
        return most

    def stored(self):
        """Are there pages in its store, and so something to say of it?  Not just after a walk."""
        return self.is_at_rest() and bool(self.stats["pager.stored"] and self.stats["store.blob_bytes"])

    def waste(self, headers):
        """What segments hold beyond compressed bytes, to these; headers counted or not."""
        if not self.stored():
            return None
        s = self.stats
        held = s["store.held_bytes"] - (0 if headers else HEADER * s["store.blobs"])
        return (held - s["store.blob_bytes"]) / s["store.blob_bytes"]

    def metadata(self):
        """Bytes for each stored page beside its blob, by part."""
        if not self.stored():
            return None
        s = self.stats
        parts = {"record": RECORD * s["pager.stored"], "table": s["store.table_bytes"],
                 "headers": HEADER * s["store.blobs"], "index": s["dedup.index_bytes"]}
        return {name: size / s["pager.stored"] for name, size in parts.items()}

    def heap_metadata(self):
        """Bytes that the heap has beside it whatever is stored of it: (records of other pages, of
        units and of chunks; the allocator's own books)."""
        s = self.stats
        return (s["footprint.records"] - RECORD * s["pager.stored"],
                s["footprint.meta"] - s["footprint.records"] - s["dedup.index_bytes"])
