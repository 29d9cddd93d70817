/* SPDX-License-Identifier: MIT */
/*
 * exit -- statistics when the program ends, if asked for: stats_print:true and stats_json:PATH.
 *
 * Runs as a destructor, after the program's own (the library is the first to be constructed). A
 * program that leaves by _exit, a signal or exec prints nothing. In stats_json, %p stands for the
 * process id, so that the processes of a forking program do not overwrite each other's file.
 *
 * Many programs (all of coreutils) close standard error in their last handler. With
 * stats_print:true, and only then, a duplicate of it is kept in the program's table. The program
 * may have closed that too, and opened a file under its number: it is written to only if it is
 * still the same file.
 *
 * Locks: those of the refresh.  May sleep: in writing.  May fault: no.  Allocates: one mapping.
 */
#include "preload/exit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/conf.h"
#include "os/os.h"
#include "os/sys.h"
#include "preload/file.h"
#include "preload/text.h"

#define SPARE_FROM 100 /* out of the way of programs that expect small numbers */

static int spare = -1;
static struct stat spare_file;

static bool same_file(int fd, const struct stat *want)
{
    struct stat now = {0};
    return za_sys2(SYS_fstat, fd, &now) == 0 && now.st_dev == want->st_dev &&
           now.st_ino == want->st_ino;
}

void za_exit_prepare(void)
{
    if (!za_conf.stats_print || za_sys2(SYS_fstat, 2, &spare_file) < 0)
        return;
    spare = (int)za_sys3(SYS_fcntl, 2, F_DUPFD_CLOEXEC, SPARE_FROM);
}

static void print_to_error(const char *s, size_t len)
{
    if (za_file_write(2, s, len) < 0 && spare >= 0 && same_file(spare, &spare_file))
        (void)za_file_write(spare, s, len);
}

static void print(void)
{
    struct za_fmt f;
    if (!za_text_begin(&f))
        return;
    za_text_stats(&f);
    print_to_error(f.buf, f.len);
    za_text_end(&f);
}

static void expand(struct za_fmt *f, const char *pattern)
{
    for (; *pattern; pattern++) {
        if (pattern[0] == '%' && pattern[1] == 'p') {
            za_fmt_i64(f, za_os->pid());
            pattern++;
        } else {
            za_fmt_chr(f, *pattern);
        }
    }
}

static void complain(const char *path, int err)
{
    char buf[ZA_CONF_PATH_MAX + 128];
    struct za_fmt f;
    za_fmt_init(&f, buf, sizeof(buf));
    za_fmt_str(&f, "zalloc: stats_json: cannot write ");
    za_fmt_str(&f, path);
    za_fmt_str(&f, ": ");
    za_fmt_str(&f, za_os_errname(err));
    za_fmt_chr(&f, '\n');
    print_to_error(f.buf, f.len);
}

static void write_json(void)
{
    char path[ZA_CONF_PATH_MAX + 32];
    struct za_fmt f, name;
    za_fmt_init(&name, path, sizeof(path));
    expand(&name, za_conf.stats_json);
    if (!za_text_begin(&f))
        return;
    za_text_stats_json(&f);
    int rc = za_file_replace(path, f.buf, f.len);
    if (rc < 0)
        complain(path, rc);
    za_text_end(&f);
}

__attribute__((destructor(101))) static void za_preload_end(void)
{
    if (za_conf.stats_print)
        print();
    if (za_conf.stats_json[0])
        write_json();
}
