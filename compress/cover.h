/* SPDX-License-Identifier: MIT */
/*
 * cover -- chooses the pieces of a text that stand for most of it: a dictionary's content.
 *
 * Every 8 bytes of the text are a word; a word is worth how often it comes again.  The text is cut
 * into stretches; from each in turn the segment of ZA_COVER_SEGMENT bytes with the greatest worth
 * is taken and its words are worth nothing from then on.  The best come first and go to the end of
 * the content, nearest to what will be compressed.  (The method of zstd's fastCover trainer, in
 * pieces and without malloc.)
 *
 * I1  content[tail .. capacity) is chosen; tail only falls.
 * I2  Between calls every entry of `inside` is 0.
 * I3  The same text gives the same content.
 *
 * Locks: none.  May sleep: no.  May fault: only on the memory given.  Allocates: nothing.
 */
#ifndef ZA_COMPRESS_COVER_H
#define ZA_COMPRESS_COVER_H

#include "base/base.h"

#define ZA_COVER_SEGMENT ((size_t)512)
#define ZA_COVER_HASH_BITS 17

/* Zeroed before za_cover_begin. */
struct za_cover_tables {
    uint32_t seen[1u << ZA_COVER_HASH_BITS];
    uint16_t inside[1u << ZA_COVER_HASH_BITS]; /* times in the segment under the lens */
};

/*
 * Born: za_cover_begin.  Owned: by one thread (every field).  Dies: with its memory.
 */
struct za_cover {
    struct za_cover_tables *tables;
    const char *text;
    char *content;
    size_t words;    /* positions in the text where one begins */
    size_t counted;  /* words counted so far */
    size_t capacity; /* of content */
    size_t tail;     /* I1 */
    size_t stretch;  /* bytes of one */
    size_t at;       /* where the next stretch begins */
    size_t idle;     /* stretches in a row that had nothing left to offer */
};

void za_cover_begin(struct za_cover *c, struct za_cover_tables *tables, const char *text,
                    size_t text_bytes, char *content, size_t capacity);
/* Counts about `bytes` more; returns bytes done, 0: all counted. */
size_t za_cover_count(struct za_cover *c, size_t bytes);
/* Takes the best segment of one stretch; returns bytes looked at, 0: full, or nothing left. */
size_t za_cover_pick(struct za_cover *c);

#endif
