// SPDX-License-Identifier: Apache-2.0
/*
 * Einsum of one or two operands.  Each letter is an index of one of four kinds, by where it
 * stands: both operands and the result (a batch of products), the first and the result (rows), the
 * second and the result (columns), or not the result (summed).  Operands are packed by strides to
 * A [batch, M, K] and B [batch, K, N], multiplied, and the product is moved to its order; backward
 * is the same three steps turned round.  A letter twice in an operand is its diagonal.
 */
#include <stddef.h>
#include <string.h>

#include "base/arena.h"
#include "runtime/op.h"
#include "runtime/ops/product.h"
#include "runtime/strided.h"

#define ELLIPSIS '.'

struct term {
    int n; // letters, one ELLIPSIS among them at most
    char letter[2 * TT_MAXDIM];
};

struct attr {
    int noperands;
    struct term in[2], out;
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool holds(const struct term *t, char c)
{
    return memchr(t->letter, c, (size_t)t->n) != NULL;
}

/* One term up to a comma, an arrow or the end. */
static enum tt_code read_term(const char **at, struct term *t, struct tt_err *err)
{
    const char *s = *at;

    for (; *s && *s != ',' && *s != '-'; s++) {
        char c = *s;

        if (c == ' ')
            continue;
        if (!strncmp(s, "...", 3) && !holds(t, ELLIPSIS)) {
            c = ELLIPSIS;
            s += 2;
        } else if (!is_letter(c)) {
            return tt_fail(err, TT_EPARSE, "equation: '%c' is not a letter", c);
        }
        if (t->n == (int)sizeof t->letter)
            return tt_fail(err, TT_EUNSUPPORTED, "equation: more than %d letters",
                           (int)sizeof t->letter);
        t->letter[t->n++] = c;
    }
    *at = s;
    return TT_OK;
}

static int uses(const struct attr *e, char c)
{
    int n = 0;

    for (int k = 0; k < e->noperands; k++)
        for (int i = 0; i < e->in[k].n; i++)
            n += e->in[k].letter[i] == c;
    return n;
}

/* Without an arrow: the ellipsis, then what stands once, in the alphabet's order. */
static void imply(struct attr *e)
{
    if (uses(e, ELLIPSIS))
        e->out.letter[e->out.n++] = ELLIPSIS;
    for (int c = 'A'; c <= 'z'; c++)
        if (is_letter((char)c) && uses(e, (char)c) == 1 && e->out.n < (int)sizeof e->out.letter)
            e->out.letter[e->out.n++] = (char)c;
}

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *e = (struct attr *)attr;
    const char *at = tt_attr_str(a, "equation", "");

    for (;;) {
        if (e->noperands == 2)
            return tt_fail(err, TT_EUNSUPPORTED, "equation of more than 2 operands");
        if (read_term(&at, &e->in[e->noperands++], err) != TT_OK)
            return err->code;
        if (*at != ',')
            break;
        at++;
    }
    if (e->noperands != a->nin)
        return tt_fail(err, TT_EPARSE, "equation of %d operands, there are %d", e->noperands,
                       a->nin);
    if (!*at) {
        imply(e);
        return TT_OK;
    }
    if (strncmp(at, "->", 2) != 0)
        return tt_fail(err, TT_EPARSE, "equation: want '->' before '%s'", at);
    at += 2;
    if (read_term(&at, &e->out, err) != TT_OK)
        return err->code;
    for (int i = 0; i < e->out.n; i++)
        if (*at || !uses(e, e->out.letter[i]) ||
            memchr(e->out.letter, e->out.letter[i], (size_t)i) != NULL)
            return tt_fail(err, TT_EPARSE,
                           "equation: the result's letters are not one each of the "
                           "operands'");
    return TT_OK;
}

/* ---- indices --------------------------------------------------------------------------------- */

enum kind { BATCH, ROW, COLUMN, SUMMED, NKINDS };

/* An index: a letter, or one dimension of the ellipsis. */
struct index {
    char letter;
    int nth; // of the ellipsis, counted from behind; 0 for letters
    int64_t size, sa, sb, sy;
    bool a, b, y; // where it stands
    enum kind kind;
};

struct plan {
    int n;
    struct index index[4 * TT_MAXDIM];
    int64_t count[NKINDS]; // products of sizes
};

static struct index *find(struct plan *p, char letter, int nth)
{
    for (int i = 0; i < p->n; i++)
        if (p->index[i].letter == letter && p->index[i].nth == nth)
            return &p->index[i];
    if (p->n == (int)(sizeof p->index / sizeof *p->index))
        return NULL;
    p->index[p->n] = (struct index){.letter = letter, .nth = nth, .size = 1};
    return &p->index[p->n++];
}

