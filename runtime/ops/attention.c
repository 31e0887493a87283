// SPDX-License-Identifier: Apache-2.0
/*
 * tt.Attention: softmax(scale q k^T + mask) v for each head (Vaswani et al. 2017), of
 * q [B, T, H, D], k [B, S, H, D], v [B, S, H, E], as they lie in a layer's result: heads are read
 * by strides and nothing is transposed.  mask, which may be left out, broadcasts to [B, H, T, S];
 * a row without a finite score has weights 0 if the node says so, else NaN.
 * Scores exist for a block of rows of one head at a time, in scratch.  Backward makes them again
 * (Dao et al. 2022), from q, k and v in half the memory (runtime/half.h), unless the node is exact.
 */
#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <string.h>

#include "runtime/half.h"
#include "runtime/op.h"
#include "runtime/ops/product.h"
#include "runtime/pointwise.h"

#define SCORES 65536 // of a block of rows
#define LEAST  16    // rows of a block, however long they are
#define MOST   (SCORES / LEAST)

struct attr {
    float scale;
    bool none_is_zero;
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)err;
    ((struct attr *)attr)->scale = tt_attr_float(a, "scale", 1);
    ((struct attr *)attr)->none_is_zero = tt_attr_int(a, "none_is_zero", 0) != 0;
    return TT_OK;
}

struct size {
    int64_t B, T, S, H, D, E;
    int64_t rows;    // of a block of scores
    int64_t mask[4]; // strides over B, H, T, S
    float scale;
};

static struct size measure(const struct tt_node *n)
{
    const struct tt_tensor *q = n->in[0], *v = n->in[2], *mask = n->in[3];
    struct size s = {.B = q->dim[0],
                     .T = q->dim[1],
                     .S = v->dim[1],
                     .H = q->dim[2],
                     .D = q->dim[3],
                     .E = v->dim[3],
                     .scale = ((const struct attr *)n->attr)->scale};
    int64_t stride = 1;

    s.rows = s.S ? SCORES / s.S : LEAST;
    s.rows = s.rows < LEAST ? LEAST : s.rows > MOST ? MOST : s.rows;
    s.rows = s.rows > s.T ? s.T : s.rows;
    for (int i = mask ? mask->ndim - 1 : -1; i >= 0; i--) {
        s.mask[4 - mask->ndim + i] = mask->dim[i] == 1 ? 0 : stride;
        stride *= mask->dim[i];
    }
    return s;
}

/* A thread's: scores and their gradients of a block; a head's q, k and v, from halves. */
static int64_t share(const struct size *s)
{
    return 2 * s->rows * s->S + s->T * s->D + s->S * (s->D + s->E);
}

static enum tt_code check_mask(const struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *q = n->in[0], *mask = n->in[3];
    const int64_t want[] = {q->dim[0], q->dim[2], q->dim[1], n->in[1]->dim[1]};
    char tm[TT_SHAPE_TEXT], ts[TT_SHAPE_TEXT];
    bool fits = mask->ndim <= 4;

    for (int i = 0; fits && i < mask->ndim; i++)
        fits = mask->dim[i] == 1 || mask->dim[i] == want[4 - mask->ndim + i];
    if (fits)
        return TT_OK;
    return tt_fail(err, TT_ESHAPE, "mask %s does not broadcast to scores %s",
                   tt_shape_text(mask->dim, mask->ndim, tm, sizeof tm),
                   tt_shape_text(want, 4, ts, sizeof ts));
}

/* saved[0]: q, k and v as halves, heads one behind another */
static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *q = n->in[0], *k = n->in[1], *v = n->in[2];
    char tq[TT_SHAPE_TEXT], tk[TT_SHAPE_TEXT], tv[TT_SHAPE_TEXT];
    struct size s;

    if (q->ndim != 4 || k->ndim != 4 || v->ndim != 4 || q->dim[0] != k->dim[0] ||
        q->dim[0] != v->dim[0] || q->dim[2] != k->dim[2] || q->dim[2] != v->dim[2] ||
        q->dim[3] != k->dim[3] || k->dim[1] != v->dim[1])
        return tt_fail(err, TT_ESHAPE,
                       "q %s, k %s and v %s do not fit: want [B, T, H, D], [B, S, H, D] and "
                       "[B, S, H, E]",
                       tt_shape_text(q->dim, 4, tq, sizeof tq),
                       tt_shape_text(k->dim, 4, tk, sizeof tk),
                       tt_shape_text(v->dim, 4, tv, sizeof tv));
    if (n->in[3] && check_mask(n, err) != TT_OK)
        return err->code;
    n->out->ndim = 4;
    memcpy(n->out->dim, q->dim, sizeof q->dim);
    n->out->dim[3] = v->dim[3];
    s = measure(n);
    n->nsaved[0] = n->exact ? 0 : s.B * s.H * TT_HALF_FLOATS(s.T * s.D + s.S * (s.D + s.E));
    if (!n->nscratch) // once: for as many threads as there are when it is compiled
        n->nscratch = omp_get_max_threads() * share(&s);
    return TT_OK;
}

