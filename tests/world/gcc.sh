#!/bin/bash
# SPDX-License-Identifier: MIT
# gcc -- compiles as large as a compiler's own: SQLite in one file, templates by the thousand, this
# repository, link time optimisation; every object must be the same to the byte.
. "$(dirname "$0")/lib.sh"
need gcc g++ make
version "$(gcc --version)"
ROOT=$(dirname "$(dirname "$HERE")")
SOURCES=$ROOT/build/world-sources

# The directory has another name in every run, and must not get into an object.
SAME=-ffile-prefix-map=${SCRATCH:-}=.

# Digests of what a compile leaves behind.
sums() {
    local file
    for file in "$@"; do
        echo "${file##*/} $(digest <"$file")"
    done
}

# SQLite's single source file, 250,000 lines, comes inside a package of the npm registry.
fetch_sqlite() {
    [ -e "$SOURCES/sqlite3.c" ] && return
    command -v npm >/dev/null || return 1
    mkdir -p "$SOURCES"
    (cd "$SCRATCH" && timeout -k 2 120 npm pack --silent better-sqlite3@11.5.0 >&2 &&
        tar -xzf better-sqlite3-*.tgz && cp package/deps/sqlite3/sqlite3.[ch] "$SOURCES")
}

step_sqlite() {
    fetch_sqlite || { echo "its source is not to be had" >&2; exit 77; }
    cp "$SOURCES"/sqlite3.[ch] .
    under gcc "$SAME" -O2 -g -DSQLITE_ENABLE_FTS5 -c sqlite3.c -o two.o
    under gcc "$SAME" -O0 -fsanitize=undefined -c sqlite3.c -o zero.o
    sums two.o zero.o
}

step_templates() {
    cp "$HERE/../preload/templates.cc" .
    cat >all.cc <<'END'
#include <bits/stdc++.h>
template <int N> struct fold { static constexpr long v = fold<N - 1>::v * 31 % 1000003 + N; };
template <> struct fold<0> { static constexpr long v = 1; };
template <int N> std::map<std::string, std::set<std::array<int, N + 1>>> nested()
{
    std::map<std::string, std::set<std::array<int, N + 1>>> m;
    m[std::to_string(N)].insert({N});
    std::regex r("[a-z]+" + std::to_string(N));
    if constexpr (N > 0)
        for (auto &[k, v] : nested<N - 1>())
            m[k + (std::regex_match(k, r) ? "y" : "n")].insert({int(v.size())});
    return m;
}
int main()
{
    std::cout << nested<24>().size() << ' ' << fold<800>::v << '\n';
}
END
    under g++ "$SAME" -std=c++20 -O2 -g -c templates.cc -o templates.o
    under g++ "$SAME" -std=c++20 -O2 -g -c all.cc -o all.o
    sums templates.o all.o
    g++ all.o -o all && ./all
}

# This repository, by make with two jobs, the linker and ar included.
step_self() {
    mkdir tree
    (cd "$ROOT" && tar -cf - Makefile preload.c base os compress dedup pager alloc preload tool \
        include tests/fake tests/unit) | tar -xf - -C tree
    under make -s -j2 -C tree BUILD=out EXTRA="$SAME" >&2
    find tree/out -name '*.o' | sort | xargs sha256sum | digest
    find tree/out -name '*.o' | wc -l
}

step_lto() {
    local n
    for n in $(seq 40); do
        awk -v n="$n" 'BEGIN { for (i = 0; i < 120; i++)
            printf "int f%d_%d(int x) { int s = %d; for (int k = 0; k < x; k++) %s %s }\n",
                n, i, i, "s += k * " n + i " ^ s;",
                i ? "return s + f" n "_" i - 1 "(x % 9);" : "return s;"
            printf "extern int f%d_119(int);\n", n % 40 + 1 }' >"$n.c"
        echo "int g$n(int x) { return f${n}_119(x) +" \
            "(x > 99 ? f$((n % 40 + 1))_119(x / 2) : 0); }" >>"$n.c"
    done
    {
        for n in $(seq 40); do echo "int g$n(int);"; done
        echo '#include <stdio.h>'
        echo 'int main(void) { int s = 0;'
        for n in $(seq 40); do echo "s += g$n($n);"; done
        echo 'printf("%d\n", s); return 0; }'
    } >main.c
    under gcc -O2 -flto=2 -fno-strict-overflow -fwrapv *.c -o whole
    ./whole
    under objdump -d whole | sed 1,4d | digest
}

step_clang() {
    command -v clang >/dev/null || exit 77
    cp "$HERE/../preload/templates.cc" .
    under clang++ "$SAME" -std=c++17 -O2 -g -c templates.cc -o templates.o
    sums templates.o
    if [ -e "$SOURCES/sqlite3.c" ]; then
        cp "$SOURCES"/sqlite3.[ch] .
        under clang "$SAME" -O1 -c sqlite3.c -o one.o
        sums one.o
    fi
}

steps sqlite templates self lto clang
