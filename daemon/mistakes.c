// SPDX-License-Identifier: Apache-2.0
#include "daemon/mistakes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tt_mistakes_init(struct tt_mistakes *m)
{
    m->n = m->more = 0;
    tt_arena_init(&m->arena, 0);
    tt_out_init(&m->text, &m->arena);
}

void tt_mistakes_end(struct tt_mistakes *m)
{
    tt_arena_release(&m->arena);
}

static void add(struct tt_mistakes *m, const char *line)
{
    const char *kept = NULL;

    if (m->n < TT_MAXMISTAKES)
        kept = tt_arena_strndup(&m->arena, line, strlen(line));
    if (kept)
        m->list[m->n++] = kept;
    else
        m->more++;
}

void tt_mistakes_add(struct tt_mistakes *m, const struct tt_diags *d)
{
    const char *line;

    for (int i = 0; (line = tt_diags_line(d, i)); i++)
        add(m, line);
    m->more += d->dropped;
    if (d->n)
        tt_outf(&m->text, "%s", tt_diags_text(d));
}

void tt_mistakes_say(struct tt_mistakes *m, const char *fmt, ...)
{
    char line[TT_ERR_MSG];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap); // cut when too long
    va_end(ap);
    add(m, line);
    tt_outf(&m->text, "%s\n", line);
}

enum tt_code tt_mistakes_err(const struct tt_mistakes *m, struct tt_err *err)
{
    return tt_fail(err, TT_EPARSE, "%s", m->n ? m->list[0] : "out of memory");
}
