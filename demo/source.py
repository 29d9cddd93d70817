# SPDX-License-Identifier: MIT
"""source -- the demo's data: apt's package index and the text files of this system.

Every value is different from every other (by digest, while collecting), nothing is made up, and
all bytes stay in one temporary file that is mapped: what the servers answer is compared with the
bytes themselves. The same seed on the same system gives the same data.
"""

import array
import gzip
import hashlib
import json
import math
import mmap
import os
import random
import re
import subprocess
import tempfile
import zlib

MIN_PIECE = 300
MAX_PIECE = 8192
MAX_FILE = 8 << 20

# Where text is taken from, in this order, until there is enough.
TEXT_TREES = (
    ("text files", ("/usr/share", "/usr/include", "/usr/lib/python3", "/usr/lib/python3.*")),
    ("more text files", ("/usr/lib", "/usr/src", "/usr/local", "/etc", "/opt", "/var/lib/dpkg")),
    ("compressed manuals", ("/usr/share/doc", "/usr/share/man", "/usr/share/info")),
    ("package descriptions", ("/var/lib/apt/lists",)),
    ("strings of programs", ("/usr/bin", "/usr/lib", "/usr/sbin")),
)
PRINTABLE = re.compile(rb"[\t\x20-\x7e]{8,}")


class Source:
    """Keys and values. Values live in a mapped temporary file, the rest in arrays."""

    def __init__(self, directory, seed):
        self.random = random.Random(seed)
        self.file = tempfile.TemporaryFile(dir=directory)
        self.map = None
        self.keys = []
        self.starts = array.array("Q", [0])
        self.digests = set()
        self.notes = []

    def __len__(self):
        return len(self.keys)

    @property
    def size_bytes(self):
        """Bytes of all values together."""
        return self.starts[-1]

    def value(self, index):
        """The exact bytes of a value."""
        return self.map[self.starts[index]:self.starts[index + 1]]

    def pairs(self):
        """All (key, value), in order."""
        for index, key in enumerate(self.keys):
            yield key, self.value(index)

    def close(self):
        """Give the temporary file back."""
        if self.map is not None:
            self.map.close()
        self.file.close()

    def collect(self, size_bytes, record_step=1):
        """Gather values up to size_bytes: package records first, then text."""
        before = len(self)
        for name, record in package_records():
            if self.random.random() * record_step < 1:
                self._add(b"pkg:" + name, record)
        self.notes.append(("package records", len(self) - before, self.size_bytes))
        seen_files = set()
        for title, trees in TEXT_TREES:
            if self.size_bytes < size_bytes:
                self._collect_text(title, trees, size_bytes, seen_files)
        self.digests = None
        self.file.flush()
        self.map = mmap.mmap(self.file.fileno(), 0, prot=mmap.PROT_READ)

    def _add(self, key, value):
        digest = hashlib.blake2b(value, digest_size=16).digest()
        if digest in self.digests:
            return
        self.digests.add(digest)
        self.file.write(value)
        self.keys.append(b"%b:%d" % (key, len(self.keys)))
        self.starts.append(self.starts[-1] + len(value))

    def _collect_text(self, title, trees, size_bytes, seen_files):
        count, size = len(self), self.size_bytes
        reader = {"compressed manuals": read_gzip, "strings of programs": read_strings}
        read = reader.get(title, read_text)
        files = list_files(trees)
        self.random.shuffle(files)
        for path in files:
            if self.size_bytes >= size_bytes:
                break
            text = read(path)
            digest = hashlib.blake2b(text, digest_size=16).digest()
            if len(text) >= MIN_PIECE and digest not in seen_files:
                seen_files.add(digest)
                self._cut(path, text)
        if len(self) > count:
            self.notes.append((title, len(self) - count, self.size_bytes - size))

    def _cut(self, path, text):
        """Cut a file into pieces; sizes are spread evenly over the orders of magnitude."""
        key = b"text:" + os.path.basename(path)
        start, spread = 0, math.log(MAX_PIECE / MIN_PIECE)
        while len(text) - start >= MIN_PIECE:
            length = int(MIN_PIECE * math.exp(self.random.random() * spread))
            piece = text[start:start + length]
            if len(piece) >= MIN_PIECE:
                self._add(key, piece)
            start += length


def package_records():
    """Every record of apt's index as (name, JSON bytes)."""
    with subprocess.Popen(["apt-cache", "dumpavail"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as apt:
        lines = []
        for line in apt.stdout:
            if line != b"\n":
                lines.append(line)
            elif lines:
                yield record_as_json(lines)
                lines = []
        if lines:
            yield record_as_json(lines)


def record_as_json(lines):
    """One record's lines as (package name, JSON object in bytes)."""
    fields, last = {}, None
    for line in lines:
        text = line.decode("utf-8", "replace").rstrip("\n")
        if text[:1] in " \t" and last:
            fields[last] += "\n" + text.strip()
        else:
            last, _, rest = text.partition(":")
            fields[last] = rest.strip()
    name = fields.get("Package", "?").encode()
    return name, json.dumps(fields, ensure_ascii=False).encode()


def list_files(trees):
    """Regular files below the trees, as byte paths, sorted; links are not followed."""
    files = []
    for tree in expand(trees):
        for directory, _, names in os.walk(os.fsencode(tree)):
            files.extend(os.path.join(directory, name) for name in names)
    files.sort()
    return files


def expand(trees):
    """Trees with a star in their last part replaced by what is there."""
    for tree in trees:
        head, tail = os.path.split(tree)
        if "*" not in tail:
            yield tree
            continue
        prefix = tail.rstrip("*")
        for name in sorted(os.listdir(head) if os.path.isdir(head) else []):
            if name.startswith(prefix):
                yield os.path.join(head, name)


def read_raw(path):
    """A regular file of sensible size, or nothing."""
    try:
        if os.path.islink(path) or not MIN_PIECE <= os.path.getsize(path) <= 8 * MAX_FILE:
            return b""
        with open(path, "rb") as stream:
            return stream.read(MAX_FILE)
    except OSError:
        return b""


def only_text(data):
    """The data if it is text (UTF-8, no NUL), or nothing."""
    if b"\0" in data:
        return b""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        # A file cut at MAX_FILE may end within a character.
        if error.start < len(data) - 4:
            return b""
    return data


def read_text(path):
    """A text file, or nothing."""
    return only_text(read_raw(path))


def read_gzip(path):
    """The text inside a .gz file, or nothing."""
    if not path.endswith(b".gz"):
        return b""
    try:
        return only_text(gzip.decompress(read_raw(path))[:MAX_FILE])
    except (OSError, EOFError, ValueError, zlib.error):
        return b""


def read_strings(path):
    """The printable runs of a binary file, a line each, as strings(1) shows them."""
    data = read_raw(path)
    return b"\n".join(PRINTABLE.findall(data)) if b"\0" in data else b""
