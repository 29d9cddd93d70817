#!/bin/bash
# SPDX-License-Identifier: MIT
# gxx -- g++ compiles template-heavy code; objects must be byte-identical.
. "$(dirname "$0")/lib.sh"
need g++

scenario() {
    cp "$HERE/templates.cc" .
    [ "$SCALE" -lt 2 ] || g++ -std=c++17 -O2 -c templates.cc -o optimised.o
    g++ -std=c++17 -O1 templates.cc -o templates
    ./templates $((2000 * SCALE))
    echo '#include <map>
        int main() { std::map<int, int> m; m.insert("no"); }' >bad.cc
    g++ -std=c++17 -c bad.cc 2>messages || echo "bad.cc is refused"
}

compare "$@"
