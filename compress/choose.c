/* SPDX-License-Identifier: MIT */
/*
 * choose -- samples, judges, and packs as judged.
 *
 * Locks: none.  May sleep: no.  May fault: only on the buffers given.  Allocates: nothing.
 */
#include "compress/choose.h"

#include <string.h>

#include "compress/lz4.h"
#include "compress/split.h"
#include "compress/store.h"

/* Mapped or static; the workspace of either codec is behind the second result. */
struct room {
    char other[ZA_BLOB_MAX_RAW];
    char workspace[] __attribute__((aligned(64)));
};

size_t za_choose_room_bytes(void)
{
    return sizeof(struct room) + za_max(za_codec_lz4.pack_bytes, za_codec_split.pack_bytes);
}

static size_t pack(enum za_codec_id id, struct room *room, const void *src, size_t len, void *dst,
                   size_t cap)
{
    return za_codec(id)->pack(room->workspace, NULL, src, len, dst, cap);
}

static void judge(struct za_choice *c)
{
    bool pays = (uint64_t)c->split * 100 <= (uint64_t)c->plain * (100 - ZA_CHOICE_GAIN);

    c->codec = pays ? ZA_CODEC_SPLIT : ZA_CODEC_LZ4;
    c->plain = c->split = 0;
}

static size_t pack_both(struct za_choice *c, struct room *room, const void *src, size_t len,
                        void *dst, size_t cap, enum za_codec_id *codec)
{
    size_t plain = pack(ZA_CODEC_LZ4, room, src, len, dst, cap);
    size_t split = pack(ZA_CODEC_SPLIT, room, src, len, room->other, sizeof(room->other));

    c->plain += (uint32_t)(plain ? plain : len);
    c->split += (uint32_t)(split ? split : len);
    *codec = ZA_CODEC_LZ4;
    if (split == 0 || split > cap || (plain && plain <= split))
        return plain;
    *codec = ZA_CODEC_SPLIT;
    memcpy(dst, room->other, split);
    return split;
}

/* The verdict may not fit where plain LZ4 does. */
static size_t pack_as_judged(const struct za_choice *c, struct room *room, const void *src,
                             size_t len, void *dst, size_t cap, enum za_codec_id *codec)
{
    size_t size = pack(*codec = (enum za_codec_id)c->codec, room, src, len, dst, cap);

    if (size || *codec == ZA_CODEC_LZ4)
        return size;
    return pack(*codec = ZA_CODEC_LZ4, room, src, len, dst, cap);
}

size_t za_choose_pack(struct za_choice *c, void *room, const void *src, size_t len, void *dst,
                      size_t cap, enum za_codec_id *codec)
{
    if (c->seen >= ZA_CHOICE_SAMPLE + ZA_CHOICE_LASTS)
        c->seen = 0;
    if (c->seen++ >= ZA_CHOICE_SAMPLE)
        return pack_as_judged(c, room, src, len, dst, cap, codec);
    size_t size = pack_both(c, room, src, len, dst, cap, codec);
    if (c->seen == ZA_CHOICE_SAMPLE)
        judge(c);
    return size;
}
