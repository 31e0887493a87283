// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_DAEMON_VERB_H
#define TT_TESTS_DAEMON_VERB_H

#include "tests/support/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The verbs of the command line, called as main calls them, over files in a folder of their own. */
static char dir[] = "/tmp/ttad-verb-XXXXXX";
static char *out, *err; // what the last command wrote

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static inline const char *in_dir(const char *name)
{
    static char path[4][128];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static int remove_dir(void **state)
{
    DIR *folder = opendir(dir);

    (void)state;
    assert_non_null(folder);
    for (const struct dirent *e; (e = readdir(folder));)
        if (*e->d_name != '.')
            unlink(in_dir(e->d_name));
    closedir(folder);
    free(out);
    free(err);
    return rmdir(dir);
}

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* Let a stream write to a file of dir; returns where it wrote before. */
static int redirect(FILE *stream, const char *name)
{
    int saved, fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    fflush(stream);
    saved = dup(fileno(stream));
    assert_true(saved >= 0 && dup2(fd, fileno(stream)) >= 0);
    close(fd);
    return saved;
}

static void put_back(FILE *stream, int saved)
{
    fflush(stream);
    assert_true(dup2(saved, fileno(stream)) >= 0);
    close(saved);
}

/* Run a command with these words (NULL-terminated); its output is left in out and err. */
static int run(int (*cmd)(int, char **), const char *const *words)
{
    char *argv[16];
    int argc = 0, rc, to_out, to_err;

    for (; words[argc]; argc++)
        argv[argc] = strdup(words[argc]);
    argv[argc] = NULL;
    to_out = redirect(stdout, "out");
    to_err = redirect(stderr, "err");
    {
        char *kept[16];

        memcpy(kept, argv, sizeof kept); // the command may move its words
        rc = cmd(argc, argv);
        for (int i = 0; i < argc; i++)
            free(kept[i]);
    }
    put_back(stdout, to_out);
    put_back(stderr, to_err);
    free(out);
    free(err);
    out = read_file(in_dir("out"), NULL);
    err = read_file(in_dir("err"), NULL);
    return rc;
}

#endif
