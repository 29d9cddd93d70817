/* SPDX-License-Identifier: MIT */
/*
 * text -- a large buffer outside the heap to format into, and the statistics in it.
 */
#ifndef ZA_PRELOAD_TEXT_H
#define ZA_PRELOAD_TEXT_H

#include "base/fmt.h"

bool za_text_begin(struct za_fmt *f); /* false: no memory */
void za_text_end(struct za_fmt *f);
/* Brings every gauge up to date. */
void za_text_refresh(void);
/*
 * The statistics after a refresh: aligned text with a headline, or one JSON object and a newline.
 */
void za_text_stats(struct za_fmt *f);
void za_text_stats_json(struct za_fmt *f);

#endif
