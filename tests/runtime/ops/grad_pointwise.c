// SPDX-License-Identifier: Apache-2.0
#include "tests/support/gradcheck.h"

static const float squared[] = {2}, cubed[] = {3}, root[] = {.5f}, truth[] = {1, 0, 0, 1, 0},
                   broken[] = {.3f, -.7f, 1.6f, -2.2f};

#define ANYWHERE          \
    1,                    \
    {                     \
        {                 \
            4, 2, 3, 5, 4 \
        }                 \
    }

const struct gradcase tt_grad_pointwise[] = {
    {"Abs", "", ANYWHERE},
    {"Neg", "", ANYWHERE},
    {"Sqrt", "", ANYWHERE, .values = {POSITIVE}},
    {"Exp", "", ANYWHERE},
    {"Log", "", ANYWHERE, .values = {POSITIVE}},
    {"Reciprocal", "", ANYWHERE, .values = {NONZERO}},
    {"LeakyRelu", "", ANYWHERE, {AFLOAT("alpha", .3f)}},
    {"Elu", "", ANYWHERE, {AFLOAT("alpha", 1.5f)}},
    {"Selu", "", ANYWHERE},
    {"Sigmoid", "", ANYWHERE},
    {"HardSigmoid", "", ANYWHERE, {AFLOAT("alpha", .3f), AFLOAT("beta", .4f)}},
    {"HardSwish", "", ANYWHERE},
    {"Tanh", "", ANYWHERE},
    {"Softplus", "", ANYWHERE},
    {"Softsign", "", ANYWHERE},
    {"Gelu", "", ANYWHERE, .opset = 20},
    {"Gelu", "exact", ANYWHERE, .opset = 20, .exact = true},
    {"tt.Swish", "", ANYWHERE},
    {"tt.Swish", "exact", ANYWHERE, .exact = true},
    {"Gelu", "by tanh", ANYWHERE, {ASTR("approximate", "tanh")}, .opset = 20},
    {"Erf", "", ANYWHERE},
    {"Sign", "", ANYWHERE},
    {"Floor", "", 1, {{1, 4}}, .given = {broken}},
    {"Ceil", "", 1, {{1, 4}}, .given = {broken}},
    {"Round", "", 1, {{1, 4}}, .given = {broken}},
    {"Clip", "attributes", ANYWHERE, {AFLOAT("min", -.503f), AFLOAT("max", .304f)}, .opset = 6},
    {"Clip", "operands", 3, {{3, 2, 3, 5}, {0}, {0}}, .values = {ANY, POSITIVE, POSITIVE}},
    {"Clip", "one operand", 3, {{3, 2, 3, 5}, {-1}, {0}}},
    {"Pow", "", 2, {{3, 2, 3, 5}, {2, 3, 1}}, .values = {POSITIVE, ANY}},
    {"Pow", "squared", 2, {{3, 2, 3, 5}, {0}}, .values = {POSITIVE}, .given = {NULL, squared}},
    {"Pow", "cubed", 2, {{3, 2, 3, 5}, {1, 1}}, .fixed = 2, .given = {NULL, cubed}},
    {"Pow", "root", 2, {{3, 2, 3, 5}, {0}}, .values = {POSITIVE}, .given = {NULL, root}},
    {"PRelu", "", 2, {{4, 2, 3, 5, 4}, {3, 3, 1, 1}}},
    {"PRelu", "below opset 7", 2, {{4, 2, 3, 5, 4}, {1, 3}}, .opset = 6},
    {"Mod",
     "of floats",
     2,
     {{3, 2, 3, 5}, {1, 5}},
     {AINT("fmod", 1)},
     .values = {POSITIVE, NONZERO}},
    {"Add", "both broadcast", 2, {{4, 2, 1, 5, 1}, {4, 1, 3, 1, 4}}},
    {"Add", "a number of many", 2, {{4, 2, 3, 41, 31}, {0}}},
    {"Add", "a bias of many", 2, {{3, 23, 29, 2}, {1, 2}}},
    {"Sub",
     "from axis 1, below opset 7",
     2,
     {{4, 2, 3, 5, 4}, {2, 3, 5}},
     {AINT("axis", 1), AINT("broadcast", 1)},
     .opset = 6},
    {"Mul", "rows", 2, {{3, 2, 3, 5}, {3, 2, 3, 1}}},
    {"Div", "same shape", 2, {{3, 2, 3, 5}, {3, 2, 3, 5}}, .values = {ANY, NONZERO}},
    {"Min", "", 3, {{3, 2, 3, 5}, {2, 3, 5}, {0}}},
    {"Max", "", 3, {{3, 2, 3, 5}, {2, 3, 1}, {3, 2, 1, 5}}},
    {"Max", "one", 1, {{3, 2, 3, 5}}},
    {"Sum", "", 4, {{3, 2, 3, 5}, {2, 3, 5}, {0}, {1, 5}}},
    {"Sum", "one", 1, {{3, 2, 3, 5}}},
    {"Mean", "", 3, {{3, 2, 3, 5}, {2, 3, 5}, {4, 2, 2, 3, 1}}},
    {"Where", "", 3, {{1, 5}, {3, 2, 3, 5}, {2, 3, 1}}, .fixed = 1, .given = {truth}},
    {0},
};
