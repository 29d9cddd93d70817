/* SPDX-License-Identifier: MIT */
/*
 * start -- first use, configuration, and the end of each thread.
 *
 * First use is a call of malloc, most often by the dynamic linker for its own tables: no
 * constructor has run, `environ` is unset, stdio does not exist. So this uses raw system calls,
 * reads the environment from /proc when libc has none yet, and starts no thread. The constructor
 * does what needs a working dynamic linker: it looks up the next allocator in line and registers
 * the fork handlers.
 *
 *  I1  The configuration is parsed once, before the first span exists.
 *  I2  A thread that has a cache has a value under `exit_key`: its cache is given back at its end.
 *  I3  Other keys' destructors may allocate after ours ran. Ours lets one round of them pass, so
 *      that the usual ones find the cache, and gives back in the second; after that alloc serves
 *      the thread without a cache, so that nothing is left behind.
 *
 * Locks: ZA_RANK_INIT while starting.  May sleep: on that lock.  May fault: no.
 * Allocates: nothing (pthread_setspecific calls calloc for keys past the 32nd).
 */
#define _GNU_SOURCE /* environ */
#include "preload/start.h"

#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "alloc/alloc.h"
#include "alloc/caches.h"
#include "base/conf.h"
#include "base/lock.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "os/os.h"
#include "preload/crash.h"
#include "preload/exit.h"
#include "preload/file.h"
#include "preload/filter.h"
#include "preload/foreign.h"
#include "preload/fork.h"
#include "preload/identity.h"
#include "preload/mutex.h"
#include "preload/thread.h"

#define VARIABLE "ZALLOC_CONF"
#define FIRST_ROUND ((void *)1)
#define SECOND_ROUND ((void *)2)

static struct za_lock start_lock = ZA_LOCK_INIT(ZA_RANK_INIT);
static bool started; /* written under start_lock; read with acquire */
static pthread_key_t exit_key;

static const char *from_environ(char **env)
{
    const size_t n = sizeof(VARIABLE) - 1;
    for (; env && *env; env++) {
        if (strncmp(*env, VARIABLE, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    }
    return NULL;
}

static void say(const char *line, size_t len)
{
    (void)za_file_write(2, line, len);
}

/* Nobody may make a privileged program write or read a file of his choice. */
static void forget_paths(struct za_conf *c)
{
    c->file[0] = '\0';
    c->stats_json[0] = '\0';
}

static void configure(void)
{
    static char early[4096];
    const char *text = NULL;
    if (environ)
        text = from_environ(environ);
    else if (za_file_variable(VARIABLE, early, sizeof(early)) > 0)
        text = early;
    if (!text || !*text)
        return;
    unsigned bad = za_conf_parse(&za_conf, text, say);
    za_stat_add(ZA_STAT_CONF_BAD, bad);
    if (getauxval(AT_SECURE))
        forget_paths(&za_conf);
    if (bad && za_conf.abort_conf)
        za_fatal("ZALLOC_CONF has malformed pairs and abort_conf is true");
}

static void thread_ends(void)
{
    if (!za_without(D17_THREAD_END))
        za_thread_exit();
    za_crash_thread_end();
}

static void leave(void *round)
{
    za_thread_leaves();
    if (round == FIRST_ROUND)
        (void)pthread_setspecific(exit_key, SECOND_ROUND);
    else
        thread_ends();
}

static void arm(void)
{
    (void)pthread_setspecific(exit_key, FIRST_ROUND);
    za_crash_thread_begin();
}

static void start_locked(void)
{
    za_os_init();
    za_conf_defaults(&za_conf);
    configure();
    za_foreign_init();
    /* Without a key, caches of threads that end stay with them: a leak, but no fault. */
    if (pthread_key_create(&exit_key, leave) == 0)
        za_thread_born = arm;
    __atomic_store_n(&started, true, __ATOMIC_RELEASE);
}

void za_preload_init(void)
{
    if (__atomic_load_n(&started, __ATOMIC_ACQUIRE))
        return;
    za_lock(&start_lock);
    if (!started)
        start_locked();
    za_unlock(&start_lock);
}

/*
 * Linked with -z initfirst, so that this runs before every other constructor: our fork handlers
 * are then the first registered, which libc runs last before the fork and first in the child.
 */
__attribute__((constructor(101))) static void za_preload_construct(void)
{
    za_preload_init();
    za_exit_prepare();
    za_foreign_resolve();
    za_thread_resolve();
    za_identity_resolve();
    za_bare_resolve();
    za_mutex_resolve();
    za_filter_resolve();
    za_fork_register();
    za_crash_prepare();
}
