/* SPDX-License-Identifier: MIT */
/*
 * digest -- names a page by its bytes: a tag of 64 bits out of a 128-bit XXH3, under a secret.
 *
 * Equal bytes have equal tags; equal tags are a reason to compare bytes, never to believe.  The
 * secret is drawn for each process, so that nobody outside can prepare different pages of one tag
 * and make us compare for ever.
 *
 * Locks: none.  May sleep: no.  May fault: only on the bytes given.  Allocates: nothing.
 */
#ifndef ZA_DEDUP_DIGEST_H
#define ZA_DEDUP_DIGEST_H

#include "base/base.h"

#define ZA_TAG_NONE 0u /* of a page that was not looked at */
#define ZA_DIGEST_SECRET_BYTES 192u

/* Constant once drawn. */
struct za_digest {
    _Alignas(64) unsigned char secret[ZA_DIGEST_SECRET_BYTES];
};

/* Draws the secret: 0, or -errno when the system has no random bytes for us. */
int za_digest_open(struct za_digest *d);
/* Never ZA_TAG_NONE. */
uint64_t za_digest_tag(const struct za_digest *d, const void *page, size_t len);
/*
 * A number by a few of the page's bytes, in a tenth of the time: who looks at one page in sixteen
 * chooses by it, and so chooses equal pages alike.
 */
uint64_t za_digest_glance(const struct za_digest *d, const void *page, size_t len);

#endif
