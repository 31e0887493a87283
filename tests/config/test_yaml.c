// SPDX-License-Identifier: Apache-2.0
#include "tests/support/check.h"

#include <stdio.h>
#include <string.h>

#include "config/yaml.h"

static struct tt_arena arena;
static struct tt_diags diags;

static int set_up(void **state)
{
    (void)state;
    tt_arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tt_arena_release(&arena);
    return 0;
}

/* The tree, for one whom every error stops. */
static struct tt_ynode *read_text(const char *text, size_t n)
{
    struct tt_ynode *root;

    tt_diags_init(&diags, &arena, "t.yaml", text, n);
    root = tt_yaml_read(text, n, &arena, &diags);
    assert_true(root || diags.errors);
    return diags.errors ? NULL : root;
}

static void every_node_knows_its_place(void **state)
{
    const char *text = "a: 1\nb:\n  - x\n  - {c: \"2\"}\nd: [p, q]\n";
    struct tt_ynode *root = read_text(text, strlen(text)), *b, *c;

    (void)state;
    assert_non_null(root);
    assert_int_equal(root->type, TT_YMAP);
    assert_int_equal(root->n, 3);
    b = tt_yaml_get(root, "b");
    assert_int_equal(b->type, TT_YLIST);
    assert_int_equal(b->key_line, 2);
    assert_int_equal(b->line, 3);
    assert_int_equal(b->n, 2);
    assert_string_equal(b->first->text, "x");
    c = tt_yaml_get(b->first->next, "c");
    assert_string_equal(c->text, "2");
    assert_true(c->quoted);
    assert_int_equal(c->line, 4);
    assert_int_equal(c->col, 9);
    assert_int_equal(c->key_col, 6);
    assert_null(tt_yaml_get(root, "z"));
    assert_null(tt_yaml_get(b, "z"));
}

static void nothing_is_an_empty_map(void **state)
{
    static const char *const texts[] = {"", "# only a comment\n", "\xef\xbb\xbf", "\n\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct tt_ynode *root = read_text(texts[i], strlen(texts[i]));

        assert_non_null(root);
        assert_int_equal(root->type, TT_YMAP);
        assert_int_equal(root->n, 0);
    }
}

static const struct {
    const char *text;
    size_t n; // 0: strlen
    const char *first_line;
} bad[] = {
    {"a: 1\na: 2\n", 0, "t.yaml:2:1: key 'a' is given twice, first in line 1"},
    {"x: {a: 1, b: 2, a: 3}\n", 0, "t.yaml:1:17: key 'a' is given twice, first in line 1"},
    {"a: &x [1]\n", 0, "t.yaml:1:4: anchor '&x': anchors are not read"},
    {"a: *x\n", 0, "t.yaml:1:4: alias '*x': aliases are not read"},
    {"a: !!int 1\n", 0, "t.yaml:1:4: tag 'tag:yaml.org,2002:int': tags are not read"},
    {"a: !own [1]\n", 0, "t.yaml:1:4: tag '!own': tags are not read"},
    {"a: 1\n---\nb: 2\n", 0, "t.yaml:2:1: a second document, one is read"},
    {"%YAML 1.1\n---\na: 1\n", 0, "t.yaml:1:1: directives (%) are not read"},
    {"a:\n\tb: 1\n", 0, "t.yaml:2:1: a tab: YAML is indented with spaces"},
    {"a: [1, 2\n", 0,
     "t.yaml:2:1: not YAML: did not find expected ',' or ']', while parsing a "
     "flow sequence that begins at line 1"},
    {"a: b: c\n", 0, "t.yaml:1:5: not YAML: mapping values are not allowed in this context"},
    {"a: 'x\n", 0,
     "t.yaml:2:1: not YAML: found unexpected end of stream, while scanning a quoted "
     "scalar that begins at line 1"},
    {"a: 1\0b\n", 7, "t.yaml:1:5: a NUL byte: not a text file (byte 0x00)"},
    {"a: \"x\\0y\"\n", 0, "t.yaml:1:4: a NUL inside a text"},
    {"a: 1\nb: \xff\n", 0, "t.yaml:2:4: not UTF-8 (byte 0xff)"},
    {"a: \xc0\xaf\n", 0, "t.yaml:1:4: not UTF-8 (byte 0xc0)"},
    {"a: \xed\xa0\x80\n", 0, "t.yaml:1:4: not UTF-8 (byte 0xed)"},
    {"a: \xe4\xbd", 0, "t.yaml:1:4: not UTF-8 (byte 0xe4)"},
    {"\xff\xfe"
     "a\0",
     4, "t.yaml:1:1: not UTF-8 (byte 0xff)"},
    {"a: \x07\n", 0, "t.yaml:1:4: a control character (byte 0x07)"},
    {"a: 1\rb: 2\n", 0,
     "t.yaml:1:5: a carriage return alone: lines end with LF or CRLF (byte 0x0d)"},
    {"a: \xe2\x80\xa8\n", 0,
     "t.yaml:1:4: a Unicode line separator: lines end with LF or CRLF (byte 0xe2)"},
    {"? [a, b]\n: 1\n", 0, "t.yaml:1:3: a list as a key, want a word"},
    {"{a: 1}: 2\n", 0, "t.yaml:1:1: a map as a key, want a word"},
    {"\"\": 1\n", 0, "t.yaml:1:1: a key without a name"},
};

