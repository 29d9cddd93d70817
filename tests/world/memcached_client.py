# SPDX-License-Identifier: MIT
"""memcached_client.py -- talks to a memcached and checks every answer.

usage: memcached_client.py SOCKET fill|check|clients|evict SCALE
"""
import random
import socket
import sys
import threading


class Client:
    """One connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")

    def command(self, line, body=None):
        """Send a command, return the first line of the answer."""
        self.socket.sendall(line + b"\r\n" + (body + b"\r\n" if body is not None else b""))
        return self.stream.readline().strip()

    def store(self, verb, key, value, flags=0):
        """set, add, replace, append, prepend."""
        head = b"%s %s %d 0 %d" % (verb, key, flags, len(value))
        return self.command(head, value)

    def get(self, keys):
        """The values of the keys that are there."""
        self.socket.sendall(b"get " + b" ".join(keys) + b"\r\n")
        found = {}
        while True:
            words = self.stream.readline().split()
            if words[0] == b"END":
                return found
            assert words[0] == b"VALUE", words
            found[words[1]] = self.stream.read(int(words[3]) + 2)[:-2]


def value(number, version=0):
    """Known bytes of 0 to 20 KB."""
    rng = random.Random(number * 7 + version)
    return rng.randbytes(rng.randrange(40)) * rng.randrange(1, 500)


def key(number):
    """A key of up to 200 bytes."""
    return b"key:%d:" % number + b"k" * (number % 190)


def fill(path, scale):
    """Sets everything; a tenth is replaced, appended to or deleted."""
    client = Client(path)
    answers = {}
    for n in range(12000 * scale):
        answer = client.store(b"set", key(n), value(n))
        answers[answer] = answers.get(answer, 0) + 1
    for n in range(0, 12000 * scale, 10):
        assert client.store(b"replace", key(n), value(n, 1)) == b"STORED"
        assert client.store(b"append", key(n + 1), b"tail") == b"STORED"
        assert client.store(b"add", key(n + 2), b"no") == b"NOT_STORED"
        assert client.command(b"delete " + key(n + 3)) == b"DELETED"
        assert client.store(b"set", b"count:%d" % n, b"%d" % n) == b"STORED"
    print(answers)


def check(path, scale):
    """Everything is as fill left it."""
    client = Client(path)
    wrong = missing = 0
    for first in range(0, 12000 * scale, 50):
        numbers = range(first, first + 50)
        found = client.get([key(n) for n in numbers])
        for n in numbers:
            want = value(n, 1) if n % 10 == 0 else value(n)
            want += b"tail" if n % 10 == 1 else b""
            if n % 10 == 3:
                wrong += key(n) in found
            else:
                missing += key(n) not in found
                wrong += found.get(key(n), want) != want
    print(f"{wrong} wrong, {missing} missing")


def one_client(path, number, scale, errors):
    """Keys of its own, changed at random and checked; a counter of everybody's."""
    client = Client(path)
    rng = random.Random(number)
    mine = {}
    for turn in range(1500 * scale):
        name = b"%d:%d" % (number, rng.randrange(200))
        if rng.random() < 0.4:
            mine[name] = value(rng.randrange(5000))
            if client.store(b"set", name, mine[name]) != b"STORED":
                errors.append(name)
        else:
            found = client.get([name]).get(name)
            if found is not None and found != mine.get(name):
                errors.append(name)
        client.command(b"incr shared 1")
        if turn % 100 == 99:
            client.socket.close()
            client = Client(path)


def clients(path, scale):
    """Twelve clients at once, who come and go."""
    Client(path).store(b"set", b"shared", b"0")
    errors = []
    threads = [threading.Thread(target=one_client, args=(path, n, scale, errors))
               for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("wrong", len(errors), "counter", Client(path).get([b"shared"]))


def evict(path, scale):
    """More than fits: what is found is right, and the newest is found."""
    client = Client(path)
    wrong = 0
    for n in range(12000 * scale):
        assert client.store(b"set", key(n), value(n)) == b"STORED"
        if n % 7 == 0:
            old = max(0, n - 3000)
            wrong += client.get([key(old)]).get(key(old), value(old)) != value(old)
    last = key(12000 * scale - 1)
    big = random.Random(1).randbytes(200000)
    stored = client.store(b"set", b"big", big)
    print("wrong", wrong, "newest", last in client.get([last]), stored,
          client.get([b"big"]).get(b"big") == big)


if __name__ == "__main__":
    globals()[sys.argv[2]](sys.argv[1], int(sys.argv[3]))
