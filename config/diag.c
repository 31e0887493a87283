// SPDX-License-Identifier: Apache-2.0
#include "config/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/out.h"

#define MAXMSG  400 // bytes of a message; what is longer is cut
#define MAXLINE 100 // characters of a source line that are shown
#define MAXWORD 64  // longest word that a nearest one is sought for

static const char no_memory[] = "out of memory";

void tt_diags_init(struct tt_diags *d, struct tt_arena *arena, const char *file, const char *text,
                   size_t len)
{
    *d = (struct tt_diags){.arena = arena, .file = file, .text = text, .len = len};
}

static void add(struct tt_diags *d, int line, int col, bool warning, const char *fmt, va_list ap)
{
    char msg[MAXMSG];
    const char *kept;

    vsnprintf(msg, sizeof msg, fmt, ap);
    for (int i = 0; i < d->n; i++)
        if (d->list[i].line == line && d->list[i].col == col && !strcmp(d->list[i].msg, msg))
            return; // one mistake may be met twice, as when two things are made of one value
    d->errors += !warning;
    if (d->n == TT_MAXDIAGS) {
        d->dropped++;
        return;
    }
    kept = tt_arena_strndup(d->arena, msg, strlen(msg));
    d->list[d->n++] = (struct tt_diag){line, col, warning, kept ? kept : no_memory};
}

void tt_diag_error(struct tt_diags *d, int line, int col, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(d, line, col, false, fmt, ap);
    va_end(ap);
}

void tt_diag_warning(struct tt_diags *d, int line, int col, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(d, line, col, true, fmt, ap);
    va_end(ap);
}

static bool comes_before(const struct tt_diag *a, const struct tt_diag *b)
{
    return a->line != b->line ? a->line < b->line : a->col < b->col;
}

/* Indices of the list by place; of two at one place the one found first. */
static void sort(const struct tt_diags *d, int order[TT_MAXDIAGS])
{
    for (int i = 0; i < d->n; i++) {
        int at = i;

        for (; at > 0 && comes_before(&d->list[i], &d->list[order[at - 1]]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

/* Line number line (from 1) of the text and its length without the line end; NULL: no such. */
static const char *find_line(const struct tt_diags *d, int line, size_t *ret_n)
{
    const char *s = d->text, *end = s + d->len, *stop;

    if (d->len >= 3 && !memcmp(s, "\xef\xbb\xbf", 3)) // a byte order mark
        s += 3;
    while (line > 1) {
        s = (const char *)memchr(s, '\n', (size_t)(end - s));
        if (!s)
            return NULL;
        s++;
        line--;
    }
    stop = (const char *)memchr(s, '\n', (size_t)(end - s));
    if (!stop)
        stop = end;
    if (stop > s && stop[-1] == '\r')
        stop--;
    *ret_n = (size_t)(stop - s);
    return s;
}

static bool starts_char(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

/* Write n bytes so that they cannot disturb a terminal; blank: as spaces of the same width. */
static void show(struct tt_out *o, const char *s, size_t n, bool blank)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '\t')
            tt_out_add(o, "\t", 1);
        else if (blank && starts_char(s[i]))
            tt_out_add(o, " ", 1);
        else if (!blank)
            tt_out_add(o, c < 0x20 || c == 0x7f ? "?" : s + i, 1);
    }
}

/* The source line with a caret under column col (in characters, from 1). */
static void show_place(struct tt_out *o, const struct tt_diags *d, int line, int col)
{
    size_t n, from = 0, at = 0, to;
    int chars = 1, shown = 0;
    const char *s = find_line(d, line, &n);

    if (!s)
        return;
    while (at < n && chars < col) {
        do
            at++;
        while (at < n && !starts_char(s[at]));
        chars++;
    }
    if (chars > MAXLINE / 2) // show the part around the place
        for (from = at; from > 0 && shown < MAXLINE / 2; shown += starts_char(s[from]))
            from--;
    for (to = from, shown = 0; to < n && (shown < MAXLINE || !starts_char(s[to])); to++)
        shown += starts_char(s[to]);
    tt_outf(o, "  %d | ", line);
    show(o, s + from, to - from, false);
    tt_outf(o, "\n  %*s | ", snprintf(NULL, 0, "%d", line), "");
    show(o, s + from, at - from, true);
    tt_outf(o, "^\n");
}

static void show_head(struct tt_out *o, const struct tt_diags *d, const struct tt_diag *m)
{
    if (m->line > 0)
        tt_outf(o, "%s:%d:%d: %s%s", d->file, m->line, m->col, m->warning ? "warning: " : "",
                m->msg);
    else
        tt_outf(o, "%s: %s%s", d->file, m->warning ? "warning: " : "", m->msg);
}

const char *tt_diags_text(const struct tt_diags *d)
{
    int order[TT_MAXDIAGS];
    struct tt_out o;

    tt_out_init(&o, d->arena);
    sort(d, order);
    for (int i = 0; i < d->n; i++) {
        const struct tt_diag *m = &d->list[order[i]];

        show_head(&o, d, m);
        tt_out_add(&o, "\n", 1);
        if (m->line > 0 && d->text)
            show_place(&o, d, m->line, m->col);
    }
    if (d->dropped)
        tt_outf(&o, "%s: %d more\n", d->file, d->dropped);
    return tt_out_text(&o) ? tt_out_text(&o) : "out of memory\n";
}

const char *tt_diags_line(const struct tt_diags *d, int i)
{
    int order[TT_MAXDIAGS];
    struct tt_out o;

    tt_out_init(&o, d->arena);
    sort(d, order);
    for (int k = 0; k < d->n; k++) {
        const struct tt_diag *m = &d->list[order[k]];

        if (m->warning || i--)
            continue;
        show_head(&o, d, m);
        return tt_out_text(&o) ? tt_out_text(&o) : no_memory;
    }
    return NULL;
}

enum tt_code tt_diags_err(const struct tt_diags *d, struct tt_err *err)
{
    int order[TT_MAXDIAGS];

    sort(d, order);
    for (int i = 0; i < d->n; i++) {
        const struct tt_diag *m = &d->list[order[i]];

        if (m->warning)
            continue;
        if (m->line > 0)
            return tt_fail(err, TT_EPARSE, "%.200s:%d:%d: %s", d->file, m->line, m->col, m->msg);
        return tt_fail(err, TT_EPARSE, "%.200s: %s", d->file, m->msg);
    }
    return tt_fail(err, TT_EPARSE, "%.200s: %d mistakes", d->file, d->errors);
}

static int least(int a, int b, int c)
{
    int ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Edits (insert, delete, change, swap neighbours) from a to b; both at most MAXWORD long. */
static int distance(const char *a, size_t na, const char *b, size_t nb)
{
    int rows[3][MAXWORD + 1];
    int *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t j = 0; j <= nb; j++)
        above[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int *spare = before;

        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = least(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], row[j], before[j - 2] + 1);
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[nb];
}

const char *tt_did_you_mean(const char *word, const char *const *choices)
{
    size_t n = strlen(word);
    const char *best = NULL;
    int least_far = n <= 3 ? 1 : n <= 7 ? 2 : 3; // farther than this is another word

    if (!n || n > MAXWORD)
        return NULL;
    for (; *choices; choices++) {
        size_t nc = strlen(*choices);
        int far;

        if (nc > MAXWORD)
            continue;
        far = distance(word, n, *choices, nc);
        if (far < least_far || (far == least_far && !best)) {
            least_far = far;
            best = *choices;
        }
    }
    return best;
}
