/* SPDX-License-Identifier: MIT */
/*
 * disk -- what `zalloc doctor` says of the file tier: can it be used here, and what is it worth?
 */
#ifndef ZA_TOOL_DISK_H
#define ZA_TOOL_DISK_H

#include "tool/report.h"

/*
 * `path`: a directory, or a path in one; NULL: what ZALLOC_CONF says.  False: one is named, and the
 * library could not use it.
 */
bool za_disk_examine(struct za_report *r, const char *path);

#endif
