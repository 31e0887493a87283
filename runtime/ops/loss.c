// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"

/*
 * tt.Entropy: logits z [N, C] -> the mean over rows of the entropy of p = softmax(z), in nats:
 *   lse = ln sum exp z,  h = lse - sum p z,  dz = -p (ln p + h) dh / N
 * Shifted by the row's maximum.
 */
static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *z = n->in[0];

    if (z->ndim != 2 || z->dim[1] < 2)
        return tt_fail(err, TT_ESHAPE, "the logits '%s' have %d dimensions, want [rows, classes]",
                       z->name, z->ndim);
    n->out->ndim = 0;
    n->nsaved[0] = 2 * z->dim[0]; // lse, h of each row
    return TT_OK;
}

static void forward(struct tt_node *n)
{
    int64_t N = n->in[0]->dim[0], C = n->in[0]->dim[1];
    double total = 0;

    for (int64_t i = 0; i < N; i++) {
        const float *z = n->in[0]->x + i * C;
        double sum = 1, dot = 0, max; // the largest's own term is exp(0)
        int64_t best = 0;

        for (int64_t c = 1; c < C; c++)
            best = z[c] > z[best] ? c : best;
        max = z[best];
        for (int64_t c = 0; c < C; c++) {
            double e = c == best ? 0 : exp(z[c] - max);

            sum += e;
            dot += e * (z[c] - max);
        }
        n->saved[0][2 * i] = (float)(max + log(sum));
        n->saved[0][2 * i + 1] = (float)(log(sum) - dot / sum);
        total += log(sum) - dot / sum;
    }
    *n->out->x = (float)(total / (double)N);
}

static void backward(struct tt_node *n)
{
    int64_t N = n->in[0]->dim[0], C = n->in[0]->dim[1];
    float scale = *n->out->g / (float)N;

    for (int64_t i = 0; i < N; i++) {
        const float *z = n->in[0]->x + i * C;
        float *dz = n->in[0]->g + i * C, lse = n->saved[0][2 * i], h = n->saved[0][2 * i + 1];

        for (int64_t c = 0; c < C; c++) {
            float ln = z[c] - lse;
            float d = -expf(ln) * (ln + h) * scale;

            dz[c] = n->add[0] ? dz[c] + d : d;
        }
    }
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_IN(0);
}

const struct tt_op tt_op_entropy = {
    .name = "tt.Entropy",
    .min_in = 1,
    .max_in = 1,
    .source = "Wang et al. 2021 (Tent), eq. 1",
    .layout = TT_WANTS_PLAIN,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
};
