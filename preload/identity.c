/* SPDX-License-Identifier: MIT */
/*
 * identity -- setuid and its kin, whose effect our threads have to follow (D14).
 *
 * libc's function does the work, on every thread that it knows. When it has succeeded the pager is
 * told, and replaces our threads if they are left with rights that the program has given up.
 *
 * Not seen: the system calls themselves, which change one thread on purpose; and programs linked
 * with libzalloc.a, where libc's functions cannot be found behind ours.
 *
 * Locks: none.  May sleep: on our threads.  May fault: no.  Allocates: nothing.
 */
#define _GNU_SOURCE /* RTLD_NEXT, setresuid */
#include "preload/identity.h"

#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <unistd.h>

#include "base/remedy.h"
#include "pager/pager.h"
#include "preload/export.h"

#pragma weak dlsym

/* X(name, parameters, arguments) */
#define CALLS(X) \
    X(setuid, (uid_t uid), (uid)) \
    X(seteuid, (uid_t uid), (uid)) \
    X(setreuid, (uid_t ruid, uid_t euid), (ruid, euid)) \
    X(setresuid, (uid_t ruid, uid_t euid, uid_t suid), (ruid, euid, suid)) \
    X(setgid, (gid_t gid), (gid)) \
    X(setegid, (gid_t gid), (gid)) \
    X(setregid, (gid_t rgid, gid_t egid), (rgid, egid)) \
    X(setresgid, (gid_t rgid, gid_t egid, gid_t sgid), (rgid, egid, sgid)) \
    X(setgroups, (size_t n, const gid_t *groups), (n, groups)) \
    X(initgroups, (const char *user, gid_t group), (user, group))

/* Written by the constructor, or by whoever comes before it. */
#define NEXT(name, params, args) static int(*next_##name) params;
CALLS(NEXT)

void za_identity_resolve(void)
{
    if (!dlsym)
        return;
#define LOOK_UP(name, params, args) *(void **)&next_##name = dlsym(RTLD_NEXT, #name);
    CALLS(LOOK_UP)
}

static int changed(int result)
{
    if (result == 0 && !za_without(D14_RENEW)) {
        int saved = errno;
        za_pager_renew();
        errno = saved;
    }
    return result;
}

static int nowhere(void)
{
    errno = ENOSYS;
    return -1;
}

#define DEFINE(name, params, args) \
    ZA_EXPORT int name params \
    { \
        if (ZA_UNLIKELY(!next_##name)) \
            za_identity_resolve(); \
        if (!next_##name) \
            return nowhere(); \
        bool begun = za_pager_change_begin(); \
        int result = next_##name args; \
        za_pager_change_end(begun); \
        return changed(result); \
    }
CALLS(DEFINE)
