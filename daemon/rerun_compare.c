// SPDX-License-Identifier: Apache-2.0
#include "daemon/rerun.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tt_rerun_note(struct tt_rerun *r, const char *fmt, ...)
{
    va_list ap;

    if (r->nnotes == TT_RERUN_NOTES)
        return; // the first ones say most
    va_start(ap, fmt);
    (void)vsnprintf(r->note[r->nnotes++], sizeof r->note[0], fmt, ap);
    va_end(ap);
}

/* "batch 12 (id 'a', step 11)" */
static void name_operation(const struct tt_rerun *r, const struct tt_captured *o, char *ret,
                           size_t size)
{
    if (o->kind == TT_CAPTURED_BATCH)
        (void)snprintf(ret, size, "batch %" PRId64 " (%s%s%sstep %" PRId64 ")", r->batches,
                       *o->batch.id ? "id '" : "", o->batch.id, *o->batch.id ? "', " : "",
                       o->batch.step);
    else if (o->kind == TT_CAPTURED_FEEDBACK)
        (void)snprintf(ret, size, "labels for id '%s' after batch %" PRId64, o->feedback.id,
                       r->batches);
    else if (o->kind == TT_CAPTURED_ORDER)
        (void)snprintf(ret, size, "the order of %s after batch %" PRId64, o->order.actor,
                       r->batches);
    else
        (void)snprintf(ret, size, "%s after batch %" PRId64, tt_captured_kind_name(o->kind),
                       r->batches);
}

void tt_rerun_differs(struct tt_rerun_state *run, const struct tt_captured *o, const char *fmt, ...)
{
    struct tt_rerun *r = run->ret;
    char where[256];
    va_list ap;
    int n;

    if (r->differs)
        return;
    name_operation(r, o, where, sizeof where);
    n = snprintf(r->difference, sizeof r->difference, "%s: ", where);
    va_start(ap, fmt);
    (void)vsnprintf(r->difference + n, sizeof r->difference - (size_t)n, fmt, ap);
    va_end(ap);
    r->differs = true;
}

static bool same_bits(double a, double b)
{
    return !memcmp(&a, &b, sizeof a);
}

/* Which pieces of the new version are not those of the capture. */
static void name_slices(const struct tt_rerun_state *run, const struct tt_captured_batch *want,
                        const struct tt_captured_batch *got, char *ret, size_t size)
{
    int n, differ = 0, first = -1;
    const struct tt_slice *slice = tt_plan_slices(run->plan, &n);

    *ret = '\0';
    if (want->nslices != n || got->nslices != n)
        return;
    for (int i = 0; i < n; i++)
        if (want->slices[i] != got->slices[i]) {
            differ++;
            first = first < 0 ? i : first;
        }
    if (differ)
        (void)snprintf(ret, size, "; %d of its %d pieces differ, the first is '%.128s'", differ, n,
                       slice[first].name);
}

static void compare_answer(struct tt_rerun_state *run, const struct tt_captured *o,
                           const struct tt_captured_batch *got)
{
    const struct tt_captured_batch *want = &o->batch;

    if (strcmp(want->version, got->version) != 0 || want->step != got->step)
        tt_rerun_differs(run, o,
                         "version %s of step %" PRId64 " answered, in the capture %s of step "
                         "%" PRId64,
                         got->version, got->step, want->version, want->step);
    else if (want->answer != got->answer)
        tt_rerun_differs(run, o,
                         "the answer is another one: its checksum is %016" PRIx64
                         ", in the capture %016" PRIx64,
                         got->answer, want->answer);
    else if (want->adapted != got->adapted || want->skip != got->skip)
        tt_rerun_differs(
            run, o, "it was %s%s, in the capture %s%s",
            got->adapted ? "learnt from" : "skipped: ", tt_skip_name((enum tt_skip)got->skip),
            want->adapted ? "learnt from" : "skipped: ", tt_skip_name((enum tt_skip)want->skip));
    else if (strcmp(want->rolled_back_to, got->rolled_back_to) != 0)
        tt_rerun_differs(run, o, "rolled back to '%s', in the capture to '%s'", got->rolled_back_to,
                         want->rolled_back_to);
}

static void compare_batch(struct tt_rerun_state *run, const struct tt_captured *o,
                          const struct tt_captured *got)
{
    const struct tt_captured_batch *want = &o->batch, *have = &got->batch;
    char slices[256];

    compare_answer(run, o, have);
    if (strcmp(o->after.serving, got->after.serving) != 0) {
        name_slices(run, want, have, slices, sizeof slices);
        tt_rerun_differs(run, o, "it made version %s, in the capture %s%s", got->after.serving,
                         o->after.serving, slices);
    }
    if (!same_bits(want->loss, have->loss) || !same_bits(want->entropy, have->entropy))
        tt_rerun_differs(run, o, "loss %.9g and entropy %.9g, in the capture %.9g and %.9g",
                         have->loss, have->entropy, want->loss, want->entropy);
    if (strcmp(want->guard, have->guard) != 0)
        tt_rerun_differs(run, o, "the guard said %s, in the capture %s", have->guard, want->guard);
}

