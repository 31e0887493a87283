// SPDX-License-Identifier: Apache-2.0
/*
 * ttad replay: run captured streams again, and say whether everything came out as it did then.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/capture_files.h"
#include "daemon/commands.h"
#include "daemon/options.h"
#include "daemon/rerun.h"
#include "monitor/snapshot.h"

static const char usage[] =
    "usage: ttad replay --db FILE [options]\n\n"
    "Run streams again whose policy has `capture: on`, from the inputs beside the record, and\n"
    "compare every version, answer and decision with what was captured, and with the record.\n\n"
    "  --db FILE      the record, as `database` of the configuration names it\n"
    "  --stream S     this one only\n"
    "  --from STEP    begin with the newest file that begins at or before STEP\n"
    "  --model FILE   the model, if it is not any more where it was\n"
    "  --threads N    as many as the worker had by default\n"
    "  --json         the result as one JSON object on stdout\n\n"
    "Exit status: 0 all equal, 1 something differs (the first difference is named), 2 it could\n"
    "not be run: wrong usage, no capture, a damaged file.\n";

struct replay {
    const char *db, *stream, *model;
    int64_t threads, from;
    bool json, tty;
    struct tt_history *history;
    struct tt_rerun_model model_cache;
    json_t *streams;
    double started, shown;
    bool differs, failed;
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void progress(void *arg, const struct tt_rerun *r)
{
    struct replay *all = arg;

    if (!all->tty || now_s() - all->shown < 0.1)
        return;
    all->shown = now_s();
    fprintf(stderr, "\r\033[K%s: %" PRId64 " batches, step %" PRId64, r->stream, r->batches,
            r->step);
}

static void say_json(struct replay *all, const struct tt_rerun *r, const char *name, double seconds,
                     const struct tt_err *err)
{
    json_t *notes = json_array(), *o;

    for (int i = 0; i < r->nnotes; i++)
        json_array_append_new(notes, json_string(r->note[i]));
    o = json_pack("{s:s, s:b, s:s?, s:s?, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
                  "s:s, s:I, s:f}",
                  "stream", name, "equal", !r->differs && !err, "difference",
                  r->differs ? r->difference : NULL, "error", err ? err->msg : NULL, "notes", notes,
                  "files", (json_int_t)r->files, "batches", (json_int_t)r->batches, "samples",
                  (json_int_t)r->samples, "versions", (json_int_t)r->versions, "rollbacks",
                  (json_int_t)r->rollbacks, "decisions", (json_int_t)r->decisions, "labels",
                  (json_int_t)r->labels, "orders", (json_int_t)r->orders, "record_rows",
                  (json_int_t)r->rows, "record_missing", (json_int_t)r->rows_missing, "version",
                  r->version, "step", (json_int_t)r->step, "seconds", seconds);
    json_array_append_new(all->streams, o);
}

static void say_text(struct replay *all, const struct tt_rerun *r, const char *name, double seconds,
                     const struct tt_err *err)
{
    if (all->tty)
        fprintf(stderr, "\r\033[K");
    if (!r->differs && !err)
        printf("%s: equal: %" PRId64 " batches, %" PRId64 " versions, %" PRId64
               " rollbacks, %" PRId64 " labels, %" PRId64 " orders; ends with %s of step %" PRId64
               "; %.1f batches/s\n",
               name, r->batches, r->versions, r->rollbacks, r->labels, r->orders, r->version,
               r->step, seconds > 0 ? (double)r->batches / seconds : 0);
    if (r->differs)
        printf("%s: differs: %s\n", name, r->difference);
    if (err)
        printf("%s: stopped after %" PRId64 " batches%s\n", name, r->batches,
               r->differs ? "" : ", equal up to there");
    for (int i = 0; i < r->nnotes; i++)
        printf("  %s\n", r->note[i]);
    if (r->rows || r->rows_missing)
        printf("  the record agrees on %" PRId64 " batches and %" PRId64 " decisions%s", r->rows,
               r->differs ? 0 : r->decisions, r->rows_missing ? "" : "\n");
    if (r->rows_missing)
        printf("; %" PRId64 " batches are not in it (any more)\n", r->rows_missing);
    fflush(stdout);
    if (err)
        fprintf(stderr, "ttad replay: stream '%s': %s\n", name, err->msg);
}

static void one_stream(struct replay *all, const char *name, const char *dir)
{
    struct tt_rerun_spec spec = {.dir = dir,
                                 .model = all->model,
                                 .threads = all->threads,
                                 .from = all->from,
                                 .history = all->history,
                                 .cache = &all->model_cache,
                                 .progress = progress,
                                 .arg = all};
    const double start = now_s();
    struct tt_rerun r;
    struct tt_err err;
    bool ok = tt_rerun_stream(&spec, &r, &err) == TT_OK;

    if (*r.stream)
        name = r.stream;
    all->differs |= r.differs;
    all->failed |= !ok;
    (all->json ? say_json : say_text)(all, &r, name, now_s() - start, ok ? NULL : &err);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

/* Every stream that has a folder, or the one that was asked for. */
static enum tt_code run_all(struct replay *all, struct tt_err *err)
{
    char root[TT_CAPTURE_PATH - 300], dir[TT_CAPTURE_PATH], encoded[TT_SNAPSHOT_DIR];
    struct dirent **list;
    struct stat st;
    int n;

