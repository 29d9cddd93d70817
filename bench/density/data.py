# SPDX-License-Identifier: MIT
"""data -- what the programs are filled with: the demo's records and texts."""

import itertools
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "demo"))

from source import Source, package_records  # noqa: E402

MIB = 1 << 20


class Data:
    """Values of `size` bytes in all, and package records of a third of that at most."""

    def __init__(self, directory, size):
        self.size = size
        self.source = Source(directory, 1)
        self.source.collect(size, max(1, 160 * MIB // size))
        self.keys = self.source.keys
        self.compile_depth = 8 if size < 100 * MIB else 16
        self.lines = []
        left = size // 3
        for _, line in package_records():
            self.lines.append(line)
            left -= len(line)
            if left < 0:
                break

    def pairs(self):
        """All (key, value)."""
        return self.source.pairs()

    def some_pairs(self):
        """A third of them, from all over."""
        return itertools.islice(self.source.pairs(), 0, None, 3)

    def json_lines(self):
        """Package records, each one line of JSON."""
        return iter(self.lines)

    def records(self):
        """The same, as dictionaries of bytes."""
        for line in self.lines:
            yield {k.encode(): str(v).encode() for k, v in json.loads(line).items()}

    def close(self):
        """Give the temporary file back."""
        self.source.close()
