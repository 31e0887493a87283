// SPDX-License-Identifier: Apache-2.0
/*
 * Ask a running ttad about a batch, tell it the true classes, watch what it does:
 *
 *     cc example.c -o example $(pkg-config --cflags --libs ttad)
 *     ./example STREAM [ENDPOINT-OF-DATA]
 *
 * It asks the daemon which model it serves and sends three batches of noise in that shape.
 */
#include <ttad.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 8

/* The shape of the first model's input, as the daemon describes it; the number of dimensions. */
static int input_shape(struct ttad *c, int64_t *shape)
{
    char *json, *at;
    int n = 0;

    if (ttad_hello(c, &json) != TTAD_OK)
        return 0;
    at = strstr(json, "\"shape\":"); // a program with a JSON library would use that
    at = at ? strchr(at, '[') : NULL;
    while (at && *at && *at != ']' && n < TTAD_MAX_DIMS)
        shape[n++] = strtoll(at + 1, &at, 10);
    ttad_free(json);
    return n;
}

static int64_t best(const float *row, int64_t n)
{
    int64_t k = 0;

    for (int64_t i = 1; i < n; i++)
        if (row[i] > row[k])
            k = i;
    return k;
}

static void print_reply(const struct ttad_reply *r)
{
    printf("version %s, step %lld, %s%s, guard %s, %lld us:", r->version, (long long)r->step,
           r->adapted ? "adapted" : "not adapted: ", r->skipped, r->guard,
           (long long)(r->queue_us + r->infer_us + r->adapt_us));
    for (int64_t i = 0; i < r->rows; i++)
        printf(" %lld", (long long)best(r->logits + i * r->classes, r->classes));
    putchar('\n');
}

/* A batch of noise, its answer, and labels for it. */
static enum ttad_code ask(struct ttad *c, const char *stream, const int64_t *shape, int ndim)
{
    struct ttad_tensor image = TTAD_TENSOR_INIT;
    struct ttad_request request = TTAD_REQUEST_INIT;
    struct ttad_reply *reply;
    int64_t labels[ROWS] = {0}, n = 1;
    enum ttad_code code = TTAD_NO_MEMORY;
    float *x;

    for (int i = 0; i < ndim; i++)
        n *= shape[i];
    x = (float *)malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = (float)rand() / (float)RAND_MAX;
    image.shape = shape;
    image.ndim = ndim;
    image.data = x;
    request.stream = stream;
    request.inputs = &image;
    request.ninputs = 1;
    if (x)
        code = ttad_infer(c, &request, &reply);
    free(x);
    if (code != TTAD_OK)
        return code;
    print_reply(reply);
    code = ttad_feedback(c, reply->id, stream, labels, ROWS, NULL); // whenever labels come
    ttad_reply_free(reply);
    return code;
}

int main(int argc, char **argv)
{
    struct ttad_options options = TTAD_OPTIONS_INIT;
    int64_t shape[TTAD_MAX_DIMS];
    struct ttad *c;
    int ndim;

    if (argc < 2) {
        fprintf(stderr, "usage: %s STREAM [ENDPOINT-OF-DATA]\n", argv[0]);
        return 2;
    }
    options.data = argc > 2 ? argv[2] : NULL;
    if (ttad_connect(&options, &c) == TTAD_OK && (ndim = input_shape(c, shape)) > 0) {
        shape[0] = ROWS;
        for (int i = 0; i < 3 && ask(c, argv[1], shape, ndim) == TTAD_OK; i++)
            ;
    }
    if (ttad_errno(c) != TTAD_OK)
        fprintf(stderr, "%s: %s\n", ttad_code_name(ttad_errno(c)), ttad_error(c));
    argc = ttad_errno(c) != TTAD_OK;
    ttad_close(c);
    return argc;
}
