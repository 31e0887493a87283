// SPDX-License-Identifier: Apache-2.0
#include "runtime/panels.h"

#include <math.h>
#include <string.h>

#include "tests/support/check.h"

#define MAXROWS 14
#define DEEP    11
#define WIDE    24 // floats between rows

static float draw(int i)
{
    return (float)((i * 7919 + 13) % 2003) / 1001 - 1;
}

static void panels_are_columns_with_zeros_behind(void **state)
{
    float b[DEEP * WIDE * 2], to[DEEP * TT_PANEL];

    (void)state;
    for (int i = 0; i < DEEP * WIDE * 2; i++)
        b[i] = draw(i);
    for (const struct tt_panels *const *p = tt_panels_all(); *p; p++)
        for (int columns = 1; columns <= TT_PANEL; columns++)
            for (int turned = 0; turned < 2; turned++) {
                (*p)->pack(to, b, WIDE, turned, DEEP, columns);
                for (int k = 0; k < DEEP; k++)
                    for (int j = 0; j < TT_PANEL; j++) {
                        float want = turned ? b[j * WIDE + k] : b[k * WIDE + j];

                        assert_true(to[k * TT_PANEL + j] == (j < columns ? want : 0));
                    }
            }
}

/* What tile() is to leave in c[r][j], from what was there. */
static double wanted(const struct tt_tile *t, int r, int j, double was)
{
    double sum = 0;

    for (int64_t k = 0; k < t->K; k++)
        sum += (double)t->a[r * t->a_row + k * t->a_col] * (double)t->panel[k * TT_PANEL + j];
    return (t->sum ? was : 0) + (t->bias ? (double)t->bias[j] : 0) + (double)t->scale * sum;
}

static void a_tile_is_the_product_of_its_rows_and_its_panel(void **state)
{
    float a[MAXROWS * WIDE], panel[DEEP * TT_PANEL], bias[TT_PANEL], c[MAXROWS + 1][WIDE];

    (void)state;
    for (int i = 0; i < MAXROWS * WIDE; i++)
        a[i] = draw(3 * i);
    for (int i = 0; i < DEEP * TT_PANEL; i++)
        panel[i] = draw(5 * i);
    for (int i = 0; i < TT_PANEL; i++)
        bias[i] = draw(11 * i);
    for (const struct tt_panels *const *p = tt_panels_all(); *p; p++)
        for (int rows = 1; rows <= (*p)->mr; rows++)
            for (int how = 0; how < 16; how++) {
                int columns = how & 8 ? TT_PANEL : 1 + (rows * 5) % TT_PANEL;
                bool along = how & 4;
                struct tt_tile t = {a,
                                    along ? WIDE : 1,
                                    along ? 1 : WIDE / 2,
                                    panel,
                                    DEEP,
                                    c[0],
                                    WIDE,
                                    how & 2 ? bias : NULL,
                                    how & 8 ? 1 : .5f,
                                    how & 1 ? c[0] : NULL};

                for (int i = 0; i < (MAXROWS + 1) * WIDE; i++)
                    (&c[0][0])[i] = 9;
                (*p)->tile(&t, rows, columns);
                for (int r = 0; r <= MAXROWS; r++)
                    for (int j = 0; j < WIDE; j++)
                        /* what lies outside of the tile is left alone */
                        assert_close(c[r][j], r < rows && j < columns ? wanted(&t, r, j, 9) : 9,
                                     1e-5, 1e-5);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(panels_are_columns_with_zeros_behind),
        cmocka_unit_test(a_tile_is_the_product_of_its_rows_and_its_panel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
