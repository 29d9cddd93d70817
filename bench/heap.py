# SPDX-License-Identifier: MIT
"""heap -- makes a heap image of the package records on standard input, for bench/codec.

usage: apt-cache dumpavail | PYTHONMALLOC=malloc MALLOC_MMAP_THRESHOLD_=33554432 heap.py KIND
KIND  records: each record as a JSON string at 16-byte grain, in random order, as a store of
               strings holds them
      python:  the pages of this process's own heap, holding the parsed records
At most 32 MiB go to standard output.
"""
import json
import random
import sys

LIMIT = 32 << 20
PAGE = 4096


def parse(text):
    for block in text.split("\n\n"):
        record, key = {}, None
        for line in block.split("\n"):
            if line.startswith(" ") and key:
                record[key] += line
            elif ": " in line:
                key, record[key] = line.split(": ", 1)
        if record:
            yield record


def records(parsed):
    image = bytearray()
    for record in parsed:
        data = json.dumps(record).encode()
        image += data + bytes(16 - len(data) % 16)
        if len(image) > LIMIT:
            break
    return image


def own_heap(parsed):
    kept = [json.loads(json.dumps(r)) for r in parsed[:9000]]
    image = bytearray()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            if line.endswith("[heap]\n"):
                start, end = (int(x, 16) for x in line.split()[0].split("-"))
                memory.seek(start)
                image += memory.read(end - start)
    assert kept
    pages = (image[i : i + PAGE] for i in range(0, len(image) - PAGE + 1, PAGE))
    return b"".join(p for p in pages if any(p))


def main():
    random.seed(1)
    parsed = list(parse(sys.stdin.buffer.read().decode("utf-8", "replace")))
    random.shuffle(parsed)
    image = records(parsed) if sys.argv[1] == "records" else own_heap(parsed)
    sys.stdout.buffer.write(image[:LIMIT])


main()
