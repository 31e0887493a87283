// SPDX-License-Identifier: Apache-2.0
/* Expand, Tile: values more than once; backward sums them.  DepthToSpace, SpaceToDepth: blocks of
 * pixels as channels and back.  All read and write by strides, in any layout. */
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/strided.h"

/* Indices that both sides are walked over, and their strides. */
struct walk {
    int n;
    int64_t dim[TT_MAXINDEX], sy[TT_MAXINDEX], sx[TT_MAXINDEX];
};

static void add_index(struct walk *w, int64_t dim, int64_t sy, int64_t sx)
{
    if (dim == 1)
        return;
    w->dim[w->n] = dim;
    w->sy[w->n] = sy;
    w->sx[w->n++] = sx;
}

static void go_forward(struct tt_node *n, const struct walk *w)
{
    tt_strided_copy(w->n, w->dim, n->out->x, w->sy, n->in[0]->x, w->sx, false);
}

static void go_back(struct tt_node *n, const struct walk *w)
{
    float *dx = n->in[0]->g;

    if (!n->add[0])
        memset(dx, 0, sizeof *dx * (size_t)tt_len(n->in[0]));
    tt_strided_copy(w->n, w->dim, dx, w->sx, n->out->g, w->sy, true);
}

/* ---- Expand and Tile ------------------------------------------------------------------------- */

struct sizes {
    int n;
    struct tt_affine v[TT_MAXDIM];
};

static enum tt_code read_sizes(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct sizes *s = (struct sizes *)attr;

    if (!a->ints[1] || a->ints[1]->n > TT_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED,
                       "operand 1 has more than %d elements, or is not known "
                       "when the model is read",
                       TT_MAXDIM);
    s->n = (int)a->ints[1]->n;
    for (int i = 0; i < s->n; i++)
        s->v[i] = a->ints[1]->v[i];
    return TT_OK;
}

static enum tt_code shape_expand(struct tt_node *n, struct tt_err *err)
{
    const struct sizes *s = (const struct sizes *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int ndim = x->ndim > s->n ? x->ndim : s->n;

    n->out->ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        int64_t own = i < ndim - x->ndim ? 1 : x->dim[i - (ndim - x->ndim)];
        int64_t want = i < ndim - s->n ? 1 : tt_now(s->v[i - (ndim - s->n)], n);

        if (want < 1 || (own != want && own != 1 && want != 1))
            return tt_fail(err, TT_ESHAPE,
                           "dimension %d of '%s' is %lld and does not expand to "
                           "%lld",
                           i - (ndim - x->ndim), x->name, (long long)own, (long long)want);
        n->out->dim[i] = own == 1 ? want : own;
    }
    return TT_OK;
}

static struct walk walk_expand(const struct tt_node *n)
{
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM];
    int more = n->out->ndim - n->in[0]->ndim;
    struct walk w = {0};

    tt_strides(n->out, sy);
    tt_strides(n->in[0], sx);
    for (int i = 0; i < n->out->ndim; i++)
        add_index(&w, n->out->dim[i], sy[i],
                  i < more || n->in[0]->dim[i - more] == 1 ? 0 : sx[i - more]);
    return w;
}

static enum tt_code shape_tile(struct tt_node *n, struct tt_err *err)
{
    const struct sizes *s = (const struct sizes *)n->attr;
    const struct tt_tensor *x = n->in[0];

    if (s->n != x->ndim)
        return tt_fail(err, TT_ESHAPE, "repeats for %d dimensions, input '%s' has %d", s->n,
                       x->name, x->ndim);
    n->out->ndim = x->ndim;
    for (int i = 0; i < x->ndim; i++) {
        int64_t times = tt_now(s->v[i], n);

        if (times < 1)
            return tt_fail(err, TT_ESHAPE, "dimension %d is repeated %lld times", i,
                           (long long)times);
        if (!tt_mul(x->dim[i], times, &n->out->dim[i]))
            return tt_fail(err, TT_ERANGE, "dimension %d is repeated %lld times", i,
                           (long long)times);
    }
    return TT_OK;
}

static struct walk walk_tile(const struct tt_node *n)
{
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM];
    const struct tt_tensor *x = n->in[0];
    struct walk w = {0};

    tt_strides(n->out, sy);
    tt_strides(x, sx);
    for (int i = 0; i < x->ndim; i++) {
        add_index(&w, n->out->dim[i] / x->dim[i], sy[i] * x->dim[i], 0);
        add_index(&w, x->dim[i], sy[i], sx[i]);
    }
    return w;
}

/* ---- DepthToSpace, SpaceToDepth -------------------------------------------------------------- */

struct blocks {
    int64_t size;
    bool columns_first; // "CRD": depth is [C, row, column]; else [row, column, C]
};

