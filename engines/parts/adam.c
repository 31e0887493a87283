// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "engines/part.h"

struct options {
    double lr, beta1, beta2, eps, weight_decay;
};

static const struct tt_field fields[] = {
    TT_F(TT_FFLOAT, struct options, lr, "0.001", 0, 100, 0, "learning rate"),
    TT_F(TT_FFLOAT, struct options, beta1, "0.9", 0, 0.999999, 0, "decay of the first moment"),
    TT_F(TT_FFLOAT, struct options, beta2, "0.999", 0, 0.999999, 0, "decay of the second moment"),
    TT_F(TT_FFLOAT, struct options, eps, "1e-8", 1e-16, 1, 0, "added to the root, against 0/0"),
    TT_F(TT_FFLOAT, struct options, weight_decay, "0", 0, 1, 0,
         "L2 penalty, added to the gradient"),
    {0},
};

enum { FIRST, SECOND, STEP };

static enum tt_code plan(struct tt_plan *p, struct tt_use *u, struct tt_err *err)
{
    u->h[FIRST] = tt_plan_memory(p, u, TT_STATE, "exp_avg", -1, 0);
    u->h[SECOND] = tt_plan_memory(p, u, TT_STATE, "exp_avg_sq", -1, 0);
    u->h[STEP] = tt_plan_memory(p, u, TT_STATE, "step", 1, 0);
    if (u->h[FIRST] < 0 || u->h[SECOND] < 0 || u->h[STEP] < 0)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    return TT_OK;
}

/*
 * g += weight_decay theta;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 * theta -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 * The step is a float32, exact up to 2^24 updates; by then both corrections are 1.
 */
static void run(const struct tt_use *u, struct tt_work *s)
{
    const struct options *o = (const struct options *)u->options;
    float *m = tt_at(s, u->h[FIRST]), *v = tt_at(s, u->h[SECOND]), *step = tt_at(s, u->h[STEP]);
    float b1 = (float)o->beta1, b2 = (float)o->beta2;
    float k1 = (float)(1 - o->beta1), k2 = (float)(1 - o->beta2);
    float rate, root, eps = (float)o->eps, decay = (float)o->weight_decay;

    if (*step < 16777216)
        *step += 1;
    rate = (float)(o->lr / (1 - pow(o->beta1, *step)));
    root = (float)sqrt(1 - pow(o->beta2, *step));
    for (int64_t i = 0; i < s->ntheta; i++) {
        float g = s->grad[i] + decay * s->theta[i];

        m[i] = b1 * m[i] + k1 * g;
        v[i] = b2 * v[i] + k2 * g * g;
        s->theta[i] -= rate * m[i] / (sqrtf(v[i]) / root + eps);
    }
}

const struct tt_part tt_part_adam = {
    .name = "adam",
    .slot = TT_OPTIMIZER,
    .help = "Adam, with bias correction",
    .source = "Kingma and Ba 2015, algorithm 1, as torch.optim.Adam writes it",
    .options = fields,
    .options_size = sizeof(struct options),
    .plan = plan,
    .run = run,
};
