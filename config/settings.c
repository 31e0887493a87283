// SPDX-License-Identifier: Apache-2.0
#include "config/settings.h"

#include <string.h>

#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define MAXPATH    4096 // bytes

const struct tt_field tt_settings_fields[] = {
    TT_F(TT_FSTR, struct tt_settings, default_policy, "", 0, TT_SETTINGS_NAME, TT_LIVE,
         "of streams that name none; \"\": the first of policies"),
    TT_F(TT_FSTR, struct tt_settings, state_dir, "state", 1, MAXPATH, 0, "folder of the snapshots"),
    TT_F(TT_FSTR, struct tt_settings, database, "", 0, MAXPATH, 0,
         "the record, an SQLite file; \"\": ttad.sqlite in state_dir"),
    TT_F(TT_FINT, struct tt_settings, workers, "1", 1, 64, 0, "threads that own streams"),
    TT_F(TT_FINT, struct tt_settings, threads_per_worker, "0", 0, 256, 0,
         "threads inside an operator; 0: cores / workers"),
    TT_F(TT_FINT, struct tt_settings, worker_nice, "10", 0, 19, 0,
         "how far workers give way to the daemon's other threads, as nice does"),
    TT_E(struct tt_settings, log_level, "info", "err|warn|info|debug", TT_LIVE,
         "what is logged to stderr"),
    TT_E(struct tt_settings, log_format, "logfmt", "logfmt|json", 0, "and how"),
    {0},
};

#define LIMIT(member, def, min, max, help) \
    TT_F(TT_FINT, struct tt_limits, member, def, min, max, 0, help)
#define LIVE(member, def, min, max, help) \
    TT_F(TT_FINT, struct tt_limits, member, def, min, max, TT_LIVE, help)
const struct tt_field tt_limits_fields[] = {
    LIMIT(max_message_bytes, "67108864", 4096, 2147483648.0, "all frames of a message, bytes"),
    LIMIT(memory_bytes, "268435456", 1048576, 1099511627776.0,
          "messages that come, wait, are worked on, are answered, bytes; more wait outside"),
    LIMIT(connections, "512", 4, 65536, "of each socket; one process or address has half of them"),
    LIMIT(max_batch_rows, "256", 1, 65536, "rows of a batch; activations are planned for so many"),
    LIMIT(max_streams, "256", 1, 100000, "open streams"),
    LIVE(queue_per_stream, "8", 1, 65536, "requests waiting for one stream; more are BUSY"),
    LIVE(queue_total, "256", 1, 1048576, "requests waiting in all"),
    LIMIT(queue_bytes, "134217728", 4096, 1099511627776.0, "and their bytes"),
    LIVE(credit, "8", 1, 65536, "requests that a client may have under way"),
    LIMIT(replay_window, "64", 1, 4096,
          "newest ids of a stream; one that comes again is not learnt from"),
    LIMIT(replay_bytes, "4194304", 0, 1099511627776.0,
          "answers kept for ids that come again, of all streams, bytes"),
    LIMIT(drain_ms, "10000", 0, 3600000, "time to answer what is queued after SIGTERM, ms"),
    LIMIT(stuck_ms, "60000", 100, 86400000,
          "a thread at one piece of work for longer is stuck: not live, no watchdog pings, ms"),
    LIVE(feedback_window_s, "3600", 0, 31536000, "age of an answer that still takes labels, s"),
    LIMIT(stream_bytes, "41943040", 1048576, 1ll << 46,
          "memory that open streams share, bytes; each keeps what it needs to answer"),
    LIMIT(ring_versions, "16", 2, 1024, "versions of a stream that are kept in memory"),
    LIVE(snapshots_keep, "10", 1, 100000, "newest snapshots of a stream that stay on the disk"),
    LIMIT(snapshot_bytes, "268435456", 0, 1ll << 50,
          "snapshots of one stream, bytes; the oldest that no decision names go; 0: no bound"),
    LIMIT(snapshots_bytes, "8589934592", 0, 1ll << 50,
          "snapshots of all streams, bytes; who writes then makes room of its own; 0: no bound"),
    LIMIT(journal_bytes, "4194304", 0, 1ll << 32,
          "a version of at most so many bytes is journaled: a kill loses nothing; 0: none is"),
    LIMIT(capture_bytes, "8589934592", 0, 1ll << 50,
          "captured inputs of all streams on the disk, bytes; the oldest go; 0: no bound"),
    {0},
};

#define KEPT(member, def, min, max, help) \
    TT_F(TT_FINT, struct tt_kept, member, def, min, max, 0, help)
