#!/bin/bash
# SPDX-License-Identifier: MIT
# allocator -- a program with an allocator of its own, whose heap comes from mmap.
. "$(dirname "$0")/lib.sh"
need gcc
ldconfig -p | grep -q 'libjemalloc\.so\.2' || skip "libjemalloc.so.2 is not installed"

scenario() {
    plain gcc -O1 -pthread "$HERE/allocator.c" -o "$SCRATCH/allocator" -l:libjemalloc.so.2
    # Pages go back at once and after a while, as it is by itself.
    for decay in 0 1000 10000; do
        MALLOC_CONF=dirty_decay_ms:$decay "$SCRATCH/allocator"
    done
}

compare "$@"
