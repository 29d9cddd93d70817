#!/bin/bash
# SPDX-License-Identifier: MIT
# clang -- compiles template-heavy code (its heap comes from malloc); objects must be identical.
. "$(dirname "$0")/lib.sh"
need clang++

scenario() {
    cp "$HERE/templates.cc" .
    [ "$SCALE" -lt 2 ] || clang++ -std=c++17 -O2 -c templates.cc -o optimised.o
    clang++ -std=c++17 -O1 templates.cc -o templates
    ./templates $((2000 * SCALE))
}

compare "$@"
