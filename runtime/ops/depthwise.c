// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/depthwise.h"

#define WIDE  8      // neighbours at a time
#define LINE  16     // floats of a cache line
#define LARGE 500000 // floats that the second-level cache does not hold

/* Rows and columns of what is written: place p, from[i] + p stride apart, reads p step[i] +
 * at[i][t] times the kernel's of[i][t], for all taps t that are inside.  at[i] rises or falls. */
struct phase {
    const struct tt_depthwise *d;
    const struct tt_kernels *k;
    int64_t in[2], out[2], from[2], apart[2], places[2]; // pixels
    int64_t step[2];
    bool large; // what is read
    int taps[2];
    int64_t at[2][TT_DEPTHWISE_TAPS], of[2][TT_DEPTHWISE_TAPS];
};

void tt_depthwise_weights(float *to, const float *w, int64_t C, int64_t taps)
{
    for (int64_t t = 0; t < taps; t++)
        for (int64_t c = 0; c < C; c++)
            to[t * C + c] = w[c * taps + t];
}

/* The taps that place p sees: [range[0], range[1]). */
static void find_taps(const struct phase *s, int i, int64_t p, int range[2])
{
    int64_t origin = p * s->step[i], size = s->in[i];
    const int64_t *at = s->at[i];

    range[0] = 0;
    range[1] = s->taps[i];
    while (range[0] < range[1] && (origin + at[range[0]] < 0 || origin + at[range[0]] >= size))
        range[0]++;
    while (range[0] < range[1] &&
           (origin + at[range[1] - 1] < 0 || origin + at[range[1] - 1] >= size))
        range[1]--;
}

/* Neighbours in a row that see the same taps: pixels from place (i, j) on. */
static void run_pixels(const struct phase *s, int64_t image, int64_t i, int64_t j, int64_t pixels,
                       const int rows[2], const int cols[2])
{
    const struct tt_depthwise *d = s->d;
    int64_t tap[TT_DEPTHWISE_TAPS][2], h = s->from[0] + i * s->apart[0];
    int64_t w = s->from[1] + j * s->apart[1];
    int n = 0;

    for (int a = rows[0]; a < rows[1]; a++)
        for (int b = cols[0]; b < cols[1]; b++, n++) {
            tap[n][0] = (s->at[0][a] * s->in[1] + s->at[1][b]) * d->C;
            tap[n][1] = (s->of[0][a] * d->K[1] + s->of[1][b]) * d->C;
        }
    s->k->depthwise(d->y + ((image * s->out[0] + h) * s->out[1] + w) * d->C, s->apart[1] * d->C,
                    d->x + ((image * s->in[0] + i * s->step[0]) * s->in[1] + j * s->step[1]) * d->C,
                    s->step[1] * d->C, pixels, (const int64_t(*)[2])tap, n, d->weights, d->C,
                    &d->finish);
}

/* Whether neighbours see neighbours, through as many columns as there is a kernel for. */
static bool slides(const struct phase *s)
{
    int n = s->taps[1];

    return s->step[1] == 1 && (n == 3 || n == 5 || n == 7) && s->at[1][1] == s->at[1][0] + 1 &&
           s->at[1][n - 1] == s->at[1][0] + n - 1;
}

/* Pixels that the row behind row i of an image is the first to read, below places j.. of row i: on
 * their way to the second-level cache.  They are of many streams, which the processor does not
 * foresee.  Inlined, or GCC finds that it has no effect, and leaves the call out. */
static inline __attribute__((always_inline)) void fetch(const struct phase *s, int64_t image,
                                                        int64_t i, int64_t j)
{
    const struct tt_depthwise *d = s->d;
    int64_t end = (j + WIDE) * s->step[1] < s->in[1] ? (j + WIDE) * s->step[1] : s->in[1], high;

    if (!s->large || !s->taps[0])
        return;
    high = s->at[0][0] > s->at[0][s->taps[0] - 1] ? s->at[0][0] : s->at[0][s->taps[0] - 1];
    for (int64_t k = 1; k <= s->step[0]; k++) {
        int64_t row = i * s->step[0] + high + k;
        const float *x = d->x + ((image * s->in[0] + row) * s->in[1] + j * s->step[1]) * d->C;

        if (row < 0 || row >= s->in[0])
            continue;
        for (int64_t n = 0; n < (end - j * s->step[1]) * d->C; n += LINE)
            __builtin_prefetch(x + n, 0, 2);
    }
}

