// SPDX-License-Identifier: Apache-2.0
#include "config/yaml.h"

#include <limits.h>
#include <string.h>

#include <yaml.h>

#define MAXKEY      128  // bytes of a key
#define MAXCHILDREN 4096 // of one list or map; finding a key twice compares all pairs

/* A list or map that is being filled. */
struct frame {
    struct tt_ynode *node, *last;
    const char *key; // of the value that comes next; NULL: a key comes next
    int key_line, key_col;
};

struct reader {
    yaml_parser_t parser;
    struct tt_arena *arena;
    struct tt_diags *d;
    struct tt_ynode *root;
    int documents, depth;
    int borne; // errors after which the tree is whole all the same
    bool done; // the end, or nothing sensible can follow
    struct frame stack[TT_YAML_DEPTH];
};

static void out_of_memory(struct reader *r)
{
    tt_diag_error(r->d, 0, 0, "out of memory");
    r->done = true;
}

static int line_of(const yaml_mark_t *m)
{
    return m->line < INT_MAX ? (int)m->line + 1 : INT_MAX;
}

static int col_of(const yaml_mark_t *m)
{
    return m->column < INT_MAX ? (int)m->column + 1 : INT_MAX;
}

/* Decode one character; its length, 0: not UTF-8. */
static size_t decode(const unsigned char *s, size_t n, unsigned long *ret)
{
    static const unsigned long smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80             ? 1
                 : (s[0] & 0xe0) == 0xc0 ? 2
                 : (s[0] & 0xf0) == 0xe0 ? 3
                 : (s[0] & 0xf8) == 0xf0 ? 4
                                         : 0;
    unsigned long c;

    if (!len || len > n)
        return 0;
    c = len == 1 ? s[0] : s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *ret = c;
    return len;
}

/* Why that character may not stand in a file, or NULL; next is the byte behind it. */
static const char *refuse(unsigned long c, int next)
{
    if (!c)
        return "a NUL byte: not a text file";
    if (c == '\r' && next != '\n')
        return "a carriage return alone: lines end with LF or CRLF";
    if (c == 0x85 || c == 0x2028 || c == 0x2029)
        return "a Unicode line separator: lines end with LF or CRLF";
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7f && c < 0xa0))
        return "a control character";
    if (c == 0xfeff || c == 0xfffe || c == 0xffff)
        return "a byte order mark, or no character at all";
    return NULL;
}

/* libyaml names neither line nor column of bytes that it cannot decode. */
static bool check_bytes(const char *text, size_t len, struct tt_diags *d)
{
    const unsigned char *s = (const unsigned char *)text;
    int line = 1, col = 1;

    for (size_t i = 0; i < len;) {
        unsigned long c = 0;
        size_t n = decode(s + i, len - i, &c);
        const char *why = n ? refuse(c, i + 1 < len ? s[i + 1] : -1) : "not UTF-8";

        if (why) {
            tt_diag_error(d, line, col, "%s (byte 0x%02x)", why, s[i]);
            return false;
        }
        i += n;
        col = c == '\n' ? 1 : col + 1;
        line += c == '\n';
    }
    return true;
}

static bool is_tab(const struct reader *r, const yaml_mark_t *m)
{
    const char *s = r->d->text, *end = s ? s + r->d->len : s;

    for (size_t line = 0; s && line < m->line; line++) {
        s = (const char *)memchr(s, '\n', (size_t)(end - s));
        s = s ? s + 1 : NULL;
    }
    return s && (size_t)(end - s) > m->column && s[m->column] == '\t';
}

static void explain_failure(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    int line = line_of(&p->problem_mark), col = col_of(&p->problem_mark);

    r->done = true;
    if (p->error == YAML_MEMORY_ERROR)
        out_of_memory(r);
    else if (is_tab(r, &p->problem_mark))
        tt_diag_error(r->d, line, col, "a tab: YAML is indented with spaces");
    else if (p->context && p->context_mark.line != p->problem_mark.line)
        tt_diag_error(r->d, line, col, "not YAML: %s, %s that begins at line %d", p->problem,
                      p->context, line_of(&p->context_mark));
    else if (p->context)
        tt_diag_error(r->d, line, col, "not YAML: %s, %s", p->problem, p->context);
    else
        tt_diag_error(r->d, line, col, "not YAML: %s", p->problem ? p->problem : "unreadable");
}

/* A key has come; it must be the first of its name. */
static void take_key(struct reader *r, struct frame *f, const char *key, int line, int col)
{
    const struct tt_ynode *same = tt_yaml_get(f->node, key);
    int errors = r->d->errors;

    if (same)
        tt_diag_error(r->d, line, col, "key '%.40s' is given twice, first in line %d", key,
                      same->key_line);
    r->borne += r->d->errors - errors;
    if (!*key)
        tt_diag_error(r->d, line, col, "a key without a name");
    f->key = key;
    f->key_line = line;
    f->key_col = col;
}

/* Put a node where it belongs; its children come later. */
static void attach(struct reader *r, struct tt_ynode *node)
{
    struct frame *f = r->depth ? &r->stack[r->depth - 1] : NULL;

    if (!f) {
        r->root = node;
        return;
    }
    if (f->node->type == TT_YMAP) {
        node->key = f->key;
        node->key_line = f->key_line;
        node->key_col = f->key_col;
        f->key = NULL;
    }
    if (f->node->n == MAXCHILDREN) {
        tt_diag_error(r->d, node->line, node->col, "more than %d entries", MAXCHILDREN);
        r->done = true;
        return;
    }
    if (f->last)
        f->last->next = node;
    else
        f->node->first = node;
    f->last = node;
    f->node->n++;
}