/* One head of one element of the batch: where its matrices begin, and how far rows are apart. */
struct head {
    int64_t b, h;
    const float *q, *k, *v;
    int64_t q_row, k_row, v_row;
};

static struct head find_head(const struct tt_node *n, const struct size *s, int64_t i)
{
    int64_t b = i / s->H, h = i % s->H;

    return (struct head){
        .b = b,
        .h = h,
        .q = n->in[0]->x + (b * s->T * s->H + h) * s->D,
        .k = n->in[1]->x + (b * s->S * s->H + h) * s->D,
        .v = n->in[2]->x + (b * s->S * s->H + h) * s->E,
        .q_row = s->H * s->D,
        .k_row = s->H * s->D,
        .v_row = s->H * s->E,
    };
}

/* ---- halves ---------------------------------------------------------------------------------- */

static uint16_t *halves_of(const struct tt_node *n, const struct size *s, int64_t i)
{
    return (uint16_t *)(void *)(n->saved[0] +
                                i * TT_HALF_FLOATS(s->T * s->D + s->S * (s->D + s->E)));
}

static uint16_t *keep_rows(uint16_t *to, const float *x, int64_t rows, int64_t len, int64_t step)
{
    for (int64_t r = 0; r < rows; r++)
        tt_half_of(to + r * len, x + r * step, len);
    return to + rows * len;
}

static void keep_head(const struct tt_node *n, const struct size *s, int64_t i)
{
    struct head head = find_head(n, s, i);
    uint16_t *to = halves_of(n, s, i);

    to = keep_rows(to, head.q, s->T, s->D, head.q_row);
    to = keep_rows(to, head.k, s->S, s->D, head.k_row);
    (void)keep_rows(to, head.v, s->S, s->E, head.v_row);
}

/* What was kept of a head, or what is still there; room: T D + S (D + E) floats. */
static struct head kept_head(const struct tt_node *n, const struct size *s, int64_t i, float *room)
{
    struct head head = find_head(n, s, i);

    if (!n->nsaved[0])
        return head;
    tt_half_read(room, halves_of(n, s, i), s->T * s->D + s->S * (s->D + s->E));
    head.q = room;
    head.k = head.q + s->T * s->D;
    head.v = head.k + s->S * s->D;
    head.q_row = head.k_row = s->D;
    head.v_row = s->E;
    return head;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* p = exp(scale q k^T + mask - their largest) of rows at..at + rows; scale[r] = 1 / a row's sum */
static void weigh(const struct tt_node *n, const struct size *s, const struct head *head,
                  int64_t at, int64_t rows, float *p, float *scale)
{
    const struct tt_pointwise *w = tt_pointwise();
    bool zero = ((const struct attr *)n->attr)->none_is_zero;

    tt_product_here(&(struct tt_product){
        .m = rows,
        .n = s->S,
        .k = s->D,
        .a = head->q + at * head->q_row,
        .a_row = head->q_row,
        .a_col = 1,
        .b = head->k,
        .b_row = 1,
        .b_col = head->k_row,
        .c = p,
        .c_row = s->S,
        .scale = s->scale,
    });
    for (int64_t r = 0; r < rows; r++, p += s->S) {
        const int64_t *m = s->mask;
        float largest;

        if (n->in[3])
            w->binary[TT_BINARY_add].y(
                p, p, 1, n->in[3]->x + head->b * m[0] + head->h * m[1] + (at + r) * m[2], m[3],
                s->S);
        largest = w->largest(p, s->S);
        scale[r] = (float)(1 / w->exp_sum(p, p, largest, s->S));
        if (zero && !(isfinite(largest) && isfinite(scale[r]))) {
            memset(p, 0, sizeof *p * (size_t)s->S);
            scale[r] = 0;
        }
    }
}

static void forward_head(const struct tt_node *n, const struct size *s, int64_t i, float *p)
{
    struct head head = find_head(n, s, i);
    float scale[MOST], *y = n->out->x + (head.b * s->T * s->H + head.h) * s->E;
    const int64_t y_row = s->H * s->E;

    for (int64_t at = 0; at < s->T; at += s->rows) {
        int64_t rows = s->T - at < s->rows ? s->T - at : s->rows;

        weigh(n, s, &head, at, rows, p, scale);
        tt_product_here(&(struct tt_product){
            .m = rows,
            .n = s->E,
            .k = s->S,
            .a = p,
            .a_row = s->S,
            .a_col = 1,
            .b = head.v,
            .b_row = head.v_row,
            .b_col = 1,
            .c = y + at * y_row,
            .c_row = y_row,
            .scale = 1,
        });
        for (int64_t r = 0; r < rows; r++)
            tt_pointwise()->binary[TT_BINARY_mul].y(y + (at + r) * y_row, y + (at + r) * y_row, 1,
                                                    &scale[r], 0, s->E);
    }
}

/* Threads for which there is scratch. */
static int threads_of(const struct tt_node *n, const struct size *s)
{
    int64_t threads = share(s) ? n->nscratch / share(s) : 1;

    return threads < omp_get_max_threads() ? (int)threads : omp_get_max_threads();
}

static void forward(struct tt_node *n)
{
    struct size s = measure(n);

#pragma omp parallel for schedule(static) num_threads(threads_of(n, &s))
    for (int64_t i = 0; i < s.B * s.H; i++) {
        if (n->nsaved[0] && n->saved[0])
            keep_head(n, &s, i);
        forward_head(n, &s, i, n->scratch + omp_get_thread_num() * share(&s));
    }
}

/* ---- backward -------------------------------------------------------------------------------- */

/* c (+)= scale a b, or a^T b; rows of b and c are a head's */
static void times(float *c, int64_t c_row, bool add, float scale, const float *a, bool turned,
                  int64_t a_row, const float *b, int64_t b_row, int64_t m, int64_t cols, int64_t k)
{
    tt_product_here(&(struct tt_product){
        .m = m,
        .n = cols,
        .k = k,
        .a = a,
        .a_row = turned ? 1 : a_row,
        .a_col = turned ? a_row : 1,
        .b = b,
        .b_row = b_row,
        .b_col = 1,
        .c = c,
        .c_row = c_row,
        .scale = scale,
        .sum = add ? c : NULL,
    });
}

static void backward_mask(const struct tt_node *n, const struct size *s, const struct head *head,
                          int64_t at, int64_t rows, const float *ds)
{
    const int64_t *m = s->mask;

    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < s->S; j++)
            n->in[3]->g[head->b * m[0] + head->h * m[1] + (at + r) * m[2] + j * m[3]] +=
                ds[r * s->S + j];
}

