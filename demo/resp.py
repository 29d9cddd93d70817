# SPDX-License-Identifier: MIT
"""resp -- a small Redis client: pipelined SET, GET and DEL over a unix socket.

It answers with raw bytes and raises RespError for whatever is not the reply a command must have.
Nothing is retried: a server that hangs or dies is a finding, not an accident to smooth over.
"""

import socket
import time

BATCH_BYTES = 256 * 1024
BATCH_KEYS = 128


class RespError(Exception):
    """The server is gone, silent, or answered something else than it should."""


def encode(*words):
    """One command in RESP, as bytes."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)


class Client:
    """One connection. Not for use by two threads at once."""

    def __init__(self, path, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb", buffering=1 << 20)

    def close(self):
        """Drop the connection."""
        self.stream.close()
        self.socket.close()

    def send(self, data):
        """Send encoded commands; their replies are to be fetched with reply()."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise RespError(f"cannot send to the server: {error}") from error

    def reply(self):
        """The next reply: bytes, int, or None for a null bulk string."""
        try:
            return self._reply()
        except OSError as error:
            raise RespError(f"no answer from the server: {error}") from error

    def _reply(self):
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise RespError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return self._bulk(int(rest))
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        raise RespError(f"unexpected reply: {line[:200]!r}")

    def _bulk(self, length):
        if length < 0:
            return None
        data = self.stream.read(length + 2)
        if len(data) != length + 2:
            raise RespError("the server closed the connection")
        return data[:-2]

    def call(self, *words):
        """Send one command and return its reply."""
        self.send(encode(*words))
        return self.reply()

    def set_many(self, pairs, on_progress=None):
        """Pipelined SET of (key, value) pairs; returns how many there were."""
        batch, size, count, total = [], 0, 0, 0
        for key, value in pairs:
            batch.append(encode(b"SET", key, value))
            size += len(value)
            count += 1
            if size >= BATCH_BYTES:
                total += self._flush_sets(batch)
                batch, size = [], 0
                if on_progress:
                    on_progress(count)
        return total + self._flush_sets(batch)

    def _flush_sets(self, batch):
        self.send(b"".join(batch))
        for _ in batch:
            answer = self.reply()
            if answer != b"OK":
                raise RespError(f"SET was answered {answer!r}")
        return len(batch)

    def get_many(self, keys):
        """Pipelined GET: yields one value (or None) per key, in order."""
        for start in range(0, len(keys), BATCH_KEYS):
            part = keys[start:start + BATCH_KEYS]
            self.send(b"".join(encode(b"GET", key) for key in part))
            for _ in part:
                yield self.reply()

    def get_timed(self, key):
        """One GET; returns (value, nanoseconds for the round trip)."""
        command = encode(b"GET", key)
        start = time.perf_counter_ns()
        self.send(command)
        value = self.reply()
        return value, time.perf_counter_ns() - start

    def delete_many(self, keys):
        """Pipelined DEL; returns how many keys the server says it removed."""
        removed = 0
        for start in range(0, len(keys), BATCH_KEYS):
            part = keys[start:start + BATCH_KEYS]
            removed += self.call(b"DEL", *part)
        return removed
