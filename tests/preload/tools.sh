#!/bin/bash
# SPDX-License-Identifier: MIT
# tools -- find, sort (parallel, with temporary files), tar, grep, awk, sed, gzip on many files.
. "$(dirname "$0")/lib.sh"
need find sort tar grep awk sed gzip

make_files() {
    awk -v n=$((400 * SCALE)) 'BEGIN { for (i = 0; i < n; i++) {
        file = sprintf("tree/%02d/file %d", i % 20, i)
        for (j = 0; j < 60; j++)
            printf "%d %d word%d and some text\n", (i * 7919 + j * 104729) % 1000003, j,
                i * j % 97 >file
        close(file) } }'
}

scenario() {
    mkdir tree
    (cd tree && mkdir $(seq -w 0 19))
    make_files
    find tree -type f -size +1k -name '*7' -print | sort >found
    find tree -type f -exec cat {} + | sort -n --parallel=4 -S 512K | uniq -c >sorted
    find tree -type f -print0 | sort -z | xargs -0 cat | sort -k3,3 -k1,1n --parallel=2 >by-word
    LC_ALL=C.UTF-8 sort -u by-word | digest
    grep -rc 'word4[0-9]' tree | sort >counts
    grep -rhoE '(word[0-9]+).*text' tree | sort | uniq -c | sort -rn | head -n 20
    awk '{ sum[$3] += $1; text[$3] = text[$3] $2 } END { for (w in sum)
        print w, sum[w], length(text[w]) }' by-word | sort >sums
    sed -E 's/([0-9]+) ([0-9]+)/\2 \1/; s/word/term/g' by-word >swapped
    find tree -print0 | LC_ALL=C sort -z |
        tar --no-recursion --owner=0 --group=0 --mtime=@0 --mode=755 -cf tree.tar --null -T -
    gzip -n -k tree.tar
    tar -xzf tree.tar.gz -C "$SCRATCH"
    diff -r tree "$SCRATCH/tree"
    tar -tvf tree.tar | digest
    gzip -dc tree.tar.gz | cmp - tree.tar
    comm -12 <(sort sorted) <(sort sorted) | wc -l
}

compare "$@"
