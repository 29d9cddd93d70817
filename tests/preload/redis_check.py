# SPDX-License-Identifier: MIT
"""redis_check -- fills a server with known values and checks them, cold and during a BGSAVE.

usage: redis_check.py DIRECTORY fill|reloaded SCALE      (the server listens on DIRECTORY/s)

fill loads, checks and saves; reloaded checks a server that has loaded the saved file: it must
hold what was there when the save began, not what was changed while it ran.
"""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../demo"))

from resp import Client, encode  # noqa: E402

WORDS = [b"page", b"unit", b"span", b"slot", b"blob", b"limbo", b"cold", b"hot", b"fault"]


def text(number, version):
    """The value of a key: seeded text of 0.1 to 6 KiB."""
    rng = random.Random(number * 31 + version)
    return b" ".join(rng.choice(WORDS) for _ in range(rng.randrange(20, 1200)))


def strings(scale):
    """All string keys with their numbers."""
    return [(n, b"string:%d" % n) for n in range(6000 * scale)]


def structures(scale):
    """(command to create, command to read, expected answer) of hashes, lists, sorted sets."""
    for n in range(300 * scale):
        fields = [word for i in range(n % 60 + 1) for word in (b"f%d" % i, b"v%d" % (n * i))]
        items = [b"item %d " % (i * n) + b"x" * (n % 90) for i in range(n % 80 + 1)]
        scores = [word for i in range(n % 200 + 1)
                  for word in (b"%d" % i, b"member%d" % (n * i + i))]
        yield ([b"HSET", b"hash:%d" % n] + fields, [b"HGETALL", b"hash:%d" % n],
               pairs(fields))
        yield [b"RPUSH", b"list:%d" % n] + items, [b"LRANGE", b"list:%d" % n, b"0", b"-1"], items
        yield ([b"ZADD", b"zset:%d" % n] + scores, [b"ZRANGE", b"zset:%d" % n, b"0", b"-1"],
               scores[1::2])


def pairs(words):
    """A flat list as a dictionary, for answers whose order is free."""
    return dict(zip(words[::2], words[1::2]))


class Checker(Client):
    """A client that knows array replies as well."""

    def array(self, *words):
        """Send a command that is answered by an array."""
        self.send(encode(*words))
        line = self.stream.readline()
        assert line[:1] == b"*", line
        return [self.reply() for _ in range(int(line[1:]))]

    def check_strings(self, scale, changed, title):
        """All string keys; those below changed hold their second version."""
        wrong, numbered = 0, strings(scale)
        for (number, _), value in zip(numbered, self.get_many([key for _, key in numbered])):
            wrong += value != text(number, 1 if number < changed else 0)
        print(f"{title}: {len(numbered)} strings, {wrong} wrong")

    def check_structures(self, scale, title):
        """All hashes, lists and sorted sets."""
        count = wrong = 0
        for _, read, expected in structures(scale):
            answer = self.array(*read)
            wrong += (pairs(answer) if isinstance(expected, dict) else answer) != expected
            count += 1
        print(f"{title}: {count} structures, {wrong} wrong")

    def info(self, name):
        """One field of INFO, as text."""
        for line in self.call(b"INFO").decode().splitlines():
            if line.startswith(name + ":"):
                return line.split(":", 1)[1]
        return ""


def wait_for_save(client):
    """Until the background save is over; its result."""
    for _ in range(600):
        if client.info("rdb_bgsave_in_progress") == "0":
            return client.info("rdb_last_bgsave_status")
        time.sleep(0.05)
    return "still running"


def fill(client, scale):
    """Load, check cold, save while changing, check again."""
    client.call(b"FLUSHALL")
    client.set_many((key, text(number, 0)) for number, key in strings(scale))
    for create, _, _ in structures(scale):
        client.call(*create)
    time.sleep(1.2)
    client.check_strings(scale, 0, "cold")
    client.check_structures(scale, "cold")
    time.sleep(0.8)
    client.call(b"BGSAVE")
    changed = 2000 * scale
    client.set_many((key, text(number, 1)) for number, key in strings(scale)[:changed])
    client.check_strings(scale, changed, "while saving")
    print("save:", wait_for_save(client))
    time.sleep(0.6)
    client.check_strings(scale, changed, "after saving")
    client.check_structures(scale, "after saving")


def main():
    """The command."""
    directory, what, scale = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = Checker(os.path.join(directory, "s"))
    if what == "fill":
        fill(client, scale)
    else:
        client.check_strings(scale, 0, "reloaded")
        client.check_structures(scale, "reloaded")


main()
