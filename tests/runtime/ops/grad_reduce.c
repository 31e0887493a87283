// SPDX-License-Identifier: Apache-2.0
#include "tests/support/gradcheck.h"

static struct tt_affine list_last[] = {{-1, 0}}, list_two[] = {{1, 0}, {-1, 0}};
static const struct tt_ints last = INTS(list_last), two = INTS(list_two);
static struct tt_affine list_one[] = {{1, 0}};
static const struct tt_ints one = INTS(list_one);
static const int64_t axes12[] = {1, 2}, axis1[] = {1}, axis0[] = {0};
static const float zeros[] = {2, 0, 3, 1.5f, 0, 0, -1, .5f};

#define X                 \
    {                     \
        {                 \
            4, 2, 3, 5, 4 \
        }                 \
    }

const struct gradcase tt_grad_reduce[] = {
    {"Softmax", "below opset 13", 1, {{3, 2, 3, 5}}, .opset = 12},
    {"LogSoftmax", "last axis", 1, {{3, 2, 3, 5}}},
    {"LogSoftmax", "axis 1", 1, {{3, 2, 5, 3}}, {AINT("axis", 1)}},
    {"LogSoftmax", "below opset 13", 1, {{3, 2, 3, 5}}, .opset = 12},
    {"ReduceSum", "all", 1, X},
    {"ReduceSum", "last axis", 1, X, {AINT("keepdims", 0)}, {&last}},
    {"ReduceSum", "two axes", 1, X, {{0}}, {&two}},
    {"ReduceSum", "none", 1, X, {AINT("noop_with_empty_axes", 1)}},
    {"ReduceSum", "many to few", 1, {{3, 41, 29, 3}}, {AINTS("axes", axis0)}, .opset = 11},
    {"ReduceMean", "spatial", 1, X, {AINT("keepdims", 0)}, {&two}, .opset = 18},
    {"ReduceMean", "attribute", 1, X, {AINTS("axes", axes12)}},
    {"ReduceL1", "", 1, X, {AINTS("axes", axis1), AINT("keepdims", 0)}},
    {"ReduceL2", "", 1, X, {AINTS("axes", axes12)}, .values = {NONZERO}},
    {"ReduceSumSquare", "", 1, X, {AINTS("axes", axes12)}},
    {"ReduceLogSum", "", 1, X, {AINTS("axes", axis1)}, .values = {POSITIVE}},
    {"ReduceLogSumExp", "", 1, X, {AINTS("axes", axes12), AINT("keepdims", 0)}},
    {"ReduceMax", "", 1, X, {AINTS("axes", axes12)}, .values = {SPREAD}},
    {"ReduceMin", "", 1, X, {AINTS("axes", axis1), AINT("keepdims", 0)}, .values = {SPREAD}},
    {"ReduceProd", "", 1, X, {AINTS("axes", axis1)}, .values = {NONZERO}},
    {"ReduceProd", "of zeros", 1, {{2, 4, 2}}, {AINTS("axes", axis0)}, .given = {zeros}},
    {"CumSum", "", 1, X, {{0}}, {&one}},
    {"CumSum",
     "exclusive, from the end",
     1,
     X,
     {AINT("exclusive", 1), AINT("reverse", 1)},
     {&last}},
    {"Trilu", "upper", 1, X, {{0}}, {&last}, .opset = 14},
    {"Trilu", "lower", 1, X, {AINT("upper", 0)}, {&one}, .opset = 14},
    {"TopK",
     "smallest two along axis 1",
     1,
     X,
     {AINT("axis", 1), AINT("largest", 0), AINT("k", 2)},
     .values = {SPREAD}},
    {0},
};
