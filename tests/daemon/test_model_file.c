// SPDX-License-Identifier: Apache-2.0
/* Models whose weights lie in files beside them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <onnx.pb-c.h>

#include "daemon/load.h"
#include "tests/support/check.h"

#define GOLDEN "tests/golden/onnx/"

static char folder[] = "/tmp/ttad-beside-XXXXXX";

static void write_file(const char *name, const void *data, size_t n)
{
    char path[300];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static int make_folder(void **state)
{
    char path[300];

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/m", folder);
    if (mkdir(path, 0700))
        return -1;
    snprintf(path, sizeof path, "%s/m/sub", folder);
    return mkdir(path, 0700);
}

static int remove_folder(void **state)
{
    char command[300];

    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* What an initializer says of where its values are; NULL: that key is not given. */
struct words {
    const char *location, *offset, *length;
};

/* Write a golden model as m/model.onnx with the values of its convolution elsewhere. */
static void write_model(const char *golden, const struct words *w, char *raw)
{
    Onnx__StringStringEntryProto entries[3], *list[3];
    const char *keys[] = {"location", "offset", "length"};
    const char *values[] = {w->location, w->offset, w->length};
    char path[300], *data;
    Onnx__ModelProto *m;
    Onnx__TensorProto *t, was;
    uint8_t *bytes;
    size_t n, k = 0;

    snprintf(path, sizeof path, GOLDEN "%s.onnx", golden);
    data = read_file(path, &n);
    m = onnx__model_proto__unpack(NULL, n, (uint8_t *)data);
    assert_non_null(m);
    t = m->graph->initializer[0];
    was = *t;
    assert_string_equal(t->name, "conv.weight");
    for (int i = 0; i < 3; i++)
        if (values[i]) {
            entries[k] = (Onnx__StringStringEntryProto)ONNX__STRING_STRING_ENTRY_PROTO__INIT;
            entries[k].key = (char *)(uintptr_t)keys[i];
            entries[k].value = (char *)(uintptr_t)values[i];
            list[k] = &entries[k];
            k++;
        }
    t->has_data_location = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    t->external_data = list;
    t->n_external_data = k;
    t->has_raw_data = raw != NULL;
    t->raw_data = (ProtobufCBinaryData){.len = raw ? strlen(raw) : 0, .data = (uint8_t *)raw};
    n = onnx__model_proto__get_packed_size(m);
    bytes = (uint8_t *)malloc(n);
    assert_non_null(bytes);
    onnx__model_proto__pack(m, bytes);
    write_file("m/model.onnx", bytes, n);
    *t = was;
    onnx__model_proto__free_unpacked(m, NULL);
    free(bytes);
    free(data);
}

static enum tt_code load(struct tt_model **ret, struct tt_err *err)
{
    char path[300];

    snprintf(path, sizeof path, "%s/m/model.onnx", folder);
    *ret = NULL;
    return tt_load_model(path, ret, err);
}

/* The values of conv.weight in a golden model: 72 elements. */
static char *values_of(const char *golden, size_t *ret_n)
{
    char path[300], *data, *raw;
    Onnx__ModelProto *m;
    size_t n;

    snprintf(path, sizeof path, GOLDEN "%s.onnx", golden);
    data = read_file(path, &n);
    m = onnx__model_proto__unpack(NULL, n, (uint8_t *)data);
    assert_non_null(m);
    *ret_n = m->graph->initializer[0]->raw_data.len;
    raw = (char *)malloc(*ret_n);
    assert_non_null(raw);
    memcpy(raw, m->graph->initializer[0]->raw_data.data, *ret_n);
    onnx__model_proto__free_unpacked(m, NULL);
    free(data);
    return raw;
}

