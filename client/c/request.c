// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/handle.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors go over the wire in the order of memory, which is little-endian"
#endif

bool ttadi_set_text(json_t *o, const char *key, const char *text)
{
    return !text || json_object_set_new(o, key, json_string(text)) == 0;
}

/* Bytes of an input; checks what the daemon cannot, because it would be read here. */
static enum ttad_code measure(struct ttad *c, const struct ttad_tensor *t, int i, size_t *ret)
{
    size_t n;

    if ((unsigned)t->datatype >= TTADI_DATATYPES)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "input %d: datatype %d is none", i,
                          (int)t->datatype);
    if (t->ndim < 1 || t->ndim > TTAD_MAX_DIMS || !t->shape || !t->data)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT,
                          "input %d: ndim %d, wanted 1 to %d, with shape and data", i, t->ndim,
                          TTAD_MAX_DIMS);
    if (t->nmean < 0 || t->nmean > TTAD_WIRE_CHANNELS || t->nstd < 0 ||
        t->nstd > TTAD_WIRE_CHANNELS || (t->nmean && !t->mean) || (t->nstd && !t->std))
        return ttadi_fail(c, TTAD_BAD_ARGUMENT,
                          "input %d: nmean %d and nstd %d, wanted 0 to %d, with mean and std", i,
                          t->nmean, t->nstd, TTAD_WIRE_CHANNELS);
    n = ttadi_datatype_size(t->datatype);
    for (int k = 0; k < t->ndim; k++) {
        if (t->shape[k] < 1 || n > SIZE_MAX / 2 / (uint64_t)t->shape[k])
            return ttadi_fail(c, TTAD_BAD_ARGUMENT,
                              "input %d: dimension %d is %" PRId64 ", wanted 1 or more, and a "
                              "tensor that fits into memory",
                              i, k, t->shape[k]);
        n *= (size_t)t->shape[k];
    }
    *ret = n;
    return TTAD_OK;
}

static bool set_numbers(json_t *o, const char *key, const double *x, int n)
{
    json_t *list;

    if (!n)
        return true;
    list = json_array();
    for (int i = 0; i < n; i++)
        if (json_array_append_new(list, json_real(x[i])) != 0) {
            json_decref(list);
            return false;
        }
    return json_object_set_new(o, key, list) == 0;
}

/* Describe an input.  NULL: a text is not UTF-8, a number is not finite, or out of memory. */
static json_t *describe(const struct ttad_tensor *t, size_t bytes)
{
    json_t *o = json_object(), *p = json_object(), *shape = json_array();
    bool good = true;

    for (int i = 0; i < t->ndim; i++)
        good = json_array_append_new(shape, json_integer(t->shape[i])) == 0 && good;
    good = json_object_set_new(o, "name", json_string(ttadi_text(t->name))) == 0 && good;
    good = json_object_set_new(o, "shape", shape) == 0 && good;
    good = ttadi_set_text(o, "datatype", ttadi_datatype_name(t->datatype)) && good;
    good = json_object_set_new(p, "binary_data_size", json_integer((json_int_t)bytes)) == 0 && good;
    if (t->scale != 0)
        good = json_object_set_new(p, "scale", json_real(t->scale)) == 0 && good;
    good = set_numbers(p, "mean", t->mean, t->nmean) && good;
    good = set_numbers(p, "std", t->std, t->nstd) && good;
    good = json_object_set_new(o, "parameters", p) == 0 && good;
    if (good)
        return o;
    json_decref(o);
    return NULL;
}

static json_t *name_outputs(const struct ttadi_ask *ask)
{
    json_t *list = json_array();

    for (int i = 0; i < ask->noutputs; i++) {
        json_t *o = json_object();

        if (json_object_set_new(o, "name", json_string(ttadi_text(ask->outputs[i]))) != 0 ||
            json_array_append(list, o) != 0) {
            json_decref(o);
            json_decref(list);
            return NULL;
        }
        json_decref(o);
    }
    return list;
}

