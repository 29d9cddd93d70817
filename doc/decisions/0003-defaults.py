#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""0003-defaults -- the measurements of 0003-defaults.md: one redis-server for each configuration.

usage: doc/decisions/0003-defaults.py MIB CONF...     CONF: as in ZALLOC_CONF, "-" for the defaults

Loads MIB of the demo's data, waits until the footprint stands still (75 s at most), then sends 100
GETs a second in two windows, nine of ten to 5 % of the keys. The faults are read from the server's
memory (za_stats, where gdb would look). Needs root, build/libzalloc.so with its symbols, and nm.
"""

import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "demo"))

from resp import RespError  # noqa: E402
from server import Server  # noqa: E402
from source import Source  # noqa: E402

LIB = os.path.join(ROOT, "build", "libzalloc.so")
MIB = 1 << 20
IDLE_MAX, STILL = 75, 6
GETS, PAUSE = 1250, 0.01


class Tuned(Server):
    """A redis-server under zalloc with a configuration of its own."""

    conf = ""

    def _environment(self):
        return dict(super()._environment(), ZALLOC_CONF=self.conf)

    def weight(self):
        """PSS and page tables, bytes."""
        return sum(self.footprint())

    def our_cpu(self):
        """Seconds used by the library's threads."""
        total, tasks = 0, f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/stat", encoding="utf-8") as stream:
                name, rest = stream.read().split("(", 1)[1].rsplit(")", 1)
            if name.startswith("zalloc"):
                total += sum(int(word) for word in rest.split()[11:13])
        return total / os.sysconf("SC_CLK_TCK")

    def faults(self):
        """The statistic pager.faults, read from outside."""
        with open(f"/proc/{self.process.pid}/maps", encoding="utf-8") as maps:
            base = next(int(line.split("-")[0], 16) for line in maps if self.library in line)
        with open(f"/proc/{self.process.pid}/mem", "rb") as memory:
            memory.seek(base + symbol("za_stats") + 8 * statistic("pager.faults"))
            return struct.unpack("Q", memory.read(8))[0]


def symbol(name):
    """A symbol's offset in the library."""
    table = subprocess.check_output(["nm", LIB], text=True).splitlines()
    return next(int(line.split()[0], 16) for line in table if line.endswith(f" {name}"))


def statistic(name):
    """A statistic's place in the array."""
    tool = os.path.join(ROOT, "build", "zalloc")
    lines = subprocess.check_output([tool, "stats"], text=True).splitlines()[1:]
    return [line.split()[0] for line in lines].index(name)


def settle(server, start_bytes):
    """Wait; returns (seconds until within 1 % of the end, bytes then)."""
    begin, history = time.monotonic(), []
    while True:
        now, size = time.monotonic() - begin, server.weight()
        history.append((now, size))
        recent = [bytes_ for at, bytes_ in history if at >= now - STILL]
        still = max(recent) - min(recent) < start_bytes / 100
        if now > IDLE_MAX or (now > STILL and size < 0.6 * start_bytes and still):
            return next(at for at, bytes_ in history if bytes_ < size + start_bytes / 100), size
        time.sleep(0.5)


def window(server, source, rng, hot):
    """GETs at a steady pace; returns (faults, round trips in microseconds)."""
    before, begin, times = server.faults(), time.monotonic(), []
    for count in range(GETS):
        index = rng.choice(hot) if rng.random() < 0.9 else rng.randrange(len(source))
        value, nanoseconds = server.client.get_timed(source.keys[index])
        if value != source.value(index):
            raise RespError("a value differs")
        times.append(nanoseconds / 1000)
        time.sleep(max(0, begin + (count + 1) * PAUSE - time.monotonic()))
    return server.faults() - before, times


def measure(conf, source, directory):
    """One server's life."""
    report = os.path.join(directory, "stats.json")
    Tuned.conf = ",".join(filter(None, [conf, f"stats_json:{report}"]))
    server = Tuned("zalloc", shutil.which("redis-server"), LIB, directory)
    try:
        server.connect()
        server.client.set_many(source.pairs())
        start = server.weight()
        seconds, idle = settle(server, start)
        cpu = server.our_cpu()
        rng = random.Random(7)
        hot = rng.sample(range(len(source)), len(source) // 20)
        windows = [window(server, source, rng, hot) for _ in range(2)]
        end = server.weight()
        try:
            server.client.call(b"SHUTDOWN", b"NOSAVE")
        except RespError:
            pass
        server.process.wait(20)
    finally:
        server.stop()
    with open(report, encoding="utf-8") as stream:
        stats = json.load(stream)["stats"]
    p50, p99 = (statistics.quantiles(windows[1][1], n=100)[i] for i in (49, 98))
    print(f"{conf or 'defaults'}: {start / MIB:.0f} MiB, settled after {seconds:.1f} s at "
          f"{100 * idle / start:.0f} %, CPU {cpu:.2f} s; faults {windows[0][0]}, {windows[1][0]}; "
          f"GET p50 {p50:.0f} p99 {p99:.0f} us; then {end / MIB:.1f} MiB; "
          f"throttled {stats['pager.throttled']}, load {os.getloadavg()[0]:.1f}", flush=True)


def main():
    """The command."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    directory = tempfile.mkdtemp(prefix="zalloc-defaults.")
    source = Source(directory, 1)
    try:
        source.collect(int(sys.argv[1]) * MIB, 4)
        for conf in sys.argv[2:]:
            measure("" if conf == "-" else conf, source, directory)
    finally:
        source.close()
        shutil.rmtree(directory)


main()
