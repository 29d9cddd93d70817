/* SPDX-License-Identifier: MIT */
/*
 * chacha -- the stream cipher ChaCha20 of RFC 8439, at any place of a stream.
 *
 * No authentication: what comes back from a file is compared with its checksum, which is against
 * damage, not against an attacker who may write to the file.
 *
 * Locks: none.  May sleep: no.  May fault: only on the bytes given.  Allocates: nothing.
 */
#ifndef ZA_COMPRESS_CHACHA_H
#define ZA_COMPRESS_CHACHA_H

#include "base/base.h"

#define ZA_CHACHA_KEY 32u
#define ZA_CHACHA_NONCE 12u

/*
 * XORs the stream's bytes [at, at + len) into p: encrypts and decrypts.  The block counter is 0 at
 * the stream's beginning, which ends at 256 GiB.
 */
void za_chacha20(const uint8_t key[ZA_CHACHA_KEY], const uint8_t nonce[ZA_CHACHA_NONCE],
                 uint64_t at, void *p, size_t len);

#endif
