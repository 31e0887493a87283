// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "config/settings.h"
#include "tests/support/check.h"

#define BASE                                                                      \
    "listen: {data: \"ipc:///d\", control: \"ipc:///c\", events: \"ipc:///e\"}\n" \
    "models: [{name: m, path: m.onnx}]\npolicies: [{name: p, path: p.yaml}]\n"

static struct tt_arena arena;

static const struct tt_settings *read(const char *text)
{
    struct tt_diags *d = TT_NEW(&arena, 1, struct tt_diags);
    const struct tt_settings *s;

    tt_diags_init(d, &arena, "/etc/t.yaml", text, strlen(text));
    s = tt_settings_read("/etc/t.yaml", text, strlen(text), "/run/t", &arena, d);
    if (!s)
        fail_msg("%s", tt_diags_text(d));
    return s;
}

/* Where the first change stands that only a restart could make; "": there is none. */
static const char *fixed(const char *now, const char *next)
{
    struct tt_diags *d = TT_NEW(&arena, 1, struct tt_diags);

    tt_diags_init(d, &arena, "/etc/t.yaml", NULL, 0);
    tt_settings_fixed(read(now), read(next), d);
    return d->errors ? tt_diags_line(d, 0) : "";
}

static void what_only_a_restart_changes_is_told_at_its_place(void **state)
{
    static const struct {
        const char *now, *next, *place;
    } cases[] = {
        {BASE, BASE "workers: 2\n", "/etc/t.yaml:4:10: workers: "},
        {BASE "workers: 2\n", BASE, "/etc/t.yaml:1:1: workers: "}, // gone, so the default
        {BASE, BASE "state_dir: elsewhere\n", "/etc/t.yaml:4:12: state_dir: "},
        {BASE, BASE "database: d.db\n", "/etc/t.yaml:4:11: database: "},
        {BASE, BASE "limits:\n  max_streams: 3\n", "/etc/t.yaml:5:16: max_streams: "},
        {BASE "limits: {max_streams: 3}\n", BASE "limits: {max_streams: 4}\n",
         "/etc/t.yaml:4:23: max_streams: "},
        {BASE,
         "listen: {data: \"ipc:///d\", control: \"ipc:///c\"}\nmodels: [{name: m, path: a}]\n",
         "/etc/t.yaml:1:9: events: "},
        {BASE,
         "listen: {data: [\"ipc:///d\", \"ipc:///f\"], control: \"ipc:///c\", events: "
         "\"ipc:///e\"}\nmodels: [{name: m, path: a}]\n",
         "/etc/t.yaml:1:16: data: "},
        {BASE, BASE "record: {log_days: 3}\n", "/etc/t.yaml:4:9: record: "},
    };

    (void)state;
    tt_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_contains(fixed(cases[i].now, cases[i].next), cases[i].place);
    tt_arena_release(&arena);
}

static void what_a_reload_may_change_is_named(void **state)
{
    static const char next[] = BASE "log_level: warn\ndefault_policy: q\nlimits: {credit: 3, "
                                    "snapshots_keep: 4}\n";
    char *text;
    const char **keys;
    size_t n = sizeof next;

    (void)state;
    tt_arena_init(&arena, 0);
    text = tt_arena_strndup(&arena, next, n - 1);
    memcpy(strstr(text, "name: p, path: p"), "name: q, path: q", 16);
    assert_string_equal(fixed(BASE, text), "");
    assert_int_equal(tt_settings_changed(read(BASE), read(text), &arena, &keys), 4);
    assert_string_equal(keys[0], "default_policy");
    assert_string_equal(keys[1], "log_level");
    assert_string_equal(keys[2], "limits.credit");
    assert_string_equal(keys[3], "limits.snapshots_keep");
    assert_int_equal(tt_settings_changed(read(text), read(text), &arena, &keys), 0);
    tt_arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_only_a_restart_changes_is_told_at_its_place),
        cmocka_unit_test(what_a_reload_may_change_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
