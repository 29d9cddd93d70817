# SPDX-License-Identifier: MIT
"""redis_persist -- saves, rewrites and replicates while a client writes, and checks every copy.

usage: redis_persist.py DIRECTORY work|rdb|aof SCALE     (the server listens on DIRECTORY/s)

work fills a server, then has it turn the append-only file on, BGSAVE, BGREWRITEAOF and feed a
replica (which listens on DIRECTORY/r and was told to follow) with a writer going on beside it. rdb
and aof check a server that has loaded the file: every key must hold one of its versions whole; of
the saved file one of those current while it was saved, of the others the last one.
"""

import json
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../demo"))

from resp import Client  # noqa: E402

WORDS = [b"page", b"unit", b"span", b"slot", b"blob", b"limbo", b"cold", b"hot", b"fault"]
HOT = 4  # one key in so many is written again and again


def value(number, version):
    """Seeded text of up to 3 KiB that says what it is."""
    rng = random.Random(number * 1009 + version)
    return b"%d %d " % (number, version) + b" ".join(rng.choices(WORDS, k=number * 37 % 600))


def name(number):
    """A key."""
    return b"key:%d" % number


class Writer(threading.Thread):
    """Writes the hot keys over and over; `acked` has the version of each that is certain."""

    def __init__(self, path, keys):
        super().__init__()
        self.client = Client(path)
        self.acked = [0] * keys
        self.ended = False

    def run(self):
        version = 0
        while not self.ended:
            version += 1
            for number in range(0, len(self.acked), HOT):
                self.client.call(b"SET", name(number), value(number, version))
                self.acked[number] = version
                if self.ended:
                    break


def check(client, least, most, title):
    """Every key holds a whole version between the two lists'."""
    wrong = 0
    answers = client.get_many([name(number) for number in range(len(least))])
    for number, answer in enumerate(answers):
        words = (answer or b"").split(b" ", 2)
        version = int(words[1]) if len(words) > 1 else -1
        good = least[number] <= version <= most[number] and answer == value(number, version)
        wrong += not good
    print(f"{title}: {len(least)} keys, {wrong} wrong")


def info(client, field):
    """One field of INFO, as text."""
    for line in client.call(b"INFO").decode().splitlines():
        if line.startswith(field + ":"):
            return line.split(":", 1)[1]
    return ""


def wait_until(client, field, wanted):
    """Until a field of INFO says so, a minute at most."""
    for _ in range(1200):
        if info(client, field) == wanted:
            return
        time.sleep(0.05)
    print(f"{field} is {info(client, field)} for a minute")


def work(directory, keys):
    """Fill, then everything that forks."""
    path = os.path.join(directory, "s")
    client = Client(path)
    client.set_many((name(number), value(number, 0)) for number in range(keys))
    time.sleep(1)
    writer = Writer(path, keys)
    writer.start()
    client.call(b"CONFIG", b"SET", b"appendonly", b"yes")
    wait_until(client, "aof_rewrite_in_progress", "0")
    time.sleep(0.5)
    least = list(writer.acked)
    client.call(b"BGSAVE")
    wait_until(client, "rdb_bgsave_in_progress", "0")
    most = [version + 1 if number % HOT == 0 else 0 for number, version in enumerate(writer.acked)]
    print("save:", info(client, "rdb_last_bgsave_status"))
    client.call(b"BGREWRITEAOF")
    wait_until(client, "aof_rewrite_in_progress", "0")
    print("rewrite:", info(client, "aof_last_bgrewrite_status"))
    replica = Client(os.path.join(directory, "r"))
    replica.call(b"REPLICAOF", b"127.0.0.1", info(client, "tcp_port").encode())
    wait_until(replica, "master_link_status", "up")
    time.sleep(0.3)
    writer.ended = True
    writer.join()
    # Asked on the writer's connection: WAIT is for the writes of the connection that asks.
    writer.client.call(b"WAIT", b"1", b"60000")
    check(client, writer.acked, writer.acked, "server")
    check(replica, writer.acked, writer.acked, "replica")
    with open(os.path.join(directory, "versions"), "w", encoding="ascii") as file:
        json.dump({"rdb": [least, most], "aof": [writer.acked, writer.acked]}, file)


def main():
    """The command."""
    directory, what, keys = sys.argv[1], sys.argv[2], 2000 * int(sys.argv[3])
    if what == "work":
        work(directory, keys)
        return
    with open(os.path.join(directory, "versions"), encoding="ascii") as file:
        least, most = json.load(file)[what]
    check(Client(os.path.join(directory, "s")), least, most, what)


main()
