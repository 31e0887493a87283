// SPDX-License-Identifier: Apache-2.0
#include "daemon/input.h"

#include <inttypes.h>
#include <string.h>

#include "daemon/inputs.h"
#include "policies/policy.h"

/* Are these numbers of images that are to become the model's? */
static bool is_image(const struct tt_wire_tensor *t, const struct tt_value *want)
{
    return want->ndim == 4 && (t->type == TT_UINT8 || t->prep);
}

/* The policy's preprocessing, or what the client says instead.  t outlives the result.  Floats
 * come in the model's own layout. */
static struct tt_preprocess how(struct tt_wire_tensor *t, const struct tt_policy *policy)
{
    struct tt_preprocess p = policy->preprocess;

    if (t->prep) {
        p.scale = t->scale;
        p.mean = (struct tt_floats){t->nmean, t->mean};
        p.std = (struct tt_floats){t->nstd, t->std};
    }
    if (t->type != TT_UINT8)
        p.layout = TT_NCHW;
    return p;
}

static enum tt_wire check_shape(const struct tt_wire_tensor *t, const struct tt_value *want,
                                struct tt_refusal *r)
{
    char a[TT_SHAPE_TEXT], b[TT_SHAPE_TEXT];
    bool fits = t->ndim == want->ndim;

    tt_shape_text(t->dim, t->ndim, a, sizeof a);
    tt_shape_text(want->dim, want->ndim, b, sizeof b);
    if (!fits)
        return tt_refuse(r, TT_WIRE_BAD_SHAPE,
                         "input '%s': shape %s has %d dimensions, the model wants %d %s",
                         want->name, a, t->ndim, want->ndim, b);
    for (int i = 1; i < t->ndim; i++)
        fits = fits && t->dim[i] == want->dim[i];
    if (!fits)
        return tt_refuse(r, TT_WIRE_BAD_SHAPE, "input '%s': shape %s, the model wants %s",
                         want->name, a, b);
    return TT_WIRE_OK;
}

static enum tt_wire check_names(const struct tt_request *q, const struct tt_served_model *m,
                                struct tt_refusal *r)
{
    const struct tt_graph *g = &m->model->graph;
    const char *out = g->noutputs ? g->values[g->outputs[0]].name : TTAD_OUTPUT;

    if (q->ninputs != 1)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR, "%d inputs, model '%s' takes one, '%s'", q->ninputs,
                         m->name, m->input->name);
    if (*q->inputs[0].name && strcmp(q->inputs[0].name, m->input->name) != 0)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR, "input '%s' is not known, model '%s' takes '%s'",
                         q->inputs[0].name, m->name, m->input->name);
    for (int i = 0; i < q->noutputs; i++)
        if (strcmp(q->outputs[i], TTAD_OUTPUT) != 0 && strcmp(q->outputs[i], out) != 0)
            return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                             "output '%s' is not known, model '%s' has '" TTAD_OUTPUT "'",
                             q->outputs[i], m->name);
    return TT_WIRE_OK;
}

/* The tensor of that name, or NULL. */
static struct tt_wire_tensor *find(struct tt_request *q, const char *name)
{
    for (int i = 0; i < q->ninputs; i++)
        if (!strcmp(q->inputs[i].name, name))
            return &q->inputs[i];
    return NULL;
}

/* Every input of the model came, with so many rows, in its shape. */
static enum tt_wire check_each(struct tt_request *q, const struct tt_served_model *m, int64_t rows,
                               struct tt_refusal *r)
{
    for (int i = 0; i < m->inputs.n; i++) {
        const struct tt_value *want = &m->model->graph.values[m->inputs.of[i].value];
        const struct tt_wire_tensor *t = find(q, want->name);

        if (!t)
            return tt_refuse(r, TT_WIRE_BAD_TENSOR, "input '%s' of model '%s' is missing",
                             want->name, m->name);
        if (t->prep)
            return tt_refuse(r, TT_WIRE_BAD_TENSOR, "input '%s' is not of images: no preprocessing",
                             want->name);
        if (check_shape(t, want, r))
            return r->code;
        if (t->dim[0] != rows)
            return tt_refuse(r, TT_WIRE_BAD_SHAPE, "input '%s' has %" PRId64 " rows, '%s' %" PRId64,
                             t->name, t->dim[0], q->inputs[0].name, rows);
    }
    return TT_WIRE_OK;
}