static void compare_others(struct tt_rerun_state *run, const struct tt_captured *o,
                           const struct tt_captured *got)
{
    const struct tt_credited *a = &o->feedback.got, *b = &got->feedback.got;

    if (o->kind == TT_CAPTURED_FEEDBACK &&
        (strcmp(a->version, b->version) != 0 || a->n != b->n || a->correct != b->correct ||
         a->base_n != b->base_n || a->base_correct != b->base_correct))
        tt_rerun_differs(run, o,
                         "version %s had %" PRId64 " of %" PRId64
                         " right, in the capture %s %" PRId64 " of %" PRId64,
                         b->version, b->correct, b->n, a->version, a->correct, a->n);
    if (o->kind == TT_CAPTURED_ORDER &&
        (strcmp(o->order.from, got->order.from) != 0 || strcmp(o->order.to, got->order.to) != 0 ||
         o->order.to_step != got->order.to_step))
        tt_rerun_differs(run, o, "from version %s to %s, in the capture from %s to %s",
                         got->order.from, got->order.to, o->order.from, o->order.to);
}

static void compare_after(struct tt_rerun_state *run, const struct tt_captured *o,
                          const struct tt_captured *got)
{
    const struct tt_after *a = &o->after, *b = &got->after;

    if (strcmp(a->serving, b->serving) != 0 || a->step != b->step)
        tt_rerun_differs(
            run, o, "version %s of step %" PRId64 " serves, in the capture %s of step %" PRId64,
            b->serving, b->step, a->serving, a->step);
    else if (a->guard != b->guard)
        tt_rerun_differs(run, o, "the stream is %s, in the capture %s",
                         tt_guard_state_name((enum tt_guard_state)b->guard),
                         tt_guard_state_name((enum tt_guard_state)a->guard));
    else if (a->digest != b->digest)
        tt_rerun_differs(run, o,
                         "the versions are the same, but the signals, the guard's evidence or the "
                         "checkpoints are not");
}

/* ---- the record --------------------------------------------------------------------------- */

static enum tt_code ask_batch(struct tt_rerun_state *run, const struct tt_captured *o,
                              struct tt_err *err)
{
    struct tt_past_batch b = {.stream = run->ret->stream,
                              .id = o->batch.id,
                              .ts_ms = o->batch.now_ms,
                              .step = o->batch.step,
                              .rows = o->batch.tensor.dim[0],
                              .adapted = o->batch.adapted},
                         other;
    enum tt_found found;

    (void)snprintf(b.version, sizeof b.version, "%s", o->batch.version);
    if (tt_history_batch(run->spec->history, &b, &found, &other, err) != TT_OK)
        return err->code;
    run->ret->rows += found == TT_FOUND_SAME;
    run->ret->rows_missing += found == TT_FOUND_NONE;
    if (found == TT_FOUND_OTHER)
        tt_rerun_differs(run, o,
                         "version %s of step %" PRId64 " answered %" PRId64
                         " rows%s, the record says %s of step %" PRId64 " answered %" PRId64
                         " rows%s",
                         b.version, b.step, b.rows, b.adapted ? " and learnt" : "", other.version,
                         other.step, other.rows, other.adapted ? " and learnt" : "");
    return TT_OK;
}

static enum tt_code ask_decision(struct tt_rerun_state *run, const struct tt_captured *o,
                                 const struct tt_past_decision *d, struct tt_err *err)
{
    struct tt_past_decision other;
    enum tt_found found;

    if (tt_history_decision(run->spec->history, d, &found, &other, err) != TT_OK)
        return err->code;
    if (found == TT_FOUND_OTHER)
        tt_rerun_differs(run, o, "%s by rule '%s' from %s to %s, the record says %s from %s to %s",
                         d->action, d->rule, d->from, d->to, other.action, other.from, other.to);
    else if (found == TT_FOUND_NONE)
        tt_rerun_differs(run, o, "%s by rule '%s' from %s to %s, of which the record says nothing",
                         d->action, d->rule, d->from, d->to);
    return TT_OK;
}

enum tt_code tt_rerun_compare(struct tt_rerun_state *run, const struct tt_captured *o,
                              const struct tt_captured *got, struct tt_err *err)
{
    if (o->kind == TT_CAPTURED_BATCH)
        compare_batch(run, o, got);
    else
        compare_others(run, o, got);
    if (o->kind != TT_CAPTURED_RING)
        compare_after(run, o, got);
    if (run->ret->differs || !run->spec->history)
        return TT_OK;
    if (o->kind == TT_CAPTURED_BATCH && ask_batch(run, o, err) != TT_OK)
        return err->code;
    for (int i = 0; i < run->ndecided; i++)
        if (ask_decision(run, o, &run->decided[i], err) != TT_OK)
            return err->code;
    return TT_OK;
}

void tt_rerun_distance(struct tt_rerun_state *run, const struct tt_stream *other)
{
    const float *a = run->stream->versions.serving.block, *b = other->versions.serving.block;
    int n, worst = -1;
    const struct tt_slice *slice = tt_plan_slices(run->plan, &n);
    double most = 0;

    for (int i = 0; i < n; i++)
        for (int64_t k = slice[i].offset; k < slice[i].offset + slice[i].n; k++) {
            const double d = fabs((double)a[k] - (double)b[k]);

            if (d > most || (worst < 0 && !(d <= 0))) {
                most = d;
                worst = i;
            }
        }
    if (worst < 0)
        tt_rerun_note(run->ret, "at the end of that file the versions are equal again, %s",
                      run->stream->versions.serving.name);
    else
        tt_rerun_note(run->ret,
                      "at the end of that file version %s differs from the capture's %s by at most "
                      "%.3g, in '%.128s'",
                      run->stream->versions.serving.name, other->versions.serving.name, most,
                      slice[worst].name);
}
