# SPDX-License-Identifier: MIT
"""programs -- the programs of the bench: how each is started, filled, counted and ended.

A program is started under a `How`, filled with the bench's data, and then left alone: it must not
touch its memory by itself. What counts is the memory of pids().
"""

import collections
import contextlib
import ctypes
import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "demo"))

from resp import Client, encode  # noqa: E402

START_SECONDS = 240
DELETED_SHARE = 0.6
PR_SET_PDEATHSIG, PR_SET_MEMORY_MERGE = 1, 67
LIBC = ctypes.CDLL(None, use_errno=True)

# name, library to preload, whether the kernel may merge its pages (KSM).
How = collections.namedtuple("How", "name library merge")


class Unfit(Exception):
    """The program cannot run here, or has died."""


def jemalloc():
    """The system's libjemalloc, or None."""
    patterns = ("/usr/lib/*/libjemalloc.so.2", "/usr/lib*/libjemalloc.so.2")
    found = sorted(path for pattern in patterns for path in glob.glob(pattern))
    return found[0] if found else None


def need(*commands):
    """Paths of the commands; raises Unfit."""
    found = [shutil.which(c) for c in commands]
    if None in found:
        raise Unfit(f"{commands[found.index(None)]} is not installed")
    return found


def wait_for(ready, what):
    """Poll until ready() gives something; raises Unfit."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            value = ready()
        except OSError:
            value = None
        if value:
            return value
        time.sleep(0.05)
    raise Unfit(f"{what} does not come up")


class Program:
    """One program under one How. *Born* by start(), *dies* in stop()."""

    name = ""
    remark = ""

    def __init__(self, how, data, directory):
        self.how, self.data, self.directory = how, data, directory
        self.process = None
        self.files = []

    def path(self, name):
        """A path of this program's own."""
        slug = "".join(c for c in self.name if c.isalnum())
        return os.path.join(self.directory, f"{slug}-{self.how.name}-{name}")

    def environment(self):
        """The caller's, without what steers allocators: each library with its defaults."""
        unwanted = ("LD_PRELOAD", "ZALLOC_CONF", "MALLOC_CONF", "PYTHONMALLOC")
        env = {k: v for k, v in os.environ.items() if k not in unwanted}
        return {**env, "LD_PRELOAD": self.how.library}

    def spawn(self, argv, env=None, **streams):
        """Start argv under the How; it dies with the bench."""
        def prepare():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if self.how.merge and LIBC.prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) != 0:
                os._exit(125)
        log = open(self.path("log"), "ab")
        self.files.append(log)
        return subprocess.Popen(argv, env=env or self.environment(), preexec_fn=prepare,
                                start_new_session=True, stderr=log,
                                **{"stdin": subprocess.DEVNULL, "stdout": log, **streams})

    def start(self):
        """Run and fill it."""
        raise NotImplementedError

    def pids(self):
        """The processes whose memory counts."""
        return [self.process.pid]

    def check(self):
        """Raise Unfit if it has died."""
        if self.process.poll() is not None:
            raise Unfit(f"{self.name} under {self.how.name} has ended: status "
                        f"{self.process.returncode}")

    def stop(self):
        """Kill and collect; harmless if it is dead."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        for stream in self.files:
            stream.close()


class RedisStrings(Program):
    """Every value a string of its own."""

    name = "redis strings"

    def start(self):
        server, = need("redis-server")
        sock = self.path("socket")
        self.process = self.spawn(
            [server, "--port", "0", "--unixsocket", sock, "--dir", self.directory, "--save", "",
             "--appendonly", "no", "--daemonize", "no", "--activedefrag", "no"])
        self.client = wait_for(lambda: Client(sock), "redis-server")
        self.fill()
        # A client that is connected is looked at ten times a second, and its buffers with it.
        self.client.close()

    def fill(self):
        """Load the data."""
        self.client.set_many(self.data.pairs())


class RedisDeleted(RedisStrings):
    """Strings, and then a random share of the keys deleted."""

    name = "redis, 60 % deleted"

    def fill(self):
        super().fill()
        keys = list(self.data.keys)
        random.Random(1).shuffle(keys)
        self.client.delete_many(keys[:int(len(keys) * DELETED_SHARE)])


class RedisHashes(RedisStrings):
    """Every package record a hash of its fields."""

    name = "redis hashes"

    def fill(self):
        pending = 0
        for number, record in enumerate(self.data.records()):
            words = [w for pair in record.items() for w in pair]
            self.client.send(encode(b"HSET", b"pkg:%d" % number, *words))
            pending += 1
            while pending > 100:
                self.client.reply()
                pending -= 1
        for _ in range(pending):
            self.client.reply()


class Memcached(Program):
    """Every third value an item."""

    name = "memcached"

    def start(self):
        server, = need("memcached")
        sock = self.path("socket")
        user = ["-u", "root"] if os.getuid() == 0 else []
        self.process = self.spawn([server, "-s", sock, *user, "-m", "2048", "-t", "2"])
        connection = socket.socket(socket.AF_UNIX)
        wait_for(lambda: os.path.exists(sock) and connection.connect(sock) is None, "memcached")
        for number, (_, value) in enumerate(self.data.some_pairs()):
            connection.sendall(b"set k%d 0 0 %d noreply\r\n%b\r\n" % (number, len(value), value))
        connection.sendall(b"version\r\n")
        if not connection.recv(100).startswith(b"VERSION"):
            raise Unfit("memcached refuses values")
        connection.close()


class Fed(Program):
    """A program that reads lines from standard input and says "ready" when it has them all."""

    def feed(self, argv, lines, env=None):
        """Run it and give it the lines; standard input stays open."""
        self.process = self.spawn(argv, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.files += [self.process.stdin, self.process.stdout]
        try:
            for line in lines:
                self.process.stdin.write(line)
            self.process.stdin.flush()
        except OSError as error:
            raise Unfit(f"{self.name}: {error}") from error
        if self.process.stdout.readline().strip() != b"ready":
            raise Unfit(f"{self.name} did not get ready")

    def stop(self):
        with contextlib.suppress(BrokenPipeError):
            super().stop()


class Sqlite(Fed):
    """The sqlite3 shell with a database in memory."""

    name = "sqlite in memory"

    def start(self):
        shell, = need("sqlite3")
        self.feed([shell, ":memory:"], self.statements())

    def statements(self):
        """What fills it."""
        yield b"PRAGMA cache_size=-4000000;\nCREATE TABLE t(k TEXT PRIMARY KEY, v TEXT);\nBEGIN;\n"
        for key, value in self.data.some_pairs():
            yield b"INSERT INTO t VALUES('%b','%b');\n" % (
                key.replace(b"'", b"''"), value.replace(b"'", b"''").replace(b"\0", b""))
        yield b"COMMIT;\nSELECT 'ready';\n"


PYTHON = """
import json, sys
kept = []
for line in sys.stdin.buffer:
    if line == b'end\\n':
        break
    kept.append(json.loads(line))
