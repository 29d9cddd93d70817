#!/bin/bash
# SPDX-License-Identifier: MIT
# git -- builds a history, clones, repacks, checks; hashes must be the same with the library.
. "$(dirname "$0")/lib.sh"
need git awk

write_version() {
    awk -v v="$1" -v n=$((60 * SCALE)) 'BEGIN { for (i = 0; i < n; i++) {
        file = "source" i ".txt"
        if (i % 7 != v % 7 && v > 0) continue
        for (j = 0; j < 300; j++)
            print "line", j, "of file", i, (j % 11 == v % 11 ? "version " v : "stays"), j * i >file
        close(file) } }'
}

scenario() {
    local v
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    export GIT_CONFIG_NOSYSTEM=1
    cd "$SCRATCH"
    git init -q -b main first
    cd first
    git config gc.auto 0
    git config pack.threads 1
    for v in 0 1 2 3 4 5 6 7; do
        write_version "$v"
        git add .
        GIT_AUTHOR_DATE="@$((1700000000 + v)) +0000" \
            GIT_COMMITTER_DATE="@$((1700000000 + v)) +0000" git commit -q -m "version $v"
    done
    git log --stat --format='%H %s' | digest
    git log -p | digest
    git blame source3.txt | digest
    git gc -q --aggressive
    git count-objects -v | grep -v '^size'
    sha256sum .git/objects/pack/*.pack | digest
    git fsck --full --strict
    cd ..
    git clone -q --no-local first second
    git -C second fsck --full
    git -C second -c pack.threads=4 repack -q -a -d -f
    git -C second rev-list --objects --all | digest
    git -C second fsck --full
    diff -r --exclude=.git first second && echo "the clone is the same"
    git -C first archive --format=tar HEAD | digest
}

compare "$@"
