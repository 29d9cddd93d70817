#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the file tier saves and costs: memory with and without it, and the first touch of a page.

usage: PYTHONMALLOC=malloc LD_PRELOAD=build/libzalloc.so \
       ZALLOC_CONF=file:DIRECTORY,cold_ms:86400000 bench/tier.py [MIB]

Strings of words fill the heap, are packed densely, then written to the file.  Each time strings
far from each other are touched for the first time: microseconds at the median and the 99th
percentile, of all samples.
"""
import ctypes
import random
import sys
import time

MIB = 1 << 20
SIZE = 2048
SAMPLES = 2000

ctl = ctypes.CDLL(None).zallctl


def order(name):
    """Gives the library an order, and returns the seconds it took."""
    begin = time.perf_counter()
    if ctl(name.encode(), None, None, None, 0) != 0:
        sys.exit(f"{name} is refused here")
    return time.perf_counter() - begin


def stat(name):
    """One statistic."""
    value, size = ctypes.c_uint64(), ctypes.c_size_t(8)
    ctl(f"stats.{name}".encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
    return value.value


def pss():
    """Of the whole process, in bytes."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def make(mib):
    """Heap contents: prose of 20000 words."""
    rng = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(20000)]
    weights = [1 / (i + 1) for i in range(len(words))]
    pool = rng.choices(words, cum_weights=None, weights=weights, k=400000)
    data = []
    for i in range(mib * MIB // SIZE):
        at = (i * 7919) % (len(pool) - 600)
        data.append((str(i) + " " + " ".join(pool[at + i % 13 : at + 600]))[: SIZE - 64])
    return data


def touch(data, seed):
    """First touches, in microseconds, sorted."""
    picks = random.Random(seed).sample(range(len(data) // 16), SAMPLES)
    took = []
    for i in picks:
        begin = time.perf_counter_ns()
        if data[i * 16][0] == "x":
            raise AssertionError
        took.append((time.perf_counter_ns() - begin) / 1000)
    return sorted(took)


def report(what, seconds):
    """Memory now."""
    order("stats.refresh")
    print(
        f"{what}: PSS {pss() / MIB:.1f} MiB, footprint {stat('footprint.total') / MIB:.1f} MiB "
        f"(store {stat('footprint.store') / MIB:.1f}), file {stat('footprint.file') / MIB:.1f} MiB, "
        f"{seconds:.1f} s",
        flush=True,
    )


def latency(what, took):
    """The distribution."""
    print(
        f"{what}: first touch p50 {took[len(took) // 2]:.0f} us, "
        f"p99 {took[len(took) * 99 // 100]:.0f} us, max {took[-1]:.0f} us",
        flush=True,
    )


def main():
    """All of it, once."""
    data = make(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
    report("loaded", 0)
    report("packed densely", order("pager.dense"))
    latency("from memory", touch(data, 2))
    report("in the file", order("pager.file"))
    reads = stat("file.reads")
    latency("from the file", touch(data, 3))
    print(f"reads of the file: {stat('file.reads') - reads} for {SAMPLES} touches")


main()
