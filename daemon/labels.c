// SPDX-License-Identifier: Apache-2.0
#include "daemon/labels.h"

#include <string.h>

#include "daemon/capture.h"

static enum tt_code check(const struct tt_stream *s, const struct tt_labels *l,
                          const struct tt_answered *a, struct tt_err *err)
{
    if (!a)
        return tt_fail(err, TT_ENOTFOUND,
                       "request id '%s' is not remembered; the last %d requests of a stream are",
                       l->id, TT_MEMORY_ANSWERS);
    if (s->feedback_ms && l->now_ms - a->ms > s->feedback_ms)
        return tt_fail(err, TT_ENOTFOUND,
                       "request id '%s' was answered %lld s ago, labels are taken for %lld s",
                       l->id, (long long)(l->now_ms - a->ms) / 1000,
                       (long long)s->feedback_ms / 1000);
    if (a->labelled)
        return tt_fail(err, TT_EBUSY, "request id '%s' has been labelled before", l->id);
    if (l->n != a->rows)
        return tt_fail(err, TT_ESHAPE, "request id '%s' had %lld rows, %lld labels came", l->id,
                       (long long)a->rows, (long long)l->n);
    for (int64_t i = 0; i < l->n; i++)
        if (l->label[i] < -1 || l->label[i] >= s->classes)
            return tt_fail(err, TT_ERANGE, "label %lld is %lld, wanted 0 to %d, or -1 for unknown",
                           (long long)i, (long long)l->label[i], s->classes - 1);
    return TT_OK;
}

static struct tt_labelled compare(const struct tt_labels *l, const struct tt_answered *a)
{
    struct tt_labelled got = {.batch = a->batch};

    for (int64_t i = 0; i < l->n; i++) {
        const bool wrong = a->label[i] != l->label[i];

        if (l->label[i] < 0)
            continue;
        got.rows++;
        got.wrong += wrong;
        if (!a->base)
            continue;
        got.base_rows++;
        got.base_wrong += a->frozen[i] != l->label[i];
        got.paired_wrong += wrong;
    }
    return got;
}

enum tt_code tt_stream_feedback(struct tt_stream *s, const struct tt_labels *l,
                                struct tt_credited *ret, struct tt_err *err)
{
    struct tt_answered *a = tt_memory_find(&s->memory, l->id);
    struct tt_record r = {.kind = TT_REC_FEEDBACK, .ts_ms = l->now_ms, .stream = s->name};
    struct tt_labelled got;

    if (check(s, l, a, err) != TT_OK)
        return err->code;
    got = compare(l, a);
    a->labelled = true;
    /* False when the answer is from before a restart: it counts for that version's history. */
    (void)tt_signals_feedback(&s->signals, &got);
    *ret = (struct tt_credited){.n = got.rows,
                                .correct = got.rows - got.wrong,
                                .base_n = got.base_rows,
                                .base_correct = got.base_rows - got.base_wrong};
    memcpy(ret->version, a->version, sizeof ret->version);
    r.feedback = (struct tt_rec_feedback){.request_id = l->id,
                                          .version = a->version,
                                          .n = ret->n,
                                          .correct = ret->correct,
                                          .base_n = ret->base_n,
                                          .base_correct = ret->base_correct,
                                          .delay_ms = l->now_ms - a->ms};
    if (s->sink.put)
        (void)s->sink.put(s->sink.ctx, &r); // the store counts what it sheds
    tt_capture_feedback(s, l, ret);
    return TT_OK;
}