static void what_is_refused_is_told_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t n = bad[i].n ? bad[i].n : strlen(bad[i].text);
        const char *told;
        char line[200];

        assert_null(read_text(bad[i].text, n));
        assert_true(diags.errors > 0);
        told = tt_diags_text(&diags);
        snprintf(line, sizeof line, "%.*s", (int)strcspn(told, "\n"), told);
        assert_string_equal(line, bad[i].first_line);
    }
}

static void deep_nesting_stops_at_the_limit(void **state)
{
    char text[20000];

    (void)state;
    memset(text, '[', sizeof text);
    assert_null(read_text(text, sizeof text));
    assert_contains(tt_diags_text(&diags), "t.yaml:1:33: more than 32 levels");
    memset(text, '[', TT_YAML_DEPTH);
    memset(text + TT_YAML_DEPTH, ']', TT_YAML_DEPTH);
    assert_non_null(read_text(text, 2 * (size_t)TT_YAML_DEPTH));
}

static void a_billion_laughs_are_refused_before_they_grow(void **state)
{
    static const char text[] = "a: &a [x, x, x, x, x, x, x, x]\n"
                               "b: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
                               "c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n"
                               "d: &d [*c, *c, *c, *c, *c, *c, *c, *c]\n";

    (void)state;
    assert_null(read_text(text, strlen(text)));
    assert_int_equal(diags.errors, 4 + 24);
    assert_true(arena.used < 65536);
}

static void huge_keys_and_long_maps_are_refused(void **state)
{
    static char text[80000];
    size_t n;

    (void)state;
    memset(text, 'k', 1000);
    memcpy(text + 1000, ": 1\n", 5);
    assert_null(read_text(text, 1004));
    assert_contains(tt_diags_text(&diags), "a key of 1000 bytes, at most 128");
    n = 0;
    for (int i = 0; i < 5000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "k%d: 1\n", i);
    assert_null(read_text(text, n));
    assert_contains(tt_diags_text(&diags), "t.yaml:4097:8: more than 4096 entries");
}

static void mistakes_are_shown_in_their_lines(void **state)
{
    const char *text = "a: 1\n\xc3\xa9: {b: 1, b: 2}\na: 3\n";

    (void)state;
    assert_null(read_text(text, strlen(text)));
    assert_string_equal(tt_diags_text(&diags),
                        "t.yaml:2:11: key 'b' is given twice, first in line 2\n"
                        "  2 | \xc3\xa9: {b: 1, b: 2}\n"
                        "    |           ^\n"
                        "t.yaml:3:1: key 'a' is given twice, first in line 1\n"
                        "  3 | a: 3\n"
                        "    | ^\n");
}

