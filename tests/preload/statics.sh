#!/bin/bash
# SPDX-License-Identifier: MIT
# statics -- a C++ program's objects before main and after it, of threads, and of exceptions.
. "$(dirname "$0")/lib.sh"
need g++

scenario() {
    plain g++ -std=c++17 -O1 -pthread "$HERE/statics.cc" -o "$SCRATCH/statics"
    "$SCRATCH/statics"
    "$SCRATCH/statics" | grep -c right
}

compare "$@"