static const struct tt_field record_fields[] = {
    KEPT(raw_hours, "24", 1, 87600, "a row for each batch, and for each rule over it"),
    KEPT(around_decisions_min, "15", 0, 1440, "before and after a decision they are kept longer"),
    KEPT(minute_days, "30", 0, 36500, "a row for each stream and minute; 0: for ever"),
    KEPT(hour_days, "730", 0, 36500, "a row for each stream and hour; 0: for ever"),
    KEPT(log_days, "90", 0, 36500, "events that no decision belongs to; 0: for ever"),
    KEPT(max_bytes, "4294967296", 0, 1125899906842624.0,
         "of the file; the oldest rows go first, decisions never; 0: no bound"),
    KEPT(hold_alert_min, "30", 1, 10080, "a stream that holds for longer needs a person"),
    KEPT(worse_alert_min, "15", 1, 10080,
         "and one whose answers are worse than the frozen model's for longer"),
    {0},
};

static const struct tt_field named_fields[] = {
    TT_F(TT_FSTR, struct tt_named, name, NULL, 1, TT_SETTINGS_NAME - 1, 0, "what requests call it"),
    TT_F(TT_FSTR, struct tt_named, path, NULL, 1, MAXPATH, 0, "the file"),
    {0},
};

static const struct tt_field no_fields[] = {{0}};
static const char *const sections[] = {"listen", "models", "policies", "limits", "record", NULL};
static const char *const sockets[] = {"data", "control", "events", "http", NULL};

struct reader {
    struct tt_arena *arena;
    struct tt_diags *d;
    const char *dir; // of the file
    const char *run_dir;
};

static const char *no_memory(struct reader *r)
{
    tt_diag_error(r->d, 0, 0, "out of memory");
    return NULL;
}

/* path as seen from folder dir. */
static const char *join(struct reader *r, const char *dir, const char *path)
{
    struct tt_out o;

    if (*path == '/')
        return path;
    tt_out_init(&o, r->arena);
    tt_outf(&o, "%s/%s", dir, path);
    return tt_out_text(&o) ? tt_out_text(&o) : no_memory(r);
}

/* Add the endpoint to v unless it is there. */
static void add_endpoint(struct reader *r, const struct tt_ynode *n, struct tt_strs *v)
{
    const char *s = tt_endpoint_read(n, r->dir, r->arena, r->d);

    if (!s)
        return;
    for (int i = 0; i < v->n; i++)
        if (!strcmp(v->s[i], s)) {
            tt_diag_error(r->d, n->line, n->col, "'%.60s' is given twice", n->text);
            return;
        }
    v->s[v->n++] = s;
}

static void read_endpoints(struct reader *r, const struct tt_ynode *listen, const char *key,
                           struct tt_strs *ret)
{
    const struct tt_ynode *n = tt_yaml_get(listen, key);
    struct tt_ynode def = {.type = TT_YSCALAR};
    struct tt_out o;

    if (n && (n->type == TT_YMAP || (n->type == TT_YLIST && !n->n))) {
        tt_field_mismatch(n, "a list of endpoints", r->d);
        return;
    }
    ret->s = TT_NEW(r->arena, n && n->n ? n->n : 1, const char *);
    tt_out_init(&o, r->arena);
    tt_outf(&o, "ipc://%s/%s.sock", r->run_dir, key);
    def.text = tt_out_text(&o);
    if (!ret->s || !def.text) {
        no_memory(r);
        return;
    }
    if (!n)
        add_endpoint(r, &def, ret);
    else if (n->type == TT_YSCALAR)
        add_endpoint(r, n, ret);
    else
        for (const struct tt_ynode *c = n->first; c; c = c->next)
            add_endpoint(r, c, ret);
}

/* No two sockets on one endpoint. */
static void check_apart(struct reader *r, const struct tt_ynode *listen, const struct tt_strs *a,
                        const struct tt_strs *b)
{
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n; j++)
            if (!strcmp(a->s[i], b->s[j]))
                tt_diag_error(r->d, listen ? listen->line : 0, listen ? listen->col : 0,
                              "listen: '%.60s' is given to two sockets", a->s[i]);
}

static void read_listen(struct reader *r, const struct tt_ynode *listen, struct tt_settings *ret)
{
    const struct tt_ynode *http = tt_yaml_get(listen, "http");

    tt_fields_read(no_fields, listen, sockets, ret, r->d);
    if (listen && listen->type != TT_YMAP)
        return;
    read_endpoints(r, listen, "data", &ret->data);
    read_endpoints(r, listen, "control", &ret->control);
    read_endpoints(r, listen, "events", &ret->events);
    ret->http = http ? tt_endpoint_read_http(http, r->dir, r->arena, r->d) : "";
    check_apart(r, listen, &ret->data, &ret->control);
    check_apart(r, listen, &ret->data, &ret->events);
    check_apart(r, listen, &ret->control, &ret->events);
}

