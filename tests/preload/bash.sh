#!/bin/bash
# SPDX-License-Identifier: MIT
# bash -- arrays, long strings, subshells, substitutions and here-documents in bash itself.
. "$(dirname "$0")/lib.sh"

fill_arrays() {
    local i
    declare -gA table
    for ((i = 0; i < 20000 * SCALE; i++)); do
        table["key $i"]="value $((i * i % 9973)) of $i"
        list[i]=$((i * 7919 % 100003))
    done
}

check_arrays() {
    local i sum=0
    for ((i = 0; i < 20000 * SCALE; i++)); do
        [ "${table["key $i"]}" = "value $((i * i % 9973)) of $i" ] || echo "wrong at $i"
        sum=$(((sum + list[i]) % 1000000007))
    done
    echo "arrays ${#table[@]} ${#list[@]} $sum"
}

scenario() {
    local i text="" copy
    fill_arrays
    for ((i = 0; i < 5000 * SCALE; i++)); do
        text+="line $i of a text that grows and grows;"
    done
    sleep 0.3
    copy=${text//line/LINE}
    echo "text ${#text} $(digest <<<"$text") $(digest <<<"$copy")"
    for ((i = 0; i < 40; i++)); do
        (check_last "$i" "${list[i * 100]}")
    done
    printf '%s\n' "${list[@]}" | sort -n | digest
    cat <(printf '%s' "${copy:1000:20}") <(echo) <<<"ignored"
    sleep 0.3
    check_arrays
    printf '%s\n' "${table[@]}" | sort >values
}

check_last() {
    local seen
    seen=$(echo "$2" | tr -d '\n')
    [ "$seen" = "$(($1 * 100 * 7919 % 100003))" ] || echo "wrong in subshell $1: $seen"
}

compare "$@"
