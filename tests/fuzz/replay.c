// SPDX-License-Identifier: Apache-2.0
/*
 * A fuzz target over the files of its corpus, once each, without a fuzzer: replay_NAME runs
 * those of tests/fuzz/corpus/NAME, or of the folders given.  What it prints is read as the
 * tests' output is.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static int run_file(const char *path, size_t size)
{
    unsigned char *bytes =
        malloc(size ? size : 1); // of that size, so that a sanitizer sees its end
    FILE *f = fopen(path, "rb");
    int status = 1;

    if (bytes && f && fread(bytes, 1, size, f) == size) {
        fprintf(stderr, "%s\n", path); // the last one named is the one that failed
        status = LLVMFuzzerTestOneInput(bytes, size);
    } else
        fprintf(stderr, "%s: cannot be read\n", path);
    if (f)
        fclose(f);
    free(bytes);
    return status;
}

/* Files of the folder; -1: one could not be run. */
static int run_folder(const char *dir)
{
    DIR *list = opendir(dir);
    char path[1024];
    struct stat st;
    int n = 0;

    if (!list) {
        fprintf(stderr, "%s: no such folder\n", dir);
        return -1;
    }
    for (const struct dirent *e; n >= 0 && (e = readdir(list));) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        n = run_file(path, (size_t)st.st_size) ? -1 : n + 1;
    }
    closedir(list);
    return n;
}

int main(int argc, char **argv)
{
    const char *name = strstr(argv[0], "replay_");
    int sum = 0;
    char dir[256];

    (void)snprintf(dir, sizeof dir, "tests/fuzz/corpus/%s", name ? name + strlen("replay_") : "");
    for (int i = 1; i < (argc > 1 ? argc : 2); i++) {
        const int n = run_folder(argc > 1 ? argv[i] : dir);

        if (n < 0)
            return 1;
        sum += n;
    }
    printf("[  PASSED  ] %d test(s).\n", sum);
    return sum ? 0 : 1;
}