/* With p the weights: dv = p^T dy, dp = dy v^T, ds = p (dp - sum p dp), dq = scale ds k,
 * dk = scale ds^T q */
static void backward_block(struct tt_node *n, const struct size *s, const struct head *head,
                           int64_t at, float *p)
{
    int64_t rows = s->T - at < s->rows ? s->T - at : s->rows, y_row = s->H * s->E;
    int64_t row = s->H * s->D, k_at = (head->b * s->S * s->H + head->h);
    int64_t q_at = (head->b * s->T + at) * s->H + head->h;
    float *ds = p + s->rows * s->S, *dq = n->in[0]->g, *dk = n->in[1]->g, *dv = n->in[2]->g;
    float scale[MOST];
    const float *dy = n->out->g + q_at * s->E;

    weigh(n, s, head, at, rows, p, scale);
    for (int64_t r = 0; r < rows; r++)
        tt_pointwise()->binary[TT_BINARY_mul].y(p + r * s->S, p + r * s->S, 1, &scale[r], 0, s->S);
    if (dv)
        times(dv + k_at * s->E, y_row, n->add[2] || at, 1, p, true, s->S, dy, y_row, s->S, s->E,
              rows);
    if (!dq && !dk && !(n->in[3] && n->in[3]->g))
        return;
    tt_product_here(&(struct tt_product){
        .m = rows,
        .n = s->S,
        .k = s->E,
        .a = dy,
        .a_row = y_row,
        .a_col = 1,
        .b = head->v,
        .b_row = 1,
        .b_col = head->v_row,
        .c = ds,
        .c_row = s->S,
        .scale = 1,
    });
    for (int64_t r = 0; r < rows; r++)
        tt_pointwise()->softmax_grad(ds + r * s->S, p + r * s->S, ds + r * s->S, s->S, false);
    if (n->in[3] && n->in[3]->g)
        backward_mask(n, s, head, at, rows, ds);
    if (dk)
        times(dk + k_at * s->D, row, n->add[1] || at, s->scale, ds, true, s->S,
              head->q + at * head->q_row, head->q_row, s->S, s->D, rows);
    if (dq)
        times(dq + q_at * s->D, row, n->add[0], s->scale, ds, false, s->S, head->k, head->k_row,
              rows, s->D, s->S);
}

static void backward(struct tt_node *n)
{
    struct size s = measure(n);
    struct tt_tensor *mask = n->in[3];
    int threads = mask && mask->g ? 1 : threads_of(n, &s); // heads share a mask

    if (mask && mask->g && !n->add[3])
        memset(mask->g, 0, sizeof *mask->g * (size_t)tt_len(mask));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < s.B * s.H; i++) {
        float *p = n->scratch + omp_get_thread_num() * share(&s);
        struct head head = kept_head(n, &s, i, p + 2 * s.rows * s.S);

        for (int64_t at = 0; at < s.T; at += s.rows)
            backward_block(n, &s, &head, at, p);
    }
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)wants;
    return (n->exact ? TT_READS_IN(0) | TT_READS_IN(1) | TT_READS_IN(2) : 0) |
           (n->in[3] ? TT_READS_IN(3) : 0);
}

static double flops(const struct tt_node *n, bool backward_)
{
    struct size s = measure(n);
    double one = 2.0 * (double)(s.B * s.H) * (double)s.T * (double)s.S * (double)(s.D + s.E);

    return backward_ ? 2 * one : one;
}

const struct tt_op tt_op_attention = {
    .name = "tt.Attention",
    .min_in = 3,
    .max_in = 4,
    .source = "Vaswani et al. 2017; ONNX MatMul-13 and Softmax-13",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .saves_back = true,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
    .flops = flops,
};