static struct tt_ynode *new_node(struct reader *r, enum tt_ytype type, const yaml_mark_t *at)
{
    struct tt_ynode *node = TT_NEW(r->arena, 1, struct tt_ynode);

    if (!node) {
        out_of_memory(r);
        return NULL;
    }
    *node = (struct tt_ynode){.type = type, .line = line_of(at), .col = col_of(at)};
    return node;
}

static bool wants_key(const struct reader *r)
{
    const struct frame *f = r->depth ? &r->stack[r->depth - 1] : NULL;

    return f && f->node->type == TT_YMAP && !f->key;
}

static void on_scalar(struct reader *r, const char *s, size_t n, bool quoted, const yaml_mark_t *at)
{
    struct tt_ynode *node;
    char *text;

    if (memchr(s, '\0', n)) {
        tt_diag_error(r->d, line_of(at), col_of(at), "a NUL inside a text");
        n = strlen(s);
    }
    if (wants_key(r) && n > MAXKEY) {
        tt_diag_error(r->d, line_of(at), col_of(at), "a key of %zu bytes, at most %d", n, MAXKEY);
        n = MAXKEY;
    }
    text = tt_arena_strndup(r->arena, s, n);
    if (!text) {
        out_of_memory(r);
        return;
    }
    if (wants_key(r)) {
        take_key(r, &r->stack[r->depth - 1], text, line_of(at), col_of(at));
        return;
    }
    node = new_node(r, TT_YSCALAR, at);
    if (!node)
        return;
    node->text = text;
    node->quoted = quoted;
    attach(r, node);
}

static void on_open(struct reader *r, enum tt_ytype type, const yaml_mark_t *at)
{
    struct tt_ynode *node;

    if (wants_key(r)) {
        tt_diag_error(r->d, line_of(at), col_of(at), "a %s as a key, want a word",
                      type == TT_YMAP ? "map" : "list");
        r->done = true;
        return;
    }
    if (r->depth == TT_YAML_DEPTH) {
        tt_diag_error(r->d, line_of(at), col_of(at), "more than %d levels", TT_YAML_DEPTH);
        r->done = true;
        return;
    }
    node = new_node(r, type, at);
    if (!node)
        return;
    attach(r, node);
    r->stack[r->depth++] = (struct frame){.node = node};
}

/* Whatever would let one value stand in two places, or carry a type of its own. */
static void refuse_anchor(struct reader *r, const yaml_char_t *anchor, const yaml_char_t *tag,
                          const yaml_mark_t *at)
{
    int errors = r->d->errors;

    if (anchor)
        tt_diag_error(r->d, line_of(at), col_of(at), "anchor '&%.40s': anchors are not read",
                      (const char *)anchor);
    if (tag)
        tt_diag_error(r->d, line_of(at), col_of(at), "tag '%.40s': tags are not read",
                      (const char *)tag);
    r->borne += r->d->errors - errors;
}

static void on_document(struct reader *r, const yaml_event_t *e)
{
    const yaml_mark_t *at = &e->start_mark;

    if (e->data.document_start.version_directive ||
        e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end)
        tt_diag_error(r->d, line_of(at), col_of(at), "directives (%%) are not read");
    if (r->documents++) {
        tt_diag_error(r->d, line_of(at), col_of(at), "a second document, one is read");
        r->done = true;
    }
}

static void on_event(struct reader *r, const yaml_event_t *e)
{
    const yaml_mark_t *at = &e->start_mark;

    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        on_document(r, e);
        break;
    case YAML_SCALAR_EVENT:
        refuse_anchor(r, e->data.scalar.anchor, e->data.scalar.tag, at);
        on_scalar(r, (const char *)e->data.scalar.value, e->data.scalar.length,
                  e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE, at);
        break;
    case YAML_SEQUENCE_START_EVENT:
        refuse_anchor(r, e->data.sequence_start.anchor, e->data.sequence_start.tag, at);
        on_open(r, TT_YLIST, at);
        break;
    case YAML_MAPPING_START_EVENT:
        refuse_anchor(r, e->data.mapping_start.anchor, e->data.mapping_start.tag, at);
        on_open(r, TT_YMAP, at);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        break;
    case YAML_ALIAS_EVENT:
        tt_diag_error(r->d, line_of(at), col_of(at), "alias '*%.40s': aliases are not read",
                      (const char *)e->data.alias.anchor);
        on_scalar(r, "", 0, true, at);
        break;
    case YAML_STREAM_END_EVENT:
        r->done = true;
        break;
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_NO_EVENT:
    default:
        break;
    }
}

struct tt_ynode *tt_yaml_read(const char *text, size_t len, struct tt_arena *arena,
                              struct tt_diags *d)
{
    struct reader r = {.arena = arena, .d = d};
    int errors = d->errors;

    if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { // a byte order mark
        text += 3;
        len -= 3;
    }
    if (!len)
        text = "";
    if (!check_bytes(text, len, d))
        return NULL;
    if (!yaml_parser_initialize(&r.parser)) {
        tt_diag_error(d, 0, 0, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    while (!r.done) {
        yaml_event_t e;

        if (!yaml_parser_parse(&r.parser, &e)) {
            explain_failure(&r);
            break;
        }
        on_event(&r, &e);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&r.parser);
    if (d->errors - errors > r.borne)
        return NULL;
    if (!r.root) {
        yaml_mark_t start = {0, 0, 0};

        r.root = new_node(&r, TT_YMAP, &start);
    }
    return r.root;
}

struct tt_ynode *tt_yaml_get(const struct tt_ynode *map, const char *key)
{
    if (map && map->type == TT_YMAP)
        for (struct tt_ynode *n = map->first; n; n = n->next)
            if (!strcmp(n->key, key))
                return n;
    return NULL;
}
