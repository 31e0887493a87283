// SPDX-License-Identifier: Apache-2.0
#include "tests/support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_close(double got, double want, double rtol, double atol, const char *what,
                 const char *file, int line)
{
    if (isfinite(got) && isfinite(want) && fabs(got - want) <= atol + rtol * fabs(want))
        return;
    print_error("%s is %.9g, want %.9g\n", what, got, want);
    _fail(file, line);
}

char *read_file(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    size_t n = 0, cap = 0;

    if (!f)
        fail_msg("%s: cannot open", path);
    for (;;) {
        size_t got;

        if (n + 4096 > cap)
            data = (char *)realloc(data, cap = cap ? cap * 2 : 65536);
        got = fread(data + n, 1, cap - n - 1, f);
        if (!got)
            break;
        n += got;
    }
    fclose(f);
    data[n] = '\0';
    if (ret_n)
        *ret_n = n;
    return data;
}

void check_contains(const char *haystack, const char *needle, const char *file, int line)
{
    if (strstr(haystack, needle))
        return;
    print_error("'%s'\n  does not contain\n'%s'\n", haystack, needle);
    _fail(file, line);
}
