// SPDX-License-Identifier: Apache-2.0
#include "daemon/capture_head.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/reply.h"

const char *tt_captured_head_text(const struct tt_captured_head *h, struct tt_arena *arena)
{
    json_t *o = json_pack(
        "{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:b}",
        "stream", h->stream, "model", h->model, "model_path", tt_json_text(h->model_path),
        "model_hash", h->model_hash, "policy", h->policy, "policy_hash", h->policy_hash,
        "policy_text", h->policy_text, "ttad", h->ttad, "machine", h->machine, "snapshots",
        tt_json_text(h->snapshots), "why", h->why, "number", (json_int_t)h->number, "threads",
        (json_int_t)h->threads, "ring", (json_int_t)h->ring, "feedback_ms",
        (json_int_t)h->feedback_ms, "now_ms", (json_int_t)h->now_ms, "follows", (int)h->follows);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    const char *copy = text ? tt_arena_strndup(arena, text, strlen(text)) : NULL;

    free(text);
    json_decref(o);
    return copy;
}

enum tt_code tt_captured_head_read(const char *text, size_t n, struct tt_arena *arena,
                                   struct tt_captured_head *ret, struct tt_err *err)
{
    json_error_t why;
    json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    json_int_t number, threads, ring, feedback_ms, now_ms;
    const char *s[11];
    enum tt_code code = TT_OK;
    int follows;

    if (!o ||
        json_unpack_ex(o, &why, 0,
                       "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, "
                       "s:I, s:I, s:b}",
                       "stream", &s[0], "model", &s[1], "model_path", &s[2], "model_hash", &s[3],
                       "policy", &s[4], "policy_hash", &s[5], "policy_text", &s[6], "ttad", &s[7],
                       "machine", &s[8], "snapshots", &s[9], "why", &s[10], "number", &number,
                       "threads", &threads, "ring", &ring, "feedback_ms", &feedback_ms, "now_ms",
                       &now_ms, "follows", &follows)) {
        json_decref(o);
        return tt_fail(err, TT_EPARSE, "its head: %.160s", why.text);
    }
    if (ring < 1 || ring > 65536 || threads < 1 || threads > 65536)
        code = tt_fail(err, TT_ERANGE, "its head: a ring of %lld and %lld threads", (long long)ring,
                       (long long)threads);
    for (int i = 0; i < 11 && code == TT_OK; i++)
        if (!(s[i] = tt_arena_strndup(arena, s[i], strlen(s[i]))))
            code = tt_fail(err, TT_ENOMEM, "out of memory");
    json_decref(o);
    if (code == TT_OK)
        *ret = (struct tt_captured_head){.stream = s[0],
                                         .model = s[1],
                                         .model_path = s[2],
                                         .model_hash = s[3],
                                         .policy = s[4],
                                         .policy_hash = s[5],
                                         .policy_text = s[6],
                                         .ttad = s[7],
                                         .machine = s[8],
                                         .snapshots = s[9],
                                         .why = s[10],
                                         .number = number,
                                         .threads = threads,
                                         .ring = ring,
                                         .feedback_ms = feedback_ms,
                                         .now_ms = now_ms,
                                         .follows = follows != 0};
    return code;
}
