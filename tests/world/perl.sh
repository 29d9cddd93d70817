#!/bin/bash
# SPDX-License-Identifier: MIT
# perl -- large data, threads (each a copy of the whole interpreter), forks, its library compiled.
. "$(dirname "$0")/lib.sh"
need perl
version "$(perl -e 'print "perl $^V"')"

step_threads() {
    under perl "$HERE/perl_work.pl" threads "$SCALE"
}

step_data() {
    under perl "$HERE/perl_work.pl" data "$SCALE"
}

step_forks() {
    under perl "$HERE/perl_work.pl" forks "$SCALE"
}

# Its own compiler over its own library: every module is parsed and its tree walked.
step_library() {
    local file
    (cd "$(perl -MConfig -e 'print $Config{privlibexp}')" &&
        find -L . -name '*.pm' -size +2k | sort | awk 'NR % 6 == 0' | head -n $((60 * SCALE))) \
        >"$SCRATCH/modules"
    while read -r file; do
        echo "$file $(under perl -MO=Concise,-exec "$(perl -MConfig -e 'print
            $Config{privlibexp}')/$file" 2>/dev/null | sed 's/0x[0-9a-f]*//g' | digest)"
    done <"$SCRATCH/modules"
}

# Documentation formatted from its sources.
step_pod() {
    local page
    for page in CPAN Pod::Simple Test::More Math::BigInt File::Copy IO::Socket::IP perl5db; do
        page=$(perl -MPod::Simple::Search -e 'print Pod::Simple::Search->new->find(@ARGV)' \
            "$page")
        [ -e "$page" ] || continue
        under pod2text "$page" | digest
        under pod2man --date=x "$page" | digest
    done
}

steps threads forks data pod library
