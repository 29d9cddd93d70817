#!/bin/bash
# SPDX-License-Identifier: MIT
# openssl -- digests, ciphers, primes, keys, certificates.
. "$(dirname "$0")/lib.sh"
need openssl

scenario() {
    local cipher hash
    seq 1 $((400000 * SCALE)) >data
    for hash in sha256 sha512 sha3-256 blake2b512 md5; do
        openssl dgst -"$hash" data
    done
    for cipher in aes-256-ctr aes-128-cbc chacha20 camellia-256-cbc; do
        openssl enc -"$cipher" -pbkdf2 -iter 1000 -nosalt -k secret -in data -out "data.$cipher"
        openssl enc -d -"$cipher" -pbkdf2 -iter 1000 -nosalt -k secret -in "data.$cipher" |
            cmp - data
    done
    openssl base64 -in data | openssl base64 -d | cmp - data
    openssl prime 1000000007 340282366920938463463374607431768211507
    cd "$SCRATCH"
    openssl genrsa -out key 2048 2>/dev/null
    openssl rsa -in key -check -noout 2>&1 | grep -i ok
    openssl dgst -sha256 -sign key -out signature "$OLDPWD/data"
    openssl rsa -in key -pubout -out public 2>/dev/null
    openssl dgst -sha256 -verify public -signature signature "$OLDPWD/data"
    openssl ecparam -name prime256v1 -genkey -noout -out curve
    openssl req -x509 -new -key curve -subj /CN=test -days 2 -out certificate
    openssl verify -CAfile certificate certificate
}

compare "$@"