static enum ttad_code no_text(struct ttad *c, const char *what)
{
    return ttadi_fail(c, TTAD_BAD_ARGUMENT,
                      "%s cannot be written as JSON: a text that is not UTF-8, a number that is "
                      "not finite, or out of memory",
                      what);
}

/* Append a frame of n bytes, from data. */
static enum ttad_code add_frame(struct ttad *c, struct ttadi_request *r, const void *data, size_t n)
{
    zmq_msg_t *f = &r->frames[r->nframes];

    if (zmq_msg_init_size(f, n) != 0)
        return ttadi_fail(c, TTAD_NO_MEMORY, "out of memory for a frame of %zu bytes", n);
    r->nframes++;
    memcpy(zmq_msg_data(f), data, n);
    return TTAD_OK;
}

static enum ttad_code add_header(struct ttad *c, struct ttadi_request *r, const json_t *header)
{
    char *text = json_dumps(header, JSON_COMPACT);
    size_t n;

    if (!text)
        return ttadi_fail(c, TTAD_NO_MEMORY, "out of memory for the header");
    n = strlen(text);
    if (n > TTAD_WIRE_HEADER_MAX)
        (void)ttadi_fail(c, TTAD_BAD_ARGUMENT, "a header of %zu bytes, at most %d are taken", n,
                         TTAD_WIRE_HEADER_MAX);
    else if (add_frame(c, r, TTAD_WIRE_MAGIC, strlen(TTAD_WIRE_MAGIC)) == TTAD_OK)
        (void)add_frame(c, r, text, n);
    free(text);
    return r->nframes == 2 ? TTAD_OK : c->code;
}

/* The header; *bytes of each input.  NULL: c has the error. */
static json_t *make_header(struct ttad *c, const struct ttadi_ask *ask, const char *id,
                           size_t *bytes)
{
    json_t *root = json_object(), *list = ask->ninputs ? json_array() : NULL;
    bool good = ttadi_set_text(root, "op", ask->op) &&
                ttadi_set_text(root, "model_name", ask->model) && ttadi_set_text(root, "id", id);

    if (good && ask->parameters)
        good = json_object_set(root, "parameters", ask->parameters) == 0;
    for (int i = 0; good && i < ask->ninputs; i++) {
        if (measure(c, &ask->inputs[i], i, &bytes[i])) {
            json_decref(list);
            json_decref(root);
            return NULL;
        }
        good = json_array_append_new(list, describe(&ask->inputs[i], bytes[i])) == 0;
    }
    if (good && list)
        good = json_object_set(root, "inputs", list) == 0;
    if (good && ask->noutputs)
        good = json_object_set_new(root, "outputs", name_outputs(ask)) == 0;
    json_decref(list);
    if (good)
        return root;
    json_decref(root);
    (void)no_text(c, "the request");
    return NULL;
}

enum ttad_code ttadi_encode(struct ttad *c, const struct ttadi_ask *ask, const char *id,
                            struct ttadi_request **ret)
{
    size_t bytes[TTAD_WIRE_TENSORS] = {0};
    json_t *header = make_header(c, ask, id, bytes);
    struct ttadi_request *r;
    enum ttad_code code;

    if (!header)
        return c->code;
    r = ttadi_request_new(id);
    if (!r) {
        json_decref(header);
        return ttadi_fail(c, TTAD_NO_MEMORY, "out of memory");
    }
    code = add_header(c, r, header);
    for (int i = 0; !code && i < ask->ninputs; i++)
        code = add_frame(c, r, ask->inputs[i].data, bytes[i]);
    json_decref(header);
    if (code) {
        ttadi_request_free(r);
        return code;
    }
    memcpy(r->op, ask->op, strlen(ask->op) + 1); // its length was checked
    r->tensors = ask->tensors;
    r->twice = ask->twice;
    r->counted = ask->counted;
    *ret = r;
    return TTAD_OK;
}
