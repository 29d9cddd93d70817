# SPDX-License-Identifier: MIT
"""server -- a real redis-server under a given allocator, and what it weighs.

The server listens on a unix socket only, keeps nothing on disk, and dies with the demo whatever
way the demo ends: stop() kills it, and the kernel does if the demo itself is killed.
"""

import collections
import ctypes
import os
import signal
import subprocess
import time

from resp import Client, RespError

START_SECONDS = 20
PR_SET_PDEATHSIG = 1

# What a process costs, in bytes: its proportional set size and its page tables.
Footprint = collections.namedtuple("Footprint", "pss page_tables")


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _field_kib(path, name):
    with open(path, "rb") as stream:
        for line in stream:
            if line.startswith(name):
                return int(line.split()[1])
    raise RespError(f"{path} has no line {name.decode()}")


class Server:
    """One redis-server. *Born* running, *dies* in stop()."""

    def __init__(self, name, program, library, directory):
        self.name = name
        self.library = os.path.realpath(library)
        self.socket_path = os.path.join(directory, f"{name}.sock")
        self.log_path = os.path.join(directory, f"{name}.log")
        command = [
            program, "--port", "0", "--unixsocket", self.socket_path, "--dir", directory,
            "--save", "", "--appendonly", "no", "--daemonize", "no", "--activedefrag", "no",
            "--dbfilename", f"{name}.rdb",
        ]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_die_with_parent)
        self.client = None

    def _environment(self):
        unwanted = ("LD_PRELOAD", "ZALLOC_CONF", "MALLOC_CONF")
        env = {key: value for key, value in os.environ.items() if key not in unwanted}
        env["LD_PRELOAD"] = self.library
        return env

    def connect(self):
        """Wait until the server answers, and check that it runs on the library asked for."""
        deadline = time.monotonic() + START_SECONDS
        while self.client is None:
            self.check_alive()
            try:
                self.client = Client(self.socket_path)
            except OSError:
                if time.monotonic() > deadline:
                    raise RespError(f"{self.name}: redis-server does not start") from None
                time.sleep(0.05)
        if self.client.call(b"PING") != b"PONG":
            raise RespError(f"{self.name}: redis-server does not answer PING")
        with open(f"/proc/{self.process.pid}/maps", encoding="utf-8") as maps:
            if self.library not in maps.read():
                raise RespError(f"{self.name}: {self.library} is not in the process")

    def check_alive(self):
        """Raise if the server has died; its last words go into the message."""
        code = self.process.poll()
        if code is None:
            return
        how = f"signal {-code}" if code < 0 else f"status {code}"
        raise RespError(f"the redis-server under {self.name} died ({how}):\n{self.last_words()}")

    def last_words(self, count=40):
        """The end of the server's log; if redis reported a crash, the head of that report."""
        with open(self.log_path, "r", encoding="utf-8", errors="replace") as log:
            lines = log.readlines()
        crash = next((i for i, line in enumerate(lines) if "BUG REPORT START" in line), None)
        start = max(crash - 8, 0) if crash is not None else max(len(lines) - count, 0)
        return "".join(lines[start:start + count])

    def footprint(self):
        """What the server weighs now: a Footprint."""
        self.check_alive()
        proc = f"/proc/{self.process.pid}"
        try:
            pss = _field_kib(f"{proc}/smaps_rollup", b"Pss:")
            tables = _field_kib(f"{proc}/status", b"VmPTE:")
        except OSError as error:
            raise RespError(f"{self.name}: cannot read its memory: {error}") from error
        return Footprint(pss * 1024, tables * 1024)

    def cpu_seconds(self):
        """Processor time used so far, by all threads."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stream:
            fields = stream.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Kill the server and collect it; harmless if it is dead already."""
        if self.client is not None:
            self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