bool tt_settings_name(const char *name)
{
    const size_t n = strlen(name);

    return n && n < TT_SETTINGS_NAME && strspn(name, NAME_CHARS) == n;
}

static void read_named(struct reader *r, const struct tt_ynode *n, struct tt_named *ret,
                       const struct tt_named *before, int nbefore)
{
    const struct tt_ynode *name = tt_yaml_get(n, "name");

    if (!tt_fields_read(named_fields, n, NULL, ret, r->d))
        return;
    ret->line = n->line;
    ret->col = n->col;
    if (!tt_settings_name(ret->name))
        tt_diag_error(r->d, name->line, name->col,
                      "name: '%.64s': want letters, digits, '.', '_' or '-'", ret->name);
    for (int i = 0; i < nbefore; i++)
        if (before[i].name && !strcmp(before[i].name, ret->name))
            tt_diag_error(r->d, name->line, name->col,
                          "name: '%s' is given twice, first in line %d", ret->name, before[i].line);
    ret->path = join(r, r->dir, ret->path);
}

static const struct tt_named *read_list(struct reader *r, const struct tt_ynode *n, int *ret_n)
{
    struct tt_named *list;
    int i = 0;

    *ret_n = 0;
    if (!n)
        return NULL;
    if (n->type != TT_YLIST || n->n > TT_MAXNAMED) {
        if (n->type != TT_YLIST)
            tt_field_mismatch(n, "a list of maps {name, path}", r->d);
        else
            tt_diag_error(r->d, n->line, n->col, "%s: %d entries, at most %d", n->key, n->n,
                          TT_MAXNAMED);
        return NULL;
    }
    list = TT_NEW(r->arena, n->n, struct tt_named);
    if (!list) {
        no_memory(r);
        return NULL;
    }
    for (const struct tt_ynode *c = n->first; c; c = c->next, i++)
        read_named(r, c, &list[i], list, i);
    *ret_n = i;
    return list;
}

static void read_lists(struct reader *r, const struct tt_ynode *tree, struct tt_settings *ret)
{
    const struct tt_ynode *models = tt_yaml_get(tree, "models");

    ret->models = read_list(r, models, &ret->nmodels);
    ret->policies = read_list(r, tt_yaml_get(tree, "policies"), &ret->npolicies);
    if (!models || (models->type == TT_YLIST && !models->n))
        tt_diag_error(r->d, models ? models->line : 0, models ? models->col : 0,
                      "models: none are given, there is nothing to serve");
}

static void check_default(struct reader *r, const struct tt_ynode *tree, struct tt_settings *ret)
{
    const struct tt_ynode *n = tt_yaml_get(tree, "default_policy");
    const char *names[TT_MAXNAMED + 1], *near;

    for (int i = 0; i < ret->npolicies; i++)
        names[i] = ret->policies[i].name ? ret->policies[i].name : "";
    names[ret->npolicies] = NULL;
    if (!*ret->default_policy) {
        ret->default_policy = ret->npolicies ? names[0] : "";
        return;
    }
    for (int i = 0; i < ret->npolicies; i++)
        if (!strcmp(names[i], ret->default_policy))
            return;
    near = tt_did_you_mean(ret->default_policy, names);
    tt_diag_error(r->d, n->line, n->col, "default_policy: there is no policy '%.64s'%s%s%s",
                  ret->default_policy, near ? ", did you mean '" : "", near ? near : "",
                  near ? "'" : "");
}

static void check_limits(struct reader *r, const struct tt_ynode *n, const struct tt_limits *l)
{
    if (!n)
        return;
    if (l->queue_per_stream > l->queue_total)
        tt_diag_error(r->d, n->line, n->col,
                      "limits: queue_per_stream %lld is above queue_total %lld",
                      (long long)l->queue_per_stream, (long long)l->queue_total);
    if (l->max_message_bytes > l->queue_bytes)
        tt_diag_error(r->d, n->line, n->col,
                      "limits: max_message_bytes %lld is above queue_bytes %lld",
                      (long long)l->max_message_bytes, (long long)l->queue_bytes);
}

static void check_memory(struct reader *r, const struct tt_ynode *n, const struct tt_limits *l)
{
    if (l->memory_bytes / 4 < l->max_message_bytes)
        tt_diag_error(r->d, n ? n->line : 0, n ? n->col : 0,
                      "limits: memory_bytes %lld is below four times max_message_bytes %lld",
                      (long long)l->memory_bytes, (long long)l->max_message_bytes);
}

