/* SPDX-License-Identifier: MIT */
/*
 * uffd -- the kernel's userfaultfd words,
 * complete where the distribution's header is older than the kernel.
 *
 * Source: Linux include/uapi/linux/userfaultfd.h (6.8 and later), numbers only.
 */
#ifndef ZA_OS_UFFD_H
#define ZA_OS_UFFD_H

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef UFFDIO_MOVE
#define _UFFDIO_MOVE 0x05
struct uffdio_move {
    __u64 dst, src, len, mode;
    __s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, _UFFDIO_MOVE, struct uffdio_move)
#define UFFDIO_MOVE_MODE_DONTWAKE ((__u64)1 << 0)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#endif
