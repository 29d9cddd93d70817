/* SPDX-License-Identifier: MIT */
/*
 * run -- `zalloc run`: sets LD_PRELOAD and ZALLOC_CONF and becomes the program.
 *
 * The pairs of --conf go behind those already in ZALLOC_CONF: the later pair of a key wins. They
 * are checked here, where a mistake can stop the start; the library itself would only warn and go
 * on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "tool/tool.h"

static void say(const char *line, size_t len)
{
    (void)fwrite(line, 1, len, stderr);
}

/*
 * Joins two values with a separator; the second may be NULL or empty.
 * Ends the process when there is no memory.
 */
static char *join(const char *a, char sep, const char *b)
{
    char *s;
    int n = b && *b ? asprintf(&s, "%s%c%s", a, sep, b) : asprintf(&s, "%s", a);
    if (n < 0) {
        (void)za_tool_complain("out of memory");
        exit(EXIT_USAGE);
    }
    return s;
}

/* The directory of this command, without a slash at the end. */
static bool own_directory(char *out, size_t cap)
{
    ssize_t n = readlink("/proc/self/exe", out, cap - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

static bool find_library(char *out)
{
    static const char *const places[] = {"libzalloc.so", "../lib/libzalloc.so",
                                         "../lib64/libzalloc.so"};
    char dir[PATH_MAX], path[PATH_MAX + 32];
    const char *given = getenv("ZALLOC_LIB");
    if (given && *given)
        return realpath(given, out) != NULL;
    if (!own_directory(dir, sizeof(dir)))
        return false;
    for (size_t i = 0; i < ZA_ARRAY_LEN(places); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, places[i]);
        if (realpath(path, out))
            return true;
    }
    return false;
}

static int set_library(void)
{
    char path[PATH_MAX];
    if (!find_library(path)) {
        const char *given = getenv("ZALLOC_LIB");
        if (given && *given)
            return za_tool_complain("ZALLOC_LIB: %s: %s", given, strerror(errno));
        return za_tool_complain("libzalloc.so is neither beside this command nor in ../lib; "
                                "set ZALLOC_LIB to its path");
    }
    if (strpbrk(path, " :"))
        return za_tool_complain("%s: LD_PRELOAD cannot hold a path with a space or colon", path);
    char *value = join(path, ':', getenv("LD_PRELOAD"));
    (void)setenv("LD_PRELOAD", value, 1);
    free(value);
    return 0;
}

static int set_conf(const char *pairs)
{
    if (!pairs)
        return 0;
    struct za_conf c;
    za_conf_defaults(&c);
    if (za_conf_parse(&c, pairs, say) > 0)
        return EXIT_USAGE;
    const char *old = getenv("ZALLOC_CONF");
    char *value = old && *old ? join(old, ',', pairs) : join(pairs, ',', NULL);
    (void)setenv("ZALLOC_CONF", value, 1);
    free(value);
    return 0;
}

/* Takes the options off; returns the index of the program, or -1 after a complaint. */
static int options(int argc, char **argv, const char **conf)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--") == 0)
            return i + 1;
        if (strncmp(argv[i], "--conf=", 7) == 0) {
            *conf = argv[i] + 7;
        } else if (strcmp(argv[i], "--conf") == 0 && i + 1 < argc) {
            *conf = argv[++i];
        } else if (strcmp(argv[i], "--conf") == 0) {
            (void)za_tool_complain("run: --conf needs key:value pairs");
            return -1;
        } else {
            (void)za_tool_complain("run: unknown option \"%s\"", argv[i]);
            return -1;
        }
    }
    return i;
}

int za_tool_run(int argc, char **argv)
{
    const char *conf = NULL;
    int first = options(argc, argv, &conf);
    if (first < 0)
        return EXIT_USAGE;
    if (first >= argc)
        return za_tool_complain("run: a program is missing; try zalloc --help");
    int rc = set_library();
    if (rc == 0)
        rc = set_conf(conf);
    if (rc != 0)
        return rc;
    (void)execvp(argv[first], argv + first);
    int err = errno;
    (void)za_tool_complain("%s: %s", argv[first], strerror(err));
    return err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}
