// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

/* The fuzz targets as plain tests: each reads its corpus, and mutations of it with a fixed seed. */
#define LLVMFuzzerTestOneInput fuzz_onnx
#include "tests/fuzz/fuzz_onnx.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_safetensors
#include "tests/fuzz/fuzz_safetensors.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_npy
#include "tests/fuzz/fuzz_npy.c"
#undef LLVMFuzzerTestOneInput

#define MUTATIONS 60 // of each file

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13; // Marsaglia 2003
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Change a few bytes, or cut, or repeat a piece; returns the new length. */
static size_t mutate(uint8_t *data, size_t n, size_t room, uint64_t *seed)
{
    for (uint64_t times = next(seed) % 4 + 1; times && n; times--) {
        size_t at = next(seed) % n, len = next(seed) % (n - at) % 32;

        switch (next(seed) % 4) {
        case 0:
            data[at] = (uint8_t)next(seed);
            break;
        case 1:
            data[at] = (uint8_t)(data[at] + (next(seed) % 2 ? 1 : -1));
            break;
        case 2:
            memmove(data + at, data + at + len, n - at - len);
            n -= len;
            break;
        default:
            if (n + len > room)
                break;
            memmove(data + at + len, data + at, n - at);
            n += len;
        }
    }
    return n;
}

/* Run a target over one file; the bytes lie in a block of their own size. */
static void replay_file(int (*target)(const uint8_t *, size_t), const char *path)
{
    uint64_t seed = 88172645463325252;
    size_t n;
    char *data = read_file(path, &n);

    target((const uint8_t *)data, n);
    for (int i = 0; i < MUTATIONS; i++) {
        uint8_t *copy = (uint8_t *)malloc(n + 64), *exact;
        size_t len;

        assert_non_null(copy);
        memcpy(copy, data, n);
        len = mutate(copy, n, n + 64, &seed);
        exact = (uint8_t *)malloc(len ? len : 1);
        assert_non_null(exact);
        memcpy(exact, copy, len);
        target(exact, len);
        free(exact);
        free(copy);
    }
    free(data);
}

static int replay(int (*target)(const uint8_t *, size_t), const char *dir, const char *end)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int files = 0;

    assert_non_null(d);
    while ((e = readdir(d))) {
        size_t n = strlen(e->d_name), tail = strlen(end);
        char path[512];

        if (e->d_name[0] == '.' || n < tail || strcmp(e->d_name + n - tail, end) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        replay_file(target, path);
        files++;
    }
    closedir(d);
    return files;
}

static void the_reader_of_onnx_survives_its_corpus(void **state)
{
    (void)state;
    assert_true(replay(fuzz_onnx, "tests/golden/onnx", ".onnx") > 40);
    assert_true(replay(fuzz_onnx, "tests/fuzz/corpus/onnx", "") > 0);
}

static void the_reader_of_safetensors_survives_its_corpus(void **state)
{
    (void)state;
    assert_true(replay(fuzz_safetensors, "tests/fuzz/corpus/safetensors", "") > 3);
}

static void the_reader_of_npy_survives_its_corpus(void **state)
{
    (void)state;
    assert_true(replay(fuzz_npy, "tests/golden/onnx", ".npy") > 10);
    assert_true(replay(fuzz_npy, "tests/fuzz/corpus/npy", "") > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reader_of_onnx_survives_its_corpus),
        cmocka_unit_test(the_reader_of_safetensors_survives_its_corpus),
        cmocka_unit_test(the_reader_of_npy_survives_its_corpus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
