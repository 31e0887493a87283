// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "runtime/infer.h"
#include "runtime/model.h"
#include "runtime/program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MODEL_BYTES ((size_t)8 << 20) // of a model that is tried
#define VALUES      20000             // floats of one row that a model may compute to be run

/* Whether a row of the model is small enough to be computed thousands of times. */
static bool is_small(const struct tt_graph *g, const struct tt_probe *probes)
{
    int64_t sum = 0;

    for (int i = 0; i < g->nvalues; i++) {
        int64_t len = 1;

        for (int k = 0; k < probes[i].ndim; k++)
            len = len > VALUES
                      ? len
                      : len * (probes[i].dim[0][k] > VALUES ? VALUES + 1 : probes[i].dim[0][k]);
        sum += len > VALUES ? VALUES : len;
    }
    return sum < VALUES;
}

static void run_model(const struct tt_graph *g)
{
    struct tt_program_spec spec = {
        .graph = g, .limit = 2, .outputs = g->outputs, .noutputs = g->noutputs, .loss = -1};
    struct tt_program *p;
    struct tt_err err;

    if (tt_program_new(&spec, &p, &err))
        return;
    tt_program_forward(p);
    tt_program_free(p);
}

/* The bytes of the file once more, over and over, are what it has beside it. */
struct input {
    const uint8_t *data;
    size_t n, at;
};

static enum tt_code read_input(void *from, void *to, size_t n, struct tt_err *err)
{
    struct input *in = (struct input *)from;

    (void)err;
    memcpy(to, in->data + in->at, n);
    in->at += n;
    return TT_OK;
}

static enum tt_code read_beside(void *from, const char *location, uint64_t offset, void *to,
                                size_t n, struct tt_err *err)
{
    const struct input *in = (const struct input *)from;
    char *bytes = (char *)to;

    if (offset > MODEL_BYTES || n > MODEL_BYTES)
        return tt_fail(err, TT_ESHAPE, "'%.40s' is short", location);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)in->data[(offset + i) % in->n];
    return TT_OK;
}

/* Whatever is read as a model has shapes, and can be run unless compiling it says why not. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct input in = {.data = data, .n = n};
    const struct tt_model_source source = {.file = {.from = &in, .size = n, .read = read_input},
                                           .beside = read_beside,
                                           .folder = &in,
                                           .logits = n & 1};
    struct tt_probe *probes;
    struct tt_arena arena;
    struct tt_model *m;
    struct tt_err err;

    if (tt_model_read(&source, MODEL_BYTES, &m, &err))
        return 0;
    tt_arena_init(&arena, 0);
    if (tt_probe_graph(&m->graph, &arena, &probes, &err))
        abort();
    if (is_small(&m->graph, probes))
        run_model(&m->graph);
    tt_arena_release(&arena);
    tt_model_free(m);
    return 0;
}
