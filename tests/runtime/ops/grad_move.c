// SPDX-License-Identifier: Apache-2.0
#include "tests/support/gradcheck.h"

static struct tt_affine list_sizes[] = {{1, 0}, {3, 0}, {2, 0}};
static struct tt_affine list_to[] = {{2, 0}, {4, 0}, {3, 0}, {5, 0}};
static struct tt_affine list_repeats[] = {{1, 0}, {2, 0}, {3, 0}, {2, 0}};
static const struct tt_ints sizes = INTS(list_sizes), to = INTS(list_to),
                            repeats = INTS(list_repeats);
static const float rows[] = {2, 0, -1, 2, 1, 1}, one[] = {-2},
                   places[] = {0, 2, 1, -1, 0, 1, 1, 2, -3, 0, 0, 1, 2, 1, 1, 0, 2, 1};

const struct gradcase tt_grad_move[] = {
    {"Split",
     "the second of three",
     1,
     {{4, 2, 6, 3, 5}},
     {AINT("axis", 1)},
     {&sizes},
     .result = 1,
     .results = 3},
    {"Split",
     "the last of two, uneven",
     1,
     {{3, 2, 3, 5}},
     {AINT("axis", -1), AINT("num_outputs", 2)},
     .result = 1,
     .results = 2,
     .opset = 18},
    {"Gather",
     "rows, some twice",
     2,
     {{3, 2, 3, 5}, {2, 2, 3}},
     {AINT("axis", 1)},
     .given = {NULL, rows},
     .integers = 2},
    {"Gather", "one", 2, {{3, 3, 2, 5}, {0}}, {{0}}, .given = {NULL, one}, .integers = 2},
    {"GatherElements",
     "",
     2,
     {{3, 2, 3, 4}, {3, 2, 3, 3}},
     {AINT("axis", 1)},
     .given = {NULL, places},
     .integers = 2},
    {"Expand", "", 1, {{3, 4, 1, 5}}, {{0}}, {&to}},
    {"Tile", "", 1, {{4, 2, 3, 2, 4}}, {{0}}, {&repeats}},
    {"DepthToSpace", "DCR", 1, {{4, 2, 12, 3, 5}}, {AINT("blocksize", 2)}},
    {"DepthToSpace", "CRD", 1, {{4, 2, 12, 3, 5}}, {AINT("blocksize", 2), ASTR("mode", "CRD")}},
    {"SpaceToDepth", "", 1, {{4, 2, 3, 4, 6}}, {AINT("blocksize", 2)}},
    {NULL},
};
