// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_PANELS_H
#define TT_RUNTIME_PANELS_H

#include <stdbool.h>
#include <stdint.h>

#define TT_PANEL 16 // columns of a panel

/*
 * The inner loops of matrix products (runtime/ops/product.h), compiled as those of
 * runtime/kernels.h are: once for each kind of processor, which chooses.  A panel is TT_PANEL
 * columns of the right operand, row by row; columns that are not there are 0.
 */
struct tt_tile {
    const float *a; // a[r * a_row + k * a_col]
    int64_t a_row, a_col;
    const float *panel; // [K][TT_PANEL]
    int64_t K;
    float *c; // c[r * c_row + j]
    int64_t c_row;
    const float *bias; // bias[j]; NULL: 0
    float scale;
    const float *sum; // sum[r * c_row + j], which may be c; NULL: 0
};

struct tt_panels {
    const char *name;
    int mr; // rows of a tile at most

    /* c[r][j] = sum[r][j] + bias[j] + scale (sum over k of a[r][k] panel[k][j]), for r < rows <=
     * mr, j < columns <= TT_PANEL.  The order of the sum does not depend on rows or columns. */
    void (*tile)(const struct tt_tile *t, int rows, int columns);

    /* to[k][j] = b[k * step + j], or b[j * step + k] when turned, for k < K, j < columns; the
     * other columns become 0. */
    void (*pack)(float *to, const float *b, int64_t step, bool turned, int64_t K, int columns);
};

/* The row for this processor. */
const struct tt_panels *tt_panels(void);

/* Every row that this processor can run, for the tests; ends with NULL. */
const struct tt_panels *const *tt_panels_all(void);

#endif
