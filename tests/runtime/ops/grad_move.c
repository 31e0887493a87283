// SPDX-License-Identifier: Apache-2.0
#include "tests/support/gradcheck.h"

static struct tt_affine list_sizes[] = {{1, 0}, {3, 0}, {2, 0}};
static struct tt_affine list_to[] = {{2, 0}, {4, 0}, {3, 0}, {5, 0}};
static struct tt_affine list_repeats[] = {{1, 0}, {2, 0}, {3, 0}, {2, 0}};
static const struct tt_ints sizes = INTS(list_sizes), to = INTS(list_to),
                            repeats = INTS(list_repeats);
static struct tt_affine list_resized[] = {{2, 0}, {3, 0}, {7, 0}, {2, 0}};
static struct tt_affine list_around[] = {{0, 0}, {1, 0},  {2, 0}, {0, 0},
                                         {0, 0}, {-1, 0}, {3, 0}, {1, 0}};
static const struct tt_ints around = INTS(list_around);
static struct tt_affine list_same[] = {{2, 0}, {3, 0}};
static const struct tt_ints resized = INTS(list_resized), same = INTS(list_same);
static const float scales[] = {1, 1, 2, 1.6f}, every_scale[] = {2, 1.4f, 1.5f, .6f};
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
    {"Resize",
     "linear, both spatial axes",
     3,
     {{4, 2, 3, 4, 5}, {-1}, {1, 4}},
     {ASTR("mode", "linear")},
     .given = {NULL, NULL, scales},
     .fixed = 4},
    {"Resize",
     "cubic, every axis",
     3,
     {{4, 2, 3, 4, 5}, {-1}, {1, 4}},
     {ASTR("mode", "cubic"), AINT("exclude_outside", 1)},
     .given = {NULL, NULL, every_scale},
     .fixed = 4},
    {"Resize",
     "nearest, to sizes",
     3,
     {{4, 2, 3, 4, 5}, {-1}, {-1}},
     {ASTR("coordinate_transformation_mode", "asymmetric"), ASTR("nearest_mode", "floor")},
     {&resized}},
    {"Resize", "nothing changes", 3, {{2, 2, 3}, {-1}, {-1}}, {{0}}, {&same}},
    {"Pad", "reflect", 1, {{4, 2, 3, 4, 5}}, {ASTR("mode", "reflect")}, {&around}},
    {"Pad", "edge", 1, {{4, 2, 3, 4, 5}}, {ASTR("mode", "edge")}, {&around}},
    {"Pad", "wrap", 1, {{4, 2, 3, 4, 5}}, {ASTR("mode", "wrap")}, {&around}},
    {"Pad", "away from one side", 1, {{4, 2, 3, 4, 5}}, {{0}}, {&around}},
    {"Upsample",
     "nearest",
     2,
     {{4, 2, 3, 4, 5}, {1, 4}},
     {{0}},
     .given = {NULL, scales},
     .fixed = 2},
    {NULL},
};
