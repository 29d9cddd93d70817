#!/bin/bash
# SPDX-License-Identifier: MIT
# xz -- compresses and expands with one thread and with several.
. "$(dirname "$0")/lib.sh"
need xz awk

scenario() {
    awk -v n=$((60000 * SCALE)) 'BEGIN { for (i = 0; i < n; i++)
        printf "%d record %d value %d %s\n", i, i * 7919 % 100003, i * i % 65537,
            (i % 3 ? "the quick brown fox" : "jumps over it") }' >data
    xz -T1 -6 -k -c data >one.xz
    xz -T4 --block-size=512KiB -3 -k -c data >many.xz
    xz -T4 -dc many.xz | cmp - data
    xz -dc one.xz | cmp - data
    xz -t one.xz many.xz
    xz --robot -l one.xz | tail -n 1 | cut -f 2-5
    head -c 1000 one.xz >short.xz
    xz -t short.xz 2>/dev/null || echo "a short file is refused"
}

compare "$@"