/* As in the file itself, at whatever offset, in whatever type; and what they are has a name. */
static void values_beside_the_model_are_its_values(void **state)
{
    static const char *const goldens[] = {"tiny", "half", "bfloat", "double"};
    static const char *const files[] = {"w.bin", "sub/w.bin", "./sub/w..bin"};

    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        char path[300], filler[4096] = "", hash[TT_HASH_HEX + 1], text[32];
        struct tt_model *whole, *m;
        struct tt_err err;
        size_t n;
        char *raw = values_of(goldens[i], &n);

        snprintf(path, sizeof path, GOLDEN "%s.onnx", goldens[i]);
        assert_int_equal(tt_load_model(path, &whole, &err), TT_OK);
        for (size_t at = 0; at < 3; at++) {
            static const char *const offsets[] = {"7", "0", NULL};
            struct words w = {files[at], offsets[at], at == 1 ? NULL : text};

            snprintf(text, sizeof text, "%zu", n);
            memcpy(filler + (at ? 0 : 7), raw, n);
            snprintf(path, sizeof path, "m/%s", files[at]);
            write_file(path, filler, sizeof filler);
            write_model(goldens[i], &w, NULL);
            if (load(&m, &err))
                fail_msg("%s", err.msg);
            assert_string_equal(m->params[0].name, "conv.weight");
            assert_memory_equal(m->graph.values[m->params[0].value].data,
                                whole->graph.values[whole->params[0].value].data,
                                72 * sizeof(float));
            memcpy(hash, m->hash, sizeof hash);
            tt_model_free(m);
            filler[at ? 0 : 7] ^= 1;
            write_file(path, filler, sizeof filler);
            assert_int_equal(load(&m, &err), TT_OK);
            assert_string_not_equal(m->hash, hash); // other weights, another model
            tt_model_free(m);
        }
        tt_model_free(whole);
        free(raw);
    }
}