/* Row i of an image, eight pixels at a time, through rows of the kernel. */
static void slide(const struct phase *s, int64_t image, int64_t i, const int rows[2])
{
    const struct tt_depthwise *d = s->d;
    int64_t h = s->from[0] + i * s->apart[0];
    struct tt_depthwise_row r = {.w = d->weights,
                                 .y_step = s->apart[1] * d->C,
                                 .x_step = d->C,
                                 .w_step = (s->of[1][1] - s->of[1][0]) * d->C,
                                 .cols = s->taps[1],
                                 .rows = rows[1] - rows[0]};

    for (int a = 0; a < r.rows; a++) {
        r.at[a] = (s->at[0][rows[0] + a] * s->in[1] + s->at[1][0]) * d->C;
        r.of[a] = (s->of[0][rows[0] + a] * d->K[1] + s->of[1][0]) * d->C;
    }
    for (int64_t j = 0; j < s->places[1]; j += WIDE) {
        int64_t first = -s->at[1][0] - j, end = first + s->in[1];

        r.x = d->x + ((image * s->in[0] + i * s->step[0]) * s->in[1] + j) * d->C;
        r.y = d->y + ((image * s->out[0] + h) * s->out[1] + s->from[1] + j * s->apart[1]) * d->C;
        r.pixels = s->places[1] - j < WIDE ? (int)(s->places[1] - j) : WIDE;
        r.first = first < 0 ? 0 : first < WIDE + r.cols ? (int)first : WIDE + r.cols;
        r.end = end < 0 ? 0 : end < r.pixels + r.cols - 1 ? (int)end : r.pixels + r.cols - 1;
        fetch(s, image, i, j);
        s->k->depthwise_row(&r, d->C, &d->finish);
    }
}

static void run_row(const struct phase *s, int64_t row)
{
    int64_t image = row / s->places[0], i = row % s->places[0], end;
    int rows[2], cols[2], next[2];

    find_taps(s, 0, i, rows);
    if (slides(s)) {
        slide(s, image, i, rows);
        return;
    }
    find_taps(s, 1, 0, next);
    for (int64_t j = 0; j < s->places[1]; j = end) {
        cols[0] = next[0];
        cols[1] = next[1];
        for (end = j + 1; end < s->places[1]; end++) {
            find_taps(s, 1, end, next);
            if (next[0] != cols[0] || next[1] != cols[1])
                break;
        }
        for (int64_t at = j; at < end; at += WIDE) {
            fetch(s, image, i, at);
            run_pixels(s, image, i, at, end - at < WIDE ? end - at : WIDE, rows, cols);
        }
    }
}

static void run_phase(const struct phase *s)
{
    const struct tt_depthwise *d = s->d;
    int64_t rows = d->images * s->places[0];
    int64_t products = rows * s->places[1] * s->taps[0] * s->taps[1] * d->C;

#pragma omp parallel for schedule(static) if (products > 50000)
    for (int64_t row = 0; row < rows; row++)
        run_row(s, row);
}

/* Dimension i of the convolution itself. */
static void set_forward(struct phase *s, int i)
{
    const struct tt_depthwise *d = s->d;

    s->in[i] = d->H[i];
    s->out[i] = s->places[i] = d->OH[i];
    s->from[i] = 0;
    s->apart[i] = 1;
    s->step[i] = d->stride[i];
    s->taps[i] = (int)d->K[i];
    for (int k = 0; k < d->K[i]; k++) {
        s->at[i][k] = k * d->dilation[i] - d->pad[i];
        s->of[i][k] = k;
    }
}

/* Dimension i of the gradient to the pixels from that one on, a stride apart: they see the same
 * taps, those through which the result saw them. */
static void set_back(struct phase *s, int i, int64_t from)
{
    const struct tt_depthwise *d = s->d;

    s->in[i] = d->OH[i];
    s->out[i] = d->H[i];
    s->from[i] = from;
    s->apart[i] = d->stride[i];
    s->places[i] = (d->H[i] - from + d->stride[i] - 1) / d->stride[i];
    s->step[i] = 1;
    s->taps[i] = 0;
    for (int64_t k = d->K[i] - 1; k >= 0; k--) { // so that pixels rise
        int64_t at = from + d->pad[i] - k * d->dilation[i];

        if (at % d->stride[i])
            continue;
        s->at[i][s->taps[i]] = at / d->stride[i];
        s->of[i][s->taps[i]++] = k;
    }
}

void tt_depthwise_run(const struct tt_depthwise *d, bool back)
{
    const int64_t *read = back ? d->OH : d->H;
    struct phase s = {
        .d = d, .k = tt_kernels(), .large = d->images * read[0] * read[1] * d->C > LARGE};

    if (!back) {
        set_forward(&s, 0);
        set_forward(&s, 1);
        run_phase(&s);
        return;
    }
    for (int64_t i = 0; i < d->stride[0] && i < d->H[0]; i++)
        for (int64_t j = 0; j < d->stride[1] && j < d->H[1]; j++) {
            set_back(&s, 0, i);
            set_back(&s, 1, j);
            run_phase(&s);
        }
}
