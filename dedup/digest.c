/* SPDX-License-Identifier: MIT */
/*
 * digest -- see digest.h.
 *
 * Locks: none.  May sleep: no.  May fault: only on the bytes given.  Allocates: nothing.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#include "dedup/digest.h"
#include "os/os.h"

#define GLANCES ((size_t)8)
#define GLANCE_BYTES ((size_t)16)

_Static_assert(ZA_DIGEST_SECRET_BYTES >= XXH3_SECRET_SIZE_MIN, "the secret is long enough");

int za_digest_open(struct za_digest *d)
{
    return za_os->random(d->secret, sizeof(d->secret));
}

uint64_t za_digest_tag(const struct za_digest *d, const void *page, size_t len)
{
    XXH128_hash_t h = XXH3_128bits_withSecret(page, len, d->secret, sizeof(d->secret));
    uint64_t tag = h.low64 ^ h.high64;

    return tag == ZA_TAG_NONE ? 1 : tag;
}

uint64_t za_digest_glance(const struct za_digest *d, const void *page, size_t len)
{
    const char *p = page;
    char some[GLANCES * GLANCE_BYTES];
    size_t step = len / GLANCES;

    ZA_DASSERT(step >= GLANCE_BYTES);
    for (size_t i = 0; i < GLANCES; i++)
        memcpy(some + i * GLANCE_BYTES, p + i * step + (step - GLANCE_BYTES) / 2, GLANCE_BYTES);
    return XXH3_64bits_withSecret(some, sizeof(some), d->secret, sizeof(d->secret));
}