static void a_key_given_twice_an_anchor_and_a_tag_leave_the_tree(void **state)
{
    static const struct {
        const char *text;
        int errors, n; // entries of the map; 0: there is no tree
    } rows[] = {
        {"a: 1\nb: 2\na: {c: 3}\n", 1, 3}, {"a: &x 1\nb: !!int 2\n", 2, 2},
        {"a: &x 1\nb: *x\n", 2, 0},        {"a: 1\na: 2\nb: [\n", 2, 0},
        {"a: 1\na: 2\n[b]: 3\n", 2, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *text = rows[i].text;
        struct tt_ynode *root;

        tt_diags_init(&diags, &arena, "t.yaml", text, strlen(text));
        root = tt_yaml_read(text, strlen(text), &arena, &diags);
        assert_int_equal(diags.errors, rows[i].errors);
        assert_int_equal(root ? root->n : 0, rows[i].n);
    }
}

static void many_mistakes_are_counted_and_long_lines_cut(void **state)
{
    char text[6000];
    struct tt_err err;
    size_t n = 0;
    const char *told;

    (void)state;
    n += (size_t)snprintf(text, sizeof text, "{a: 1");
    while (n < sizeof text - 20)
        n += (size_t)snprintf(text + n, sizeof text - n, ", a: 1");
    n += (size_t)snprintf(text + n, sizeof text - n, "}\n");
    assert_null(read_text(text, n));
    assert_int_equal(diags.n, TT_MAXDIAGS);
    assert_int_equal(diags.dropped, diags.errors - TT_MAXDIAGS);
    told = tt_diags_text(&diags);
    assert_contains(told, "t.yaml: 964 more\n");
    for (size_t width = 0; *told; told += width + (told[width] == '\n')) {
        width = strcspn(told, "\n");
        assert_true(width < 120);
    }
    assert_int_equal(tt_diags_err(&diags, &err), TT_EPARSE);
    assert_string_equal(err.msg, "t.yaml:1:8: key 'a' is given twice, first in line 1");
}

static void every_allocation_may_fail(void **state)
{
    const char *text = "a: [1, 2, {b: c}]\nd:\n  e: f\n";
    struct tt_ynode *root = NULL;
    int failures = 0;

    (void)state;
    for (size_t limit = 64; !root && limit < 100000; limit += 64) {
        struct tt_arena small;

        tt_arena_init(&small, limit);
        tt_diags_init(&diags, &small, "t.yaml", text, strlen(text));
        root = tt_yaml_read(text, strlen(text), &small, &diags);
        if (!root) {
            failures++;
            assert_string_equal(diags.list[0].msg, "out of memory");
            assert_contains(tt_diags_text(&diags), "out of memory");
        }
        tt_arena_release(&small);
    }
    assert_non_null(root);
    assert_true(failures > 10);
}

static void near_words_are_found_and_far_ones_are_not(void **state)
{
    static const char *const words[] = {"steps", "momentum", "lr", "select", NULL};

    (void)state;
    assert_string_equal(tt_did_you_mean("step", words), "steps");
    assert_string_equal(tt_did_you_mean("momentmu", words), "momentum");
    assert_string_equal(tt_did_you_mean("rl", words), "lr");
    assert_null(tt_did_you_mean("optimizer", words));
    assert_null(tt_did_you_mean("", words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_knows_its_place),
        cmocka_unit_test(nothing_is_an_empty_map),
        cmocka_unit_test(what_is_refused_is_told_with_its_place),
        cmocka_unit_test(deep_nesting_stops_at_the_limit),
        cmocka_unit_test(a_billion_laughs_are_refused_before_they_grow),
        cmocka_unit_test(huge_keys_and_long_maps_are_refused),
        cmocka_unit_test(mistakes_are_shown_in_their_lines),
        cmocka_unit_test(a_key_given_twice_an_anchor_and_a_tag_leave_the_tree),
        cmocka_unit_test(many_mistakes_are_counted_and_long_lines_cut),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(near_words_are_found_and_far_ones_are_not),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