static void finish(struct reader *r, const struct tt_ynode *tree, struct tt_settings *ret)
{
    static const enum tt_level levels[] = {TT_LOG_ERR, TT_LOG_WARN, TT_LOG_INFO, TT_LOG_DEBUG};

    ret->log_level = levels[ret->log_level];
    check_default(r, tree, ret);
    check_limits(r, tt_yaml_get(tree, "limits"), &ret->limits);
    check_memory(r, tt_yaml_get(tree, "limits"), &ret->limits);
    ret->state_dir = join(r, r->dir, ret->state_dir);
    if (ret->state_dir)
        ret->database = *ret->database ? join(r, r->dir, ret->database)
                                       : join(r, ret->state_dir, "ttad.sqlite");
}

/* The folder that a file is in. */
static const char *folder(const char *file, struct tt_arena *arena)
{
    const char *slash = strrchr(file, '/');

    if (!slash)
        return ".";
    return tt_arena_strndup(arena, file, slash == file ? 1 : (size_t)(slash - file));
}

struct tt_settings *tt_settings_read(const char *file, const char *text, size_t len,
                                     const char *run_dir, struct tt_arena *arena,
                                     struct tt_diags *d)
{
    struct reader r = {.arena = arena, .d = d, .run_dir = run_dir};
    struct tt_settings *ret = TT_NEW(arena, 1, struct tt_settings);
    int errors = d->errors;
    struct tt_ynode *tree = tt_yaml_read(text, len, arena, d);

    if (!tree)
        return NULL;
    r.dir = folder(file, arena);
    if (ret) {
        ret->file = tt_arena_strndup(arena, file, strlen(file));
        ret->tree = tree;
    }
    if (!ret || !ret->file || !r.dir) {
        no_memory(&r);
        return NULL;
    }
    if (!tt_fields_read(tt_settings_fields, tree, sections, ret, d) && tree->type != TT_YMAP)
        return NULL;
    tt_fields_read(tt_limits_fields, tt_yaml_get(tree, "limits"), NULL, &ret->limits, d);
    tt_fields_read(record_fields, tt_yaml_get(tree, "record"), NULL, &ret->record, d);
    read_listen(&r, tt_yaml_get(tree, "listen"), ret);
    read_lists(&r, tree, ret);
    if (d->errors == errors)
        finish(&r, tree, ret);
    return d->errors == errors ? ret : NULL;
}

bool tt_settings_meant(const struct tt_ynode *tree)
{
    static const char *const keys[] = {"listen", "models", "policies", "limits", "state_dir"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (tt_yaml_get(tree, keys[i]))
            return true;
    return false;
}

const char *tt_settings_example(struct tt_arena *arena)
{
    struct tt_out o;

    tt_out_init(&o, arena);
    tt_outf(
        &o,
        "# Every key of the daemon's configuration with its default; only models must be given.\n"
        "# Relative paths are relative to this file.  ttad check FILE checks it.\n\n"
        "# Endpoints, one or a list: ipc://PATH or tcp://127.0.0.1:PORT.  Only this machine:\n"
        "# remote access needs CURVE, which this version does not have.  Without a key the\n"
        "# socket is in /run/ttad (root) or $XDG_RUNTIME_DIR/ttad.\n"
        "listen:\n");
    for (int i = 0; i < 3; i++)
        tt_outf(&o, "  %s: [\"ipc:///run/ttad/%s.sock\"]\n", sockets[i], sockets[i]);
    tt_outf(&o, "  # health and metrics: 127.0.0.1:PORT, [::1]:PORT or unix:PATH; \"\": none\n"
                "  http: \"\"\n");
    tt_outf(&o, "\n# ONNX files, and what requests call them.\n"
                "models:\n  - {name: fashion, path: ../models/fashion_resnet.onnx}\n\n"
                "# Policies by name; ttad preset lists what they may build on.\npolicies:\n"
                "  - {name: observe, path: ../policies/observe.yaml}\n"
                "  - {name: tent, path: ../policies/tent.yaml}\n\n");
    tt_fields_example(tt_settings_fields, 0, &o);
    tt_outf(&o, "\nlimits:\n");
    tt_fields_example(tt_limits_fields, 2, &o);
    tt_outf(&o, "\n# How long the record keeps what.  Decisions are kept for ever.\nrecord:\n");
    tt_fields_example(record_fields, 2, &o);
    return tt_out_text(&o);
}
