// SPDX-License-Identifier: Apache-2.0
#include "engines/part.h"

struct options {
    double lr, momentum, dampening, weight_decay;
    bool nesterov;
};

static const struct tt_field fields[] = {
    TT_F(TT_FFLOAT, struct options, lr, NULL, 0, 100, 0, "learning rate"),
    TT_F(TT_FFLOAT, struct options, momentum, "0", 0, 1, 0, "of the velocity"),
    TT_F(TT_FFLOAT, struct options, dampening, "0", 0, 1, 0, "of the gradient in the velocity"),
    TT_F(TT_FFLOAT, struct options, weight_decay, "0", 0, 1, 0,
         "L2 penalty, added to the gradient"),
    TT_F(TT_FBOOL, struct options, nesterov, "false", 0, 0, 0, "look ahead along the velocity"),
    {0},
};

enum { VELOCITY, STARTED };

static enum tt_code plan(struct tt_plan *p, struct tt_use *u, struct tt_err *err)
{
    const struct options *o = (const struct options *)u->options;

    if (o->nesterov && (o->momentum <= 0 || o->dampening > 0))
        return tt_fail(err, TT_ERANGE, "nesterov wants a momentum above 0 and no dampening");
    if (o->momentum <= 0)
        return TT_OK;
    u->h[VELOCITY] = tt_plan_memory(p, u, TT_STATE, "momentum_buffer", -1, 0);
    u->h[STARTED] = tt_plan_memory(p, u, TT_STATE, "started", 1, 0);
    if (u->h[VELOCITY] < 0 || u->h[STARTED] < 0)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    return TT_OK;
}

/*
 * d = g + weight_decay theta;  v = momentum v + (1 - dampening) d, v = d the first time;
 * theta -= lr (nesterov ? d + momentum v : v)
 */
static void run(const struct tt_use *u, struct tt_work *s)
{
    const struct options *o = (const struct options *)u->options;
    float lr = (float)o->lr, decay = (float)o->weight_decay, m = (float)o->momentum;
    float *v, *started, keep;

    if (o->momentum <= 0) {
        for (int64_t i = 0; i < s->ntheta; i++)
            s->theta[i] -= lr * (s->grad[i] + decay * s->theta[i]);
        return;
    }
    v = tt_at(s, u->h[VELOCITY]);
    started = tt_at(s, u->h[STARTED]);
    keep = *started > 0 ? 1 - (float)o->dampening : 1;
    for (int64_t i = 0; i < s->ntheta; i++) {
        float d = s->grad[i] + decay * s->theta[i];

        v[i] = m * v[i] + keep * d;
        s->theta[i] -= lr * (o->nesterov ? d + m * v[i] : v[i]);
    }
    *started = 1;
}

const struct tt_part tt_part_sgd = {
    .name = "sgd",
    .slot = TT_OPTIMIZER,
    .help = "stochastic gradient descent with momentum",
    .source = "Sutskever et al. 2013, as torch.optim.SGD writes it",
    .options = fields,
    .options_size = sizeof(struct options),
    .plan = plan,
    .run = run,
};
