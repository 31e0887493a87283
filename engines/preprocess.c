// SPDX-License-Identifier: Apache-2.0
#include "engines/method.h"

/* The images' channels, height, width from a shape with rows first. */
static void sides(const struct tt_preprocess *p, const int64_t *dim, int64_t chw[3])
{
    bool nhwc = p->layout == TT_NHWC;

    chw[0] = nhwc ? dim[3] : dim[1];
    chw[1] = nhwc ? dim[1] : dim[2];
    chw[2] = nhwc ? dim[2] : dim[3];
}

enum tt_code tt_preprocess_check(const struct tt_preprocess *p, int ndim, const int64_t *dim,
                                 const struct tt_value *want, struct tt_err *err)
{
    char a[TT_SHAPE_TEXT], b[TT_SHAPE_TEXT];
    int64_t chw[3];
    bool fits = ndim == 4 && want->ndim == 4;

    if (fits) {
        sides(p, dim, chw);
        for (int i = 0; i < 3; i++)
            fits = fits && chw[i] == want->dim[1 + i];
    }
    if (!fits)
        return tt_fail(err, TT_ESHAPE, "images of shape %s (%s), the model wants %s [N, C, H, W]",
                       tt_shape_text(dim, ndim, a, sizeof a),
                       p->layout == TT_NHWC ? "nhwc" : "nchw",
                       tt_shape_text(want->dim, want->ndim, b, sizeof b));
    if ((p->mean.n > 1 && p->mean.n != chw[0]) || (p->std.n > 1 && p->std.n != chw[0]))
        return tt_fail(err, TT_ESHAPE, "preprocess: %d means and %d stds for %lld channels",
                       p->mean.n, p->std.n, (long long)chw[0]);
    return TT_OK;
}

static double pick(const struct tt_floats *f, int64_t c, double def)
{
    return f->n == 0 ? def : f->n == 1 ? f->v[0] : f->v[c];
}

void tt_preprocess_run(const struct tt_preprocess *p, const uint8_t *in, int64_t rows, int64_t C,
                       int64_t H, int64_t W, float *out)
{
    bool nhwc = p->layout == TT_NHWC;
    int64_t P = H * W, pixel = nhwc ? C : 1, channel = nhwc ? 1 : P;

    for (int64_t c = 0; c < C; c++) {
        float table[256]; // one division a value, not a pixel

        for (int v = 0; v < 256; v++)
            table[v] = ((float)v * (float)p->scale - (float)pick(&p->mean, c, 0)) /
                       (float)pick(&p->std, c, 1);
        for (int64_t r = 0; r < rows; r++) {
            const uint8_t *from = in + r * C * P + c * channel;
            float *to = out + (r * C + c) * P;

            for (int64_t i = 0; i < P; i++)
                to[i] = table[from[i * pixel]];
        }
    }
}
