# SPDX-License-Identifier: MIT
"""twice -- one JSON text, parsed twice, both kept.  usage: twice.py MIB; output as load.c's."""
import ctypes
import gc
import json
import os
import random
import sys
import time


def pss():
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def text(mib):
    words = "alpha bravo charlie delta echo foxtrot golf hotel india kilo lima".split()
    rnd = random.Random(1)
    records, size = [], 0
    while size < mib << 20:
        r = {"id": len(records), "name": " ".join(rnd.choices(words, k=3)),
             "tags": rnd.choices(words, k=4), "score": rnd.random(),
             "note": "".join(rnd.choices("abcdefghij ", k=60))}
        records.append(json.dumps(r))
        size += len(records[-1])
    return "[" + ",".join(records) + "]"


def settle():
    ctl = getattr(ctypes.CDLL(None), "zallctl", None)
    if ctl:
        order = b"pager.dense" if os.environ.get("LOAD_DENSE") else b"pager.evict"
        ctl(order, None, None, None, 0)
        ctl(order, None, None, None, 0)  # what does not compress is stored when seen again
        time.sleep(1.2)
        ctl(b"stats.refresh", None, None, None, 0)
    elif os.environ.get("LOAD_KSM"):
        scans = "/sys/kernel/mm/ksm/full_scans"
        end = int(open(scans).read()) + 3
        give_up = time.time() + 20
        while int(open(scans).read()) < end and time.time() < give_up:
            time.sleep(0.05)


if os.environ.get("LOAD_KSM"):
    ctypes.CDLL(None).prctl(67, 1, 0, 0, 0)  # PR_SET_MEMORY_MERGE
source = text(int(sys.argv[1]))
first = json.loads(source)
second = json.loads(source)
del source
gc.collect()
gc.freeze()
print("loaded", pss())
settle()
print("settled", pss(), flush=True)
ctl = getattr(ctypes.CDLL(None), "zallctl", None)
for name in """pager.stored pager.zero pager.same pager.incompressible dedup.duplicate dedup.unique
        dedup.skipped dedup.shared_pages store.raw_bytes store.live_bytes dedup.index_bytes
        pager.cpu_ns""".split():
    value, length = ctypes.c_uint64(), ctypes.c_size_t(8)
    if ctl and ctl(b"stats." + name.encode(), ctypes.byref(value), ctypes.byref(length),
                   None, 0) == 0:
        print("stat", name, value.value)
sys.stdout.flush()
os._exit(0)