print('ready', flush=True)
sys.stdin.buffer.readline()
"""


class Python(Fed):
    """Parsed JSON; every object through malloc."""

    name = "python3, parsed JSON"
    remark = "PYTHONMALLOC=malloc"

    def start(self):
        env = {**self.environment(), "PYTHONMALLOC": "malloc"}
        lines = (line + b"\n" for line in self.data.json_lines())
        self.feed([os.path.realpath(sys.executable), "-c", PYTHON], self.ended(lines), env)

    @staticmethod
    def ended(lines):
        """The lines, and the one that says that there are no more."""
        yield from lines
        yield b"end\n"


class Pymalloc(Python):
    """The same with Python's own allocator, whose arenas come from mmap."""

    name = "python3 as it comes"
    remark = "its own allocator, whose arenas come from mmap"

    def start(self):
        lines = (line + b"\n" for line in self.data.json_lines())
        self.feed([os.path.realpath(sys.executable), "-c", PYTHON], self.ended(lines))


PERL = r"""
while (<STDIN>) {
    chomp;
    last if $_ eq 'end';
    my ($key, %fields) = split /\t/, $_, -1;
    $kept{$key} = {%fields};
}
$| = 1;
print "ready\n";
<STDIN>;
"""


class Perl(Fed):
    """A hash of hashes."""

    name = "perl, hash of hashes"

    def start(self):
        perl, = need("perl")
        self.feed([perl, "-e", PERL], Python.ended(self.lines()))

    def lines(self):
        """Key, field, value, field, value ..."""
        for number, record in enumerate(self.data.records()):
            words = [b"%d" % number] + [w for pair in record.items() for w in pair]
            yield b"\t".join(w.replace(b"\t", b" ").replace(b"\n", b" ") for w in words) + b"\n"


CXX = """
#include <algorithm>
#include <functional>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>
template <int N> struct each {
    std::map<std::string, std::vector<each<N> *>> m;
    std::unordered_map<std::string, std::function<int(int)>> f;
    int run(const std::string &s) {
        f[s] = [this](int x) { return x + N + (int)m.size(); };
        for (auto &e : m) std::sort(e.second.begin(), e.second.end());
        std::ostringstream o;
        o << std::regex_replace(s, std::regex("a+"), "b") << f[s](N);
        return (int)o.str().size() + each<N - 1>().run(s);
    }
};
template <> struct each<0> { int run(const std::string &) { return 0; } };
int use(const std::string &s) { return each<COUNT>().run(s); }
"""


