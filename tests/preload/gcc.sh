#!/bin/bash
# SPDX-License-Identifier: MIT
# gcc -- compiles a big generated C file several ways; objects must be byte-identical.
. "$(dirname "$0")/lib.sh"
need gcc awk

write_source() {
    awk -v n="$1" 'BEGIN {
        print "#include <stdio.h>\n#include <string.h>\nstruct node { struct node *next;"
        print "    int value; char name[24]; double weight[4]; };"
        for (i = 0; i < n; i++) {
            printf "static const int table_%d[] = {", i
            for (j = 0; j < 40; j++) printf " %d,", (i * 7919 + j * 104729) % 65521
            print " };"
            printf "int f_%d(struct node *n, int a, int b)\n{\n    int s = %d;\n", i, i
            print "    for (struct node *p = n; p; p = p->next)\n        switch (p->value % 8) {"
            for (j = 0; j < 8; j++)
                printf "        case %d: s += table_%d[(a + %d) %% 40] * %s; break;\n", j, i,
                    i * j % 31, (j % 2 ? "b" : "(int)p->weight[1]")
            printf "        }\n    return s ^ (int)strlen(n ? n->name : \"name %d\")", i
            printf "%s;\n}\n", (i ? " + f_" (i - 1) "(n, b, a / 2)" : "")
        }
        printf "int main(void)\n{\n    printf(\"%%d\\n\", f_%d(0, 3, 4));\n}\n", n - 1 }' >big.c
}

scenario() {
    write_source $((90 * SCALE))
    gcc -O2 -c big.c -o big-O2.o
    gcc -O0 -g -c big.c -o big-g.o
    gcc -O1 -S big.c -o big.s
    gcc -O1 -pipe -flto -Wl,--build-id=sha1 big.c -o big -flto-partition=one -frandom-seed=1
    ./big
    echo 'int main(void) { return missing; }' >bad.c
    gcc -c bad.c 2>messages || echo "bad.c is refused"
}

compare "$@"
