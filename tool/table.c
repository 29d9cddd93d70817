/* SPDX-License-Identifier: MIT */
/*
 * table -- `zalloc conf` and `zalloc stats` without a process: the two tables of base/, for people.
 */
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/stat.h"
#include "tool/tool.h"

int za_tool_conf(int argc, char **argv)
{
    struct za_conf c;
    struct za_conf_entry e;
    int rc = za_tool_no_arguments(argc, argv);
    if (rc != 0)
        return rc;
    za_conf_defaults(&c);
    (void)printf("%-16s %-8s %-10s %-8s %s\n", "KEY", "TYPE", "DEFAULT", "UNIT", "MEANING");
    for (unsigned i = 0; za_conf_entry(&c, i, &e); i++)
        (void)printf("%-16s %-8s %-10s %-8s %s\n", e.name, e.type, e.def[0] ? e.def : "-",
                     e.unit[0] ? e.unit : "-", e.help);
    return 0;
}

int za_tool_stats(int argc, char **argv)
{
    struct za_stat_entry e;
    bool json = argc == 3 && strcmp(argv[2], "--json") == 0;
    if (argc == 2 || json)
        return za_tool_stats_of(argv[1], json);
    if (argc > 2)
        return za_tool_complain("stats: unexpected argument \"%s\"", argv[2]);
    (void)printf("%-28s %-8s %-6s %s\n", "STATISTIC", "KIND", "UNIT", "MEANING");
    for (unsigned i = 0; za_stat_entry(i, &e); i++)
        (void)printf("%-28s %-8s %-6s %s\n", e.name, e.kind, e.unit[0] ? e.unit : "-", e.help);
    return 0;
}