class Compiler(Program):
    """g++ in the middle of writing its assembly, to a pipe that nobody empties."""

    name = "g++, in mid-compile"

    def start(self):
        cxx, = need("g++")
        source, fifo = self.path("x.cc"), self.path("fifo")
        with open(source, "w", encoding="ascii") as f:
            f.write(CXX)
        compiler = subprocess.run([cxx, "-print-prog-name=cc1plus"], check=True,
                                  capture_output=True, text=True).stdout.strip()
        os.mkfifo(fifo)
        self.process = self.spawn(
            [compiler, "-quiet", "-imultiarch", "x86_64-linux-gnu", "-D_GNU_SOURCE",
             f"-DCOUNT={self.data.compile_depth}", "-O2", source, "-o", fifo])
        self.files.append(open(fifo, "rb"))
        wait_for(self.blocked, "the compiler's output")

    def blocked(self):
        """Does it wait for the pipe to be emptied?"""
        self.check()
        with open(f"/proc/{self.process.pid}/wchan", encoding="ascii") as f:
            return "pipe_write" in f.read()


class Postgres(Program):
    """Backends that hold a sort in memory."""

    name = "PostgreSQL, 3 sorts"

    backends = 3

    def start(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            raise Unfit("postgresql is not installed")
        os.environ["PATH"] += os.pathsep + found[-1]
        initdb, postgres, self.psql = need("initdb", "postgres", "psql")
        self.home, self.sessions = self.path("pg"), []
        os.mkdir(self.home, 0o777)
        os.chmod(self.home, 0o777)
        self.words = []
        if os.getuid() == 0:
            self.words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                          "--inh-caps=-all,+sys_ptrace", "--ambient-caps=-all,+sys_ptrace"]
        plain = {k: v for k, v in self.environment().items() if k != "LD_PRELOAD"}
        made = subprocess.run(
            [*self.words, initdb, "-D", f"{self.home}/data", "-A", "trust", "-U", "postgres", "-E",
             "UTF8", "--locale=C", "--no-sync"], env=plain, capture_output=True, cwd=self.home,
            check=False)
        if made.returncode:
            raise Unfit("initdb: " + made.stderr.decode()[-200:])
        self.process = self.spawn(
            [*self.words, postgres, "-D", f"{self.home}/data", "-c", "listen_addresses=", "-c",
             "fsync=off", "-c", "shared_buffers=16MB", "-c", "autovacuum=off", "-k", self.home],
            cwd=self.home)
        wait_for(lambda: self.accepts(plain), "postgres")
        self.fill(plain)

    def accepts(self, plain):
        """Is the server done with starting up?"""
        said = subprocess.run([self.psql, "-X", "-At", "-h", self.home, "-U", "postgres", "-c",
                               "SELECT 1"], env=plain, capture_output=True, check=False)
        return said.stdout.strip() == b"1"

    def session(self, plain):
        """A psql that reads commands from us."""
        return subprocess.Popen(
            [self.psql, "-X", "-q", "-At", "-h", self.home, "-U", "postgres", "-d", "postgres"],
            env=plain, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def fill(self, plain):
        """A table, and backends that sort it."""
        first = self.session(plain)
        self.sessions.append(first)
        first.stdin.write(b"CREATE UNLOGGED TABLE t(v text);\nCOPY t FROM STDIN;\n")
        for value in self.data.json_lines():
            first.stdin.write(value.replace(b"\\", b"\\\\") + b"\n")
        first.stdin.write(b"\\.\n")
        first.stdin.flush()
        if not self.answers(first):
            raise Unfit("postgres did not take the table")
        for number in range(self.backends):
            sorter = first if number == 0 else self.session(plain)
            if number:
                self.sessions.append(sorter)
            sorter.stdin.write(
                b"SET work_mem='1GB';\nBEGIN;\nDECLARE c CURSOR FOR "
                b"SELECT v FROM t ORDER BY md5(v || '%d');\nFETCH 1 FROM c \\g /dev/null\n" % number)
            sorter.stdin.flush()
            if not self.answers(sorter):
                raise Unfit("a backend did not sort")

    @staticmethod
    def answers(session):
        """Has it done all it was told?"""
        session.stdin.write(b"\\echo ready\n")
        session.stdin.flush()
        return session.stdout.readline().strip() == b"ready"

    def pids(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path, encoding="ascii") as f:
            return [self.process.pid] + [int(p) for p in f.read().split()]

    def stop(self):
        for session in self.sessions if hasattr(self, "sessions") else []:
            session.kill()
            with contextlib.suppress(BrokenPipeError):
                session.stdin.close()
            session.stdout.close()
            session.wait()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)  # its children go with it
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        super().stop()


PROGRAMS = (RedisStrings, RedisHashes, RedisDeleted, Memcached, Sqlite, Python, Pymalloc, Perl,
            Compiler, Postgres)
