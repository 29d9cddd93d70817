# SPDX-License-Identifier: MIT
"""python_data -- deterministic data through the usual mills; prints digests of the results.

The pauses let parts of the data go cold before they are used again.
"""

import array
import bisect
import gc
import hashlib
import io
import json
import pickle
import random
import re
import sys
import time

SCALE = int(sys.argv[1])
COUNT = 25000 * SCALE


def digest(data):
    """A short digest of bytes or text."""
    raw = data.encode() if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()[:32]


def build(rng):
    """A list of records of every basic kind."""
    return [{
        "id": i, "name": f"record {i} {rng.randrange(1 << 40):x}",
        "numbers": [rng.randrange(1000) for _ in range(rng.randrange(12))],
        "weight": rng.random(), "big": rng.getrandbits(200),
        "text": " ".join(rng.choice(WORDS) for _ in range(rng.randrange(30))),
        "nested": {"flag": i % 3 == 0, "pair": [i, None, "x" * (i % 50)]},
    } for i in range(COUNT)]


WORDS = "page unit span slot blob limbo cold hot fault move restore evict store digest".split()


def arrays(rng):
    """Large flat blocks: bytearrays growing by steps, arrays, slices."""
    grown = bytearray()
    for step in range(400 * SCALE):
        grown += bytes([step % 251]) * rng.randrange(8000)
    numbers = array.array("q", (rng.getrandbits(60) for _ in range(100000 * SCALE)))
    time.sleep(0.4)
    copy = array.array("q", sorted(numbers))
    print("bytearray", len(grown), digest(grown[::-1]))
    print("array", digest(copy.tobytes()), bisect.bisect(copy, 1 << 59))


def main():
    """All mills in order."""
    rng = random.Random(7)
    records = build(rng)
    time.sleep(0.5)
    text = json.dumps(records)
    print("json", len(text), digest(text))
    assert json.loads(text) == records
    packed = pickle.dumps(records, protocol=4)
    print("pickle", digest(packed))
    copy = pickle.loads(packed)
    assert copy == records
    del packed
    arrays(rng)
    copy.sort(key=lambda record: (record["text"], record["id"]))
    print("sorted", digest(json.dumps(copy[:2000])))
    stream = io.StringIO()
    for record in copy[::3]:
        stream.write(record["name"] + "\n")
    print("matches", len(re.findall(r"record \d*7 [0-9a-f]*a", stream.getvalue())))
    del copy[::2]
    gc.collect()
    time.sleep(0.5)
    table = {record["name"]: record for record in records}
    assert all(table[record["name"]]["id"] == record["id"] for record in copy)
    assert json.loads(text) == records
    print("total", sum(record["big"] for record in records) % (10 ** 30))


main()