static void what_lies_about_where_the_values_are_is_refused(void **state)
{
    static const struct {
        struct words w;
        enum tt_code code;
        const char *message;
    } cases[] = {
        {{"/etc/passwd", NULL, NULL}, TT_EDENIED, "'/etc/passwd': an absolute path"},
        {{"../w.bin", NULL, NULL}, TT_EDENIED, "'../w.bin', which leaves the model's folder"},
        {{"sub/../../w.bin", NULL, NULL}, TT_EDENIED, "which leaves the model's folder"},
        {{"..", NULL, NULL}, TT_EDENIED, "which leaves the model's folder"},
        {{"out.bin", NULL, NULL}, TT_EDENIED, "'out.bin', which is a link out of the model's"},
        {{"outside/w.bin", NULL, NULL}, TT_EDENIED, "which is a link out of the model's folder"},
        {{"twin/w.bin", NULL, NULL}, TT_EDENIED, "which is a link out of the model's folder"},
        {{NULL, "0", NULL}, TT_EPARSE, "its values are in another file, which is not named"},
        {{"", NULL, NULL}, TT_EPARSE, "its values are in another file, which is not named"},
        {{"gone.bin", NULL, NULL}, TT_ENOTFOUND, "'gone.bin' beside the model: No such file"},
        {{"w.bin/x", NULL, NULL}, TT_ENOTFOUND, "'w.bin/x' beside the model: Not a directory"},
        {{"sub", NULL, NULL}, TT_EIO, "a directory, want a file"},
        {{"pipe", NULL, NULL}, TT_EIO, "not a regular file"},
        {{"short.bin", NULL, NULL}, TT_ESHAPE, "'short.bin', which has 287 bytes, want 288 at 0"},
        {{"w.bin", "3809", NULL}, TT_ESHAPE, "'w.bin', which has 4096 bytes, want 288 at 3809"},
        {{"w.bin", "9223372036854775000", NULL}, TT_ESHAPE, "want 288 at 9223372036854775000"},
        {{"w.bin", "99999999999999999999", NULL}, TT_EPARSE, "the offset of its values is '999"},
        {{"w.bin", "-1", NULL}, TT_EPARSE, "the offset of its values is '-1', want a number"},
        {{"w.bin", "0x10", NULL}, TT_EPARSE, "the offset of its values is '0x10'"},
        {{"w.bin", "", NULL}, TT_EPARSE, "the offset of its values is ''"},
        {{"w.bin", "0", "284"}, TT_ESHAPE, "it has 284 bytes in 'w.bin', its shape wants 288"},
        {{"w.bin", "0", "4096"}, TT_ESHAPE, "it has 4096 bytes in 'w.bin', its shape wants 288"},
        {{"w.bin", "0", "many"}, TT_EPARSE, "the length of its values is 'many'"},
    };
    char zeros[4096] = "", path[300], target[300];

    (void)state;
    write_file("w.bin", zeros, sizeof zeros);
    write_file("m/w.bin", zeros, sizeof zeros);
    write_file("m/short.bin", zeros, 287);
    snprintf(path, sizeof path, "%s/m/out.bin", folder);
    assert_int_equal(symlink("../w.bin", path), 0);
    snprintf(path, sizeof path, "%s/m/outside", folder);
    assert_int_equal(symlink(folder, path), 0);
    snprintf(path, sizeof path, "%s/m/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(target, sizeof target, "%s/m2", folder); // its name begins as the folder's does
    assert_int_equal(mkdir(target, 0700), 0);
    write_file("m2/w.bin", zeros, sizeof zeros);
    snprintf(path, sizeof path, "%s/m/twin", folder);
    assert_int_equal(symlink(target, path), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_model *m;
        struct tt_err err;
        enum tt_code rc;

        write_model("tiny", &cases[i].w, NULL);
        rc = load(&m, &err);
        if (rc != cases[i].code)
            fail_msg("%s: %s, want %s: %s", cases[i].message, tt_code_name(rc),
                     tt_code_name(cases[i].code), rc ? err.msg : "");
        assert_contains(err.msg, "m/model.onnx: tensor 'conv.weight': ");
        assert_contains(err.msg, cases[i].message);
        assert_null(m);
    }
}

static void a_link_that_stays_in_the_folder_is_followed(void **state)
{
    const struct words w = {"link.bin", NULL, NULL};
    char zeros[4096] = "", path[300];
    struct tt_model *m;
    struct tt_err err;

    (void)state;
    write_file("m/sub/real.bin", zeros, sizeof zeros);
    snprintf(path, sizeof path, "%s/m/link.bin", folder);
    assert_int_equal(symlink("sub/real.bin", path), 0);
    write_model("tiny", &w, NULL);
    if (load(&m, &err))
        fail_msg("%s", err.msg);
    tt_model_free(m);
}

static void values_are_in_one_place_only(void **state)
{
    const struct words w = {"w.bin", NULL, NULL};
    char raw[] = "1234";
    struct tt_model *m;
    struct tt_err err;

    (void)state;
    write_model("tiny", &w, raw);
    assert_int_equal(load(&m, &err), TT_EPARSE);
    assert_contains(err.msg, "'conv.weight': it has raw_data and values in another file");
}

/* Bytes in memory have no folder. */
static void a_model_in_memory_has_nothing_beside_it(void **state)
{
    const struct words w = {"w.bin", NULL, NULL};
    struct tt_model *m;
    struct tt_err err;
    char path[300], *data;
    size_t n;

    (void)state;
    write_model("tiny", &w, NULL);
    snprintf(path, sizeof path, "%s/m/model.onnx", folder);
    data = read_file(path, &n);
    assert_int_equal(tt_model_read_onnx(data, n, 0, &m, &err), TT_EUNSUPPORTED);
    assert_contains(err.msg, "tensor 'conv.weight': its values are in a file beside the model");
    free(data);
}

/* From the folder itself a model's path has no slash. */
static void a_path_without_a_folder_is_one_here(void **state)
{
    const struct words w = {"w.bin", NULL, NULL};
    char zeros[4096] = "", here[4096], path[300];
    struct tt_model *m;
    struct tt_err err;

    (void)state;
    write_file("m/w.bin", zeros, sizeof zeros);
    write_model("tiny", &w, NULL);
    snprintf(path, sizeof path, "%s/m", folder);
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(path), 0);
    if (tt_load_model("model.onnx", &m, &err))
        fail_msg("%s", err.msg);
    tt_model_free(m);
    assert_int_equal(chdir(here), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_beside_the_model_are_its_values),
        cmocka_unit_test(what_lies_about_where_the_values_are_is_refused),
        cmocka_unit_test(a_link_that_stays_in_the_folder_is_followed),
        cmocka_unit_test(values_are_in_one_place_only),
        cmocka_unit_test(a_model_in_memory_has_nothing_beside_it),
        cmocka_unit_test(a_path_without_a_folder_is_one_here),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
