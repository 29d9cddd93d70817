#!/bin/bash
# SPDX-License-Identifier: MIT
# git -- hundreds of commits, branches, merges, a rebase, packs, garbage collection, clones, fsck.
. "$(dirname "$0")/lib.sh"
need git
version "$(git --version)"

# Dates and names are fixed: the same commands make the same objects.
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=b \
    GIT_COMMITTER_EMAIL=b@example.org GIT_AUTHOR_DATE="1600000000 +0000" \
    GIT_COMMITTER_DATE="1600000000 +0000" GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat

# A history made by fast-import: 60 files, most commits change three of them.
make_history() {
    under git init -q -b main "$SCRATCH/repo"
    awk -v commits=$((600 * SCALE)) '
        function text(file, at,   s, i) {
            s = ""
            for (i = 0; i < 120; i++)
                s = s sprintf("file %d line %d: %d\n", file, i,
                    (i * 31 + file) % (i % 40 == at % 40 ? at + 2 : 50))
            return s
        }
        BEGIN { for (c = 1; c <= commits; c++) {
            printf "commit refs/heads/main\nmark :%d\n", c
            printf "committer c <c@example.org> %d +0000\n", 1600000000 + c * 60
            message = "commit number " c "\n\nsome words about it\n"
            printf "data %d\n%s\n", length(message), message
            for (f = c; f < c + 3; f++) {
                t = text(f % 60, c)
                printf "M 100644 inline dir%d/file%d\ndata %d\n%s\n", f % 7, f % 60, length(t), t
            } } }' | under git -C "$SCRATCH/repo" fast-import --quiet
    cd "$SCRATCH/repo"
    under git checkout -q main
}

step_history() {
    make_history
    under git rev-parse HEAD
    under git log --stat --format='%H %s' | digest
    under git log -p -M -C --format='%H' -n 150 | digest
    under git blame -w -C dir0/file7 | digest
    under git shortlog -sn HEAD
    under git grep -n 'line 1[0-9]: 3' HEAD~5 | digest
    under git rev-list --objects --all | sort | digest
    under git diff --patience HEAD~300 HEAD | digest
    under git archive --format=tar HEAD | digest
}

step_pack() {
    make_history
    under git repack -q -a -d -f --depth=50 --window=20 --threads=4
    under git fsck --full --strict --no-progress 2>&1 | grep -v dangling || true
    under git count-objects -v | grep -E '^(count|in-pack|packs|garbage):'
    # Its last lines count chains of deltas: how long they get is the threads' luck.
    under git verify-pack -v .git/objects/pack/*.idx | awk 'length($1) == 40 { print $1, $2 }' |
        sort | digest
    under git gc -q --aggressive --prune=now
    under git multi-pack-index write 2>&1 | grep -i error || true
    under git commit-graph write --reachable --no-progress
    under git fsck --full --no-progress 2>&1 | grep -v dangling || true
    under git log --oneline --graph -- dir3 | digest
}

step_clone() {
    make_history
    under git clone -q --no-local "$SCRATCH/repo" "$SCRATCH/clone"
    under git -C "$SCRATCH/clone" fsck --no-progress
    under git clone -q --bare --depth 20 "file://$SCRATCH/repo" "$SCRATCH/shallow"
    under git -C "$SCRATCH/shallow" rev-list --count HEAD
    under git bundle create -q "$SCRATCH/all.bundle" --all
    under git clone -q "$SCRATCH/all.bundle" "$SCRATCH/bundled"
    under git -C "$SCRATCH/bundled" rev-parse HEAD
    cd "$SCRATCH/clone"
    for n in $(seq 20); do
        echo "$n" >>new
        under git add new
        under git commit -q -m "new $n"
    done
    under git push -q origin HEAD:refs/heads/pushed
    under git -C "$SCRATCH/repo" rev-parse pushed
    under git -C "$SCRATCH/repo" fsck --no-progress
}

step_branches() {
    local n
    make_history
    for n in 1 2 3 4; do
        under git checkout -q -b "topic$n" "main~$((n * 20))"
        for m in 1 2 3 4 5; do
            echo "topic $n change $m" >>"dir$n/topic$n"
            sed -i "$((m * 7))s/.*/topic $n/" "dir1/file1"
            under git add -A
            under git commit -q -m "topic $n $m"
        done
    done
    under git checkout -q main
    for n in 1 2; do
        under git merge -q -X ours -m "merge $n" "topic$n" >&2
    done
    under git rev-parse 'HEAD^{tree}'
    under git checkout -q topic3
    under git rebase -q -X theirs main >&2
    under git rev-parse HEAD
    under git merge-base main topic4
    under git cherry-pick -X theirs main..topic4 >&2
    under git rev-parse 'HEAD^{tree}'
    echo dirt >>dir2/file2
    under git stash -q
    under git stash pop -q
    under git diff --stat
    under git bisect start HEAD main~100 >&2
    under git bisect run sh -c '! grep -q "topic 3" dir1/file1' >&2
    under git bisect log | tail -n 1
    under git fsck --no-progress 2>&1 | grep -v dangling || true
}

steps pack history clone branches
