// SPDX-License-Identifier: Apache-2.0
#include "daemon/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tt_option *find(const struct tt_option *table, const char *name)
{
    for (; table->name; table++)
        if (!strcmp(table->name, name))
            return table;
    return NULL;
}

static bool read_number(const char *verb, const struct tt_option *o, const char *text)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < o->min || v > o->max) {
        fprintf(stderr, "ttad %s: %s: '%s', want a whole number from %lld to %lld\n", verb, o->name,
                text, (long long)o->min, (long long)o->max);
        return false;
    }
    *o->number = v;
    return true;
}

bool tt_options_read(int argc, char **argv, const struct tt_option *table, const char **plain,
                     int max, int *nplain)
{
    *nplain = 0;
    for (int i = 1; i < argc; i++) {
        const struct tt_option *o = find(table, argv[i]);

        if (!o && argv[i][0] == '-' && argv[i][1]) {
            fprintf(stderr, "ttad %s: no option '%s'; ttad %s --help lists them\n", argv[0],
                    argv[i], argv[0]);
            return false;
        }
        if (!o) {
            if (*nplain == max) {
                fprintf(stderr, "ttad %s: '%s' is one argument too many\n", argv[0], argv[i]);
                return false;
            }
            plain[(*nplain)++] = argv[i];
            continue;
        }
        if (o->on) {
            *o->on = true;
            continue;
        }
        if (++i == argc) {
            fprintf(stderr, "ttad %s: %s wants a value\n", argv[0], o->name);
            return false;
        }
        if (o->text)
            *o->text = argv[i];
        else if (!read_number(argv[0], o, argv[i]))
            return false;
    }
    return true;
}