/* Enter operand k's dimensions; false: the term does not fit them. */
static bool enter(struct plan *p, const struct term *t, const struct tt_tensor *x, int k)
{
    bool dots = holds(t, ELLIPSIS);
    int more = x->ndim - (t->n - dots), d = 0;
    int64_t stride[TT_MAXDIM];

    if (more < 0 || (!dots && more))
        return false;
    tt_strides(x, stride);
    for (int i = 0; i < t->n; i++) {
        int times = t->letter[i] == ELLIPSIS ? more : 1;

        for (int j = 0; j < times; j++, d++) {
            struct index *e = find(p, t->letter[i], t->letter[i] == ELLIPSIS ? times - 1 - j : 0);

            if (!e || (x->dim[d] != e->size && x->dim[d] != 1 && e->size != 1))
                return false;
            e->size = x->dim[d] == 1 ? e->size : x->dim[d];
            if (x->dim[d] != 1)
                *(k ? &e->sb : &e->sa) += stride[d];
            *(k ? &e->b : &e->a) = true;
        }
    }
    return true;
}

/* The result's dimensions in the equation's order; what an index is follows. */
static bool set_result(struct plan *p, const struct attr *e, struct tt_tensor *y)
{
    struct index *order[TT_MAXDIM];
    int dots = 0;
    int64_t stride = 1;

    for (int i = 0; i < p->n; i++)
        dots += p->index[i].letter == ELLIPSIS;
    y->ndim = 0;
    for (int i = 0; i < e->out.n; i++) {
        bool all = e->out.letter[i] == ELLIPSIS;

        for (int j = all ? dots - 1 : 0; j >= 0; j--) {
            struct index *x = find(p, e->out.letter[i], all ? j : 0);

            if (!x || y->ndim == TT_MAXDIM)
                return false;
            x->y = true;
            order[y->ndim] = x;
            y->dim[y->ndim++] = x->size;
        }
    }
    for (int d = y->ndim - 1; d >= 0; d--) {
        order[d]->sy = stride;
        if (!tt_mul(stride, y->dim[d], &stride))
            return false;
    }
    return true;
}

static bool make_plan(const struct tt_node *n, struct tt_tensor *y, struct plan *p)
{
    const struct attr *e = (const struct attr *)n->attr;

    *p = (struct plan){.count = {1, 1, 1, 1}};
    for (int k = 0; k < e->noperands; k++)
        if (!enter(p, &e->in[k], n->in[k], k))
            return false;
    if (!set_result(p, e, y))
        return false;
    for (int i = 0; i < p->n; i++) {
        struct index *x = &p->index[i];

        x->kind = !x->y ? SUMMED : x->a && x->b ? BATCH : x->a ? ROW : COLUMN;
        if (!tt_mul(p->count[x->kind], x->size, &p->count[x->kind]))
            return false;
    }
    return true;
}

/* Floats of A, B and the product. */
static bool sizes_of(const struct plan *p, int64_t size[3])
{
    static const enum kind of[3][3] = {
        {BATCH, ROW, SUMMED}, {BATCH, SUMMED, COLUMN}, {BATCH, ROW, COLUMN}};

    for (int k = 0; k < 3; k++) {
        size[k] = 1;
        for (int j = 0; j < 3; j++)
            if (!tt_mul(size[k], p->count[of[k][j]], &size[k]) || size[k] > TT_MAX_SIDE)
                return false;
    }
    return true;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    char ta[TT_SHAPE_TEXT], tb[TT_SHAPE_TEXT] = "";
    int64_t size[3];
    struct plan p;

    if (!make_plan(n, n->out, &p))
        return tt_fail(err, TT_ESHAPE, "operands %s %s do not fit the equation",
                       tt_shape_text(n->in[0]->dim, n->in[0]->ndim, ta, sizeof ta),
                       n->nin > 1 ? tt_shape_text(n->in[1]->dim, n->in[1]->ndim, tb, sizeof tb)
                                  : "");
    if (!sizes_of(&p, size))
        return tt_fail(err, TT_ERANGE, "a step of the equation has more than 2^31 elements");
    n->nscratch = size[0] + 2 * size[1] + 2 * size[2];
    return TT_OK;
}

/* Move between what lies by the stride at offset side of each index, and the packed order of three
 * kinds; unpack adds. */
