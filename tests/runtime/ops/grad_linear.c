// SPDX-License-Identifier: Apache-2.0
#include "tests/support/gradcheck.h"

const struct gradcase tt_grad_linear[] = {
    {"MatMul", "one b for all", 2, {{3, 2, 3, 5}, {2, 5, 4}}},
    {"MatMul", "a b each", 2, {{3, 2, 3, 5}, {3, 2, 5, 4}}},
    {"MatMul", "leading dimensions broadcast both ways", 2, {{4, 2, 1, 3, 5}, {4, 1, 6, 5, 4}}},
    {"MatMul", "a has fewer dimensions", 2, {{2, 3, 5}, {4, 2, 6, 5, 4}}},
    {"MatMul", "b has fewer dimensions", 2, {{4, 2, 6, 3, 5}, {3, 6, 5, 4}}},
    {"MatMul", "a is a row", 2, {{1, 5}, {3, 2, 5, 4}}},
    {"MatMul", "b is a column", 2, {{3, 2, 3, 5}, {1, 5}}},
    {"MatMul", "both are vectors", 2, {{1, 5}, {1, 5}}},
    {"Einsum",
     "a batch of products, both transposed",
     2,
     {{4, 2, 3, 4, 5}, {4, 2, 3, 6, 5}},
     {ASTR("equation", "bhid,bhjd->bjhi")}},
    {"Einsum",
     "an ellipsis, broadcast",
     2,
     {{4, 2, 1, 4, 5}, {3, 3, 5, 6}},
     {ASTR("equation", "...ij, ...jk -> ...ik")}},
    {"Einsum", "without an arrow", 2, {{2, 4, 5}, {2, 5, 3}}, {ASTR("equation", "ij,jk")}},
    {"Einsum", "sums of one alone", 2, {{3, 4, 5, 2}, {2, 5, 3}}, {ASTR("equation", "ijl,jk->i")}},
    {"Einsum", "a diagonal", 1, {{3, 4, 2, 4}}, {ASTR("equation", "iji->ji")}},
    {"Einsum", "a trace", 1, {{2, 4, 4}}, {ASTR("equation", "ii")}},
    {NULL},
};