static enum tt_code read_blocks(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct blocks *b = (struct blocks *)attr;
    const char *mode = tt_attr_str(a, "mode", "DCR");

    b->size = tt_attr_int(a, "blocksize", 0);
    b->columns_first = !strcmp(mode, "CRD");
    if (!b->columns_first && strcmp(mode, "DCR") != 0)
        return tt_fail(err, TT_ERANGE, "mode '%s', want 'DCR' or 'CRD'", mode);
    return b->size > 0 && b->size < INT32_MAX
               ? TT_OK
               : tt_fail(err, TT_ERANGE, "attribute 'blocksize' is %lld", (long long)b->size);
}

static enum tt_code shape_blocks(struct tt_node *n, bool to_space, struct tt_err *err)
{
    int64_t b = ((const struct blocks *)n->attr)->size;
    const struct tt_tensor *x = n->in[0];
    char text[TT_SHAPE_TEXT];

    if (x->ndim != 4 || (to_space ? x->dim[1] % (b * b) : x->dim[2] % b || x->dim[3] % b))
        return tt_fail(err, TT_ESHAPE, "input '%s' %s does not divide into blocks of %lld", x->name,
                       tt_shape_text(x->dim, x->ndim, text, sizeof text), (long long)b);
    n->out->ndim = 4;
    n->out->dim[0] = x->dim[0];
    n->out->dim[1] = to_space ? x->dim[1] / (b * b) : x->dim[1] * b * b;
    n->out->dim[2] = to_space ? x->dim[2] * b : x->dim[2] / b;
    n->out->dim[3] = to_space ? x->dim[3] * b : x->dim[3] / b;
    return TT_OK;
}

static enum tt_code shape_to_space(struct tt_node *n, struct tt_err *err)
{
    return shape_blocks(n, true, err);
}

static enum tt_code shape_to_depth(struct tt_node *n, struct tt_err *err)
{
    return shape_blocks(n, false, err);
}

/* Over image, row and column in a block, channel, block row, block column. */
static struct walk walk_blocks(const struct tt_node *n, bool to_space)
{
    const struct blocks *a = (const struct blocks *)n->attr;
    const struct tt_tensor *depth = to_space ? n->in[0] : n->out;
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM], b = a->size, C = depth->dim[1] / (b * b);
    const int64_t *sd = to_space ? sx : sy, *ss = to_space ? sy : sx;
    int64_t own = a->columns_first ? b * b : 1, row = a->columns_first ? b : b * C;
    int64_t in_depth[6], in_space[6],
        dim[6] = {depth->dim[0], b, b, C, depth->dim[2], depth->dim[3]};
    struct walk w = {0};

    tt_strides(n->out, sy);
    tt_strides(n->in[0], sx);
    in_depth[0] = sd[0];
    in_depth[1] = sd[1] * row;
    in_depth[2] = sd[1] * row / b;
    in_depth[3] = sd[1] * own;
    in_depth[4] = sd[2];
    in_depth[5] = sd[3];
    in_space[0] = ss[0];
    in_space[1] = ss[2];
    in_space[2] = ss[3];
    in_space[3] = ss[1];
    in_space[4] = ss[2] * b;
    in_space[5] = ss[3] * b;
    for (int i = 0; i < 6; i++)
        add_index(&w, dim[i], to_space ? in_space[i] : in_depth[i],
                  to_space ? in_depth[i] : in_space[i]);
    return w;
}

static struct walk walk_to_space(const struct tt_node *n)
{
    return walk_blocks(n, true);
}

static struct walk walk_to_depth(const struct tt_node *n)
{
    return walk_blocks(n, false);
}

#define MOVES(id, op_name, since, text, operands, struct_, read_, shape_) \
    static void forward_##id(struct tt_node *n)                           \
    {                                                                     \
        struct walk w = walk_##id(n);                                     \
                                                                          \
        go_forward(n, &w);                                                \
    }                                                                     \
    static void backward_##id(struct tt_node *n)                          \
    {                                                                     \
        struct walk w = walk_##id(n);                                     \
                                                                          \
        go_back(n, &w);                                                   \
    }                                                                     \
    const struct tt_op tt_op_##id = {                                     \
        .name = op_name,                                                  \
        .min_in = operands,                                               \
        .max_in = operands,                                               \
        .ints = operands > 1 ? 1u << 1 : 0,                               \
        .opset = since,                                                   \
        .source = text,                                                   \
        .attr_size = sizeof(struct_),                                     \
        .layout = TT_STRIDED,                                             \
        .read = read_,                                                    \
        .shape = shape_,                                                  \
        .forward = forward_##id,                                          \
        .backward = backward_##id,                                        \
    };

MOVES(expand, "Expand", 8, "ONNX Expand-13", 2, struct sizes, read_sizes, shape_expand)
MOVES(tile, "Tile", 6, "ONNX Tile-13", 2, struct sizes, read_sizes, shape_tile)
MOVES(to_space, "DepthToSpace", 1, "ONNX DepthToSpace-13", 1, struct blocks, read_blocks,
      shape_to_space)
MOVES(to_depth, "SpaceToDepth", 1, "ONNX SpaceToDepth-13", 1, struct blocks, read_blocks,
      shape_to_depth)