static void move(const struct plan *p, const enum kind kinds[3], size_t side, float *packed,
                 float *x, bool unpack)
{
    int64_t dim[4 * TT_MAXDIM], sp[4 * TT_MAXDIM], sx[4 * TT_MAXDIM], stride = 1;
    int n = 0;

    for (int k = 2; k >= 0; k--)
        for (int i = p->n - 1; i >= 0; i--) {
            const struct index *e = &p->index[i];

            if (e->kind != kinds[k] || e->size == 1)
                continue;
            dim[n] = e->size;
            sp[n] = stride;
            memcpy(&sx[n++], (const char *)e + side, sizeof *sx);
            stride *= e->size;
        }
    if (unpack)
        tt_strided_copy(n, dim, x, sx, packed, sp, true);
    else
        tt_strided_copy(n, dim, packed, sp, x, sx, false);
}

static const enum kind kinds_a[] = {BATCH, ROW, SUMMED}, kinds_b[] = {BATCH, SUMMED, COLUMN},
                       kinds_y[] = {BATCH, ROW, COLUMN};

/* A and B packed, in scratch; then room for the product, for its gradient, and for B's. */
struct packed {
    float *a, *b, *y, *dy;
};

static struct packed pack(struct tt_node *n, const struct plan *p, const int64_t size[3])
{
    struct packed s = {n->scratch, n->scratch + size[0], n->scratch + size[0] + size[1], NULL};
    static float one = 1;

    s.dy = s.y + size[2];
    move(p, kinds_a, offsetof(struct index, sa), s.a, n->in[0]->x, false);
    move(p, kinds_b, offsetof(struct index, sb), s.b, n->nin > 1 ? n->in[1]->x : &one, false);
    return s;
}

static void forward(struct tt_node *n)
{
    struct tt_tensor y;
    int64_t size[3];
    struct plan p;

    (void)make_plan(n, &y, &p); // it passed in shape
    (void)sizes_of(&p, size);
    {
        struct packed s = pack(n, &p, size);
        int64_t M = p.count[ROW], N = p.count[COLUMN], K = p.count[SUMMED];
        struct tt_repeat r = {p.count[BATCH], M * N, M * K, K * N};

        tt_products(&r, 1, s.y, s.a, false, s.b, false, M, N, K, false);
        memset(n->out->x, 0, sizeof(float) * (size_t)tt_len(n->out));
        move(&p, kinds_y, offsetof(struct index, sy), s.y, n->out->x, true);
    }
}

/* dA = dY B^T, dB = A^T dY */
static void backward(struct tt_node *n)
{
    struct tt_tensor y;
    int64_t size[3];
    struct plan p;
    struct packed s;

    (void)make_plan(n, &y, &p);
    (void)sizes_of(&p, size);
    s = pack(n, &p, size);
    move(&p, kinds_y, offsetof(struct index, sy), s.dy, n->out->g, false);
    for (int k = n->nin - 1; k >= 0; k--) {
        int64_t M = p.count[ROW], N = p.count[COLUMN], K = p.count[SUMMED];
        struct tt_repeat ra = {p.count[BATCH], M * K, M * N, K * N};
        struct tt_repeat rb = {p.count[BATCH], K * N, M * K, M * N};
        float *g = n->in[k]->g;

        if (!g)
            continue;
        if (!n->add[k])
            memset(g, 0, sizeof *g * (size_t)tt_len(n->in[k]));
        if (k) {
            float *db = s.dy + size[2];

            tt_products(&rb, 1, db, s.a, true, s.dy, false, K, N, M, false);
            move(&p, kinds_b, offsetof(struct index, sb), db, g, true);
        } else {
            tt_products(&ra, 1, s.a, s.dy, false, s.b, true, M, K, N, false); // a is not read again
            move(&p, kinds_a, offsetof(struct index, sa), s.a, g, true);
        }
    }
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)wants;
    return TT_READS_IN(0) | (n->nin > 1 ? TT_READS_IN(1) : 0);
}

static double flops(const struct tt_node *n, bool backward_)
{
    struct tt_tensor y;
    struct plan p;
    double one = 2;

    (void)make_plan(n, &y, &p);
    for (int k = 0; k < NKINDS; k++)
        one *= (double)p.count[k];
    return backward_ ? one * tt_product_gradients(n) : one;
}

const struct tt_op tt_op_einsum = {
    .name = "Einsum",
    .min_in = 1,
    .max_in = 2,
    .opset = 12,
    .source = "ONNX Einsum-12, one or two operands",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
    .flops = flops,
};