    if (tt_history_open(all->db, &all->history, err) != TT_OK)
        return err->code;
    (void)snprintf(root, sizeof root, "%.3700s.captures", all->db);
    if (stat(root, &st) < 0)
        return tt_fail(err, TT_ENOTFOUND,
                       "%s: %s; nothing was captured: a policy has to say `capture: on`", root,
                       strerror(errno));
    if (all->stream) {
        if (tt_snapshot_dir(all->stream, encoded, err) != TT_OK)
            return err->code;
        (void)snprintf(dir, sizeof dir, "%s/%s", root, encoded);
        one_stream(all, all->stream, dir);
        return TT_OK;
    }
    n = scandir(root, &list, not_hidden, by_name);
    if (n <= 0)
        return tt_fail(err, TT_ENOTFOUND, "%s: no captured streams", root);
    for (int i = 0; i < n; i++) {
        (void)snprintf(dir, sizeof dir, "%s/%s", root, list[i]->d_name);
        one_stream(all, list[i]->d_name, dir);
        free(list[i]);
    }
    free(list);
    return TT_OK;
}

static void end(struct replay *all)
{
    if (all->json && json_array_size(all->streams)) {
        json_t *o = json_pack("{s:b, s:O}", "equal", !all->differs && !all->failed, "streams",
                              all->streams);

        json_dumpf(o, stdout, JSON_REAL_PRECISION(8));
        printf("\n");
        json_decref(o);
    }
    json_decref(all->streams);
    tt_history_close(all->history);
    tt_model_free(all->model_cache.model);
}

int tt_cmd_replay(int argc, char **argv)
{
    struct replay all = {.db = NULL};
    const char *plain[1];
    bool help = false;
    struct tt_err err;
    int n;
    const struct tt_option table[] = {
        {.name = "--db", .text = &all.db},
        {.name = "--stream", .text = &all.stream},
        {.name = "--model", .text = &all.model},
        {.name = "--threads", .number = &all.threads, .min = 1, .max = 256},
        {.name = "--from", .number = &all.from, .max = INT64_MAX},
        {.name = "--json", .on = &all.json},
        {.name = "--help", .on = &help},
        {0}};

    if (!tt_options_read(argc, argv, table, plain, 0, &n))
        return 2;
    if (help) {
        fputs(usage, stdout);
        return 0;
    }
    if (!all.db) {
        fprintf(stderr, "ttad replay: --db is missing\n%s", usage);
        return 2;
    }
    all.tty = isatty(STDERR_FILENO);
    all.streams = json_array();
    if (run_all(&all, &err) != TT_OK) {
        fprintf(stderr, "ttad replay: %s\n", err.msg);
        all.failed = true;
    }
    end(&all);
    return all.failed ? 2 : all.differs;
}