enum tt_wire tt_input_join(struct tt_request *q, const struct tt_served_model *m, int64_t max_rows,
                           struct tt_arena *arena, struct tt_refusal *r)
{
    const int64_t rows = q->inputs[0].dim[0];
    struct tt_wire_tensor whole = {.type = TT_FP32, .ndim = 2, .dim = {rows, m->inputs.row}};
    float *x;

    if (m->inputs.n == 1 || q->ninputs == 1)
        return TT_WIRE_OK;
    if (q->ninputs != m->inputs.n)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR, "%d inputs, model '%s' takes %d", q->ninputs,
                         m->name, m->inputs.n);
    if (rows > max_rows)
        return tt_refuse(r, TT_WIRE_TOO_LARGE, "a batch of %" PRId64 ", the limit is %" PRId64,
                         rows, max_rows);
    if (check_each(q, m, rows, r))
        return r->code;
    whole.n = rows * m->inputs.row;
    whole.scale = 1;
    x = TT_NEW(arena, whole.n, float);
    if (!x)
        return tt_refuse(r, TT_WIRE_INTERNAL, "out of memory for a batch of %" PRId64, rows);
    for (int i = 0; i < m->inputs.n; i++) {
        const int64_t row = m->inputs.of[i].row;
        struct tt_wire_tensor t = *find(q, m->model->graph.values[m->inputs.of[i].value].name);
        const unsigned char *data = (const unsigned char *)t.data;

        t.n = row;
        for (int64_t k = 0; k < rows; k++) {
            t.data = data + (size_t)(k * row) * tt_dtype_size(t.type);
            tt_dtype_floats(&t, x + k * m->inputs.row + m->inputs.of[i].offset);
        }
    }
    whole.data = x;
    q->inputs[0] = whole;
    q->ninputs = 1;
    return TT_WIRE_OK;
}

enum tt_wire tt_input_check(struct tt_request *q, const struct tt_served_model *m,
                            const struct tt_policy *policy, int64_t max_rows, struct tt_refusal *r)
{
    struct tt_wire_tensor *t = &q->inputs[0];
    struct tt_preprocess p;
    struct tt_err err;

    if (check_names(q, m, r))
        return r->code;
    if (t->dim[0] > max_rows)
        return tt_refuse(r, TT_WIRE_TOO_LARGE,
                         "input '%s': a batch of %" PRId64 ", the limit is %" PRId64, t->name,
                         t->dim[0], max_rows);
    if (!is_image(t, m->input))
        return check_shape(t, m->input, r);
    p = how(t, policy);
    if (tt_preprocess_check(&p, t->ndim, t->dim, m->input, &err) != TT_OK)
        return tt_refuse(r, TT_WIRE_BAD_SHAPE, "input '%s': %s", m->input->name, err.msg);
    return TT_WIRE_OK;
}

/* y = (x scale - mean[c]) / std[c], in place, channels first. */
static void prepare(const struct tt_preprocess *p, float *x, int64_t rows, int64_t C, int64_t P)
{
    for (int64_t i = 0; i < rows * C; i++) {
        const int64_t c = i % C;
        const double mean = p->mean.n ? p->mean.v[p->mean.n > 1 ? c : 0] : 0;
        const double std = p->std.n ? p->std.v[p->std.n > 1 ? c : 0] : 1;

        for (int64_t j = i * P; j < (i + 1) * P; j++)
            x[j] = (x[j] * (float)p->scale - (float)mean) / (float)std;
    }
}

void tt_input_read(struct tt_request *q, const struct tt_served_model *m,
                   const struct tt_policy *policy, float *out)
{
    struct tt_wire_tensor *t = &q->inputs[0];
    const int64_t *chw = m->input->dim + 1;
    struct tt_preprocess p = how(t, policy);

    if (is_image(t, m->input) && t->type == TT_UINT8) {
        tt_preprocess_run(&p, t->data, t->dim[0], chw[0], chw[1], chw[2], out);
        return;
    }
    tt_dtype_floats(t, out);
    if (is_image(t, m->input))
        prepare(&p, out, t->dim[0], chw[0], chw[1] * chw[2]);
}
