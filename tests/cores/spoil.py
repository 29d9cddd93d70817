# SPDX-License-Identifier: MIT
"""spoil -- overwrites compressed pages of a running victim, so that bringing them back is fatal.

usage: spoil.py PID      prints how many places were spoilt; the heap itself is left alone

The words of victim's pattern stand in the store as they are, once in each blob. Only pages that
/proc/PID/mem reads can be spoilt: the heap's own are out.
"""
import re
import sys

PAGE = 4096
WORDS = b'user:session='


def main():
    pid, places = sys.argv[1], 0
    maps = open('/proc/%s/maps' % pid).read()
    with open('/proc/%s/mem' % pid, 'r+b', buffering=0) as mem:
        for line in maps.splitlines():
            m = re.match(r'([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0\s*$', line)
            if not m:
                continue
            for at in range(int(m.group(1), 16), int(m.group(2), 16), PAGE):
                try:
                    mem.seek(at)
                    page = mem.read(PAGE)
                except OSError:
                    continue
                if page and 0 < page.count(WORDS) < 8:
                    mem.seek(at)
                    mem.write(page.replace(WORDS, b'U' * len(WORDS)))
                    places += 1
    print(places)


main()
