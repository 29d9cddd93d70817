/* SPDX-License-Identifier: MIT */
/*
 * os_rehearse -- what a seccomp filter kills for is found out by a child, and not made any more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stat.h"
#include "os/os.h"
#include "tests/unit/unit.h"

static unsigned child_signals;

static void on_child(int sig)
{
    (void)sig;
    child_signals++;
}

/* `nr` gets `verdict` from now on; no sanitizer's runtime makes the calls asked for here. */
static void forbid(unsigned nr, unsigned verdict)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        UNIT_SKIP("this kernel has no seccomp filters");
}

/* What the rehearsal says, which nobody else must notice. */
static int rehearse(const char **why)
{
    int status;
    za_os_init();
    alarm(60);
    CHECK(signal(SIGCHLD, on_child) != SIG_ERR);
    int r = za_os->rehearse(why);
    CHECK_EQ(child_signals, 0);
    CHECK(waitpid(-1, &status, __WALL) < 0 && errno == ECHILD);
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
    return r;
}

UNIT_TEST(without_a_filter_nothing_is_tried)
{
    const char *why = "?";
    za_os_init();
    CHECK_EQ(za_os->rehearse(&why), 0);
    CHECK(why == NULL);
}

UNIT_TEST(a_filter_that_kills_for_nothing_of_ours)
{
    const char *why;
    forbid(SYS_acct, SECCOMP_RET_KILL_PROCESS);
    CHECK_EQ(rehearse(&why), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_FILTER_DEATHS), 0);
}

UNIT_TEST(an_error_is_no_death)
{
    const char *why;
    forbid(SYS_userfaultfd, SECCOMP_RET_ERRNO | EPERM);
    CHECK_EQ(rehearse(&why), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_FILTER_DEATHS), 0);
}

UNIT_TEST(what_is_needed_kills_the_process)
{
    const char *why = NULL;
    forbid(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS);
    CHECK_EQ(-rehearse(&why), EPERM);
    CHECK_STR(why, "a seccomp filter kills whoever calls userfaultfd");
    CHECK_EQ(za_stat_get(ZA_STAT_FILTER_DEATHS), 1);
}

UNIT_TEST(what_is_needed_kills_the_thread)
{
    const char *why = NULL;
    forbid(SYS_close_range, SECCOMP_RET_KILL_THREAD);
    CHECK_EQ(-rehearse(&why), EPERM);
    CHECK_STR(why, "a seccomp filter kills whoever calls close_range or eventfd2");
}

UNIT_TEST(a_signal_is_a_death)
{
    const char *why = NULL;
    forbid(SYS_ppoll, SECCOMP_RET_TRAP);
    CHECK_EQ(-rehearse(&why), EPERM);
    CHECK_STR(why, "a seccomp filter kills whoever calls ioctl, read or ppoll");
}

UNIT_TEST(no_child_is_no_pager)
{
    const char *why = NULL;
    forbid(SYS_clone, SECCOMP_RET_ERRNO | EPERM);
    CHECK_EQ(-rehearse(&why), EPERM);
    CHECK_STR(why,
              "there is a seccomp filter, and no child could be made to try what it kills for");
}

/* Made once more here: were it not refused, that would be the end. */
UNIT_TEST(what_is_spared_is_refused)
{
    const char *why;
    unsigned char there;
    int socks[2];
    void *p;
    forbid(SYS_mincore, SECCOMP_RET_KILL_PROCESS);
    forbid(SYS_membarrier, SECCOMP_RET_KILL_PROCESS);
    forbid(SYS_socketpair, SECCOMP_RET_KILL_PROCESS);
    forbid(SYS_pidfd_getfd, SECCOMP_RET_KILL_PROCESS);
    forbid(SYS_setpriority, SECCOMP_RET_KILL_PROCESS);
    forbid(SYS_capset, SECCOMP_RET_KILL_PROCESS);
    CHECK_EQ(rehearse(&why), 0);
    CHECK(za_stat_get(ZA_STAT_FILTER_DEATHS) >= 6);
    CHECK_EQ(za_os->map(&p, za_os->page_size), 0);
    CHECK_EQ(-za_os->present(p, 1, &there), EPERM);
    CHECK_EQ(-za_os->sync_threads(), EPERM);
    CHECK_EQ(-za_os->socketpair(socks), EPERM);
    CHECK_EQ(-za_os->fetch_file(0, 0, 0), EPERM);
    za_os->be_modest();
    za_os->be_urgent();
    za_os->drop_privileges();
}

UNIT_TEST(the_caller_keeps_its_files_and_memory)
{
    const char *why;
    void *p;
    za_os_init();
    CHECK_EQ(za_os->map(&p, za_os->page_size), 0);
    *(char *)p = 7;
    forbid(SYS_acct, SECCOMP_RET_KILL_PROCESS);
    int fd = dup(1);
    CHECK_EQ(rehearse(&why), 0);
    CHECK_EQ(dup(1), fd + 1);
    CHECK_EQ(*(char *)p, 7);
}
