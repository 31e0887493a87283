// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_KERNELS_TABLE_H
#define TT_RUNTIME_KERNELS_TABLE_H

#include <stdint.h>

/* The tables of channels and the masks of elements that kernels read and write. */
#define TT_PERIOD 16 // a table for each channel is repeated until it is a multiple of this

/* Elements of a table for C channels that affine() and bn_grad() can read. */
static inline int64_t tt_period(int64_t C)
{
    int64_t n = C;

    while (n % TT_PERIOD)
        n += C;
    return n;
}

/* Repeat the first C elements of a table up to its period. */
static inline void tt_repeat_table(float *table, int64_t C)
{
    for (int64_t i = C, n = tt_period(C); i < n; i++)
        table[i] = table[i - C];
}

/* Words of the mask of n elements; that of elements from a multiple of 512 on begins at its 32nd
 * part. */
static inline int64_t tt_mask_words(int64_t n)
{
    return (n + 511) / 512 * 16;
}

#endif
