// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_HALF_H
#define TT_RUNTIME_HALF_H

#include <stdint.h>

/*
 * IEEE 754 binary16: what backward reads of a forward run may wait in half the memory.  Rounded to
 * nearest, relative error at most 2^-11 where |x| is 6.2e-5 and more, below it absolute error 3e-8;
 * what is larger than 65504 becomes that; NaN stays NaN.
 */
#define TT_HALF_FLOATS(n) (((n) + 1) / 2) // floats of memory for n halves
#define TT_HALF_LARGEST   65504.f

void tt_half_of(uint16_t *to, const float *x, int64_t n);
void tt_half_read(float *to, const uint16_t *x, int64_t n);

/* The same by plain C, for the tests and for processors without the instructions. */
void tt_half_of_plain(uint16_t *to, const float *x, int64_t n);
void tt_half_read_plain(float *to, const uint16_t *x, int64_t n);

#endif
