// SPDX-License-Identifier: Apache-2.0
#include "daemon/reply.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define NO_MEMORY                                                                      \
    "{\"op\":\"error\",\"id\":\"\",\"error\":\"out of memory\",\"code\":\"INTERNAL\"," \
    "\"retry_after_ms\":1000}"

json_t *tt_json_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *tt_json_text(const char *text)
{
    char clean[1024];
    json_t *o = text ? json_string(text) : json_null();

    if (o)
        return o;
    (void)snprintf(clean, sizeof clean, "%s", text); // for people: may be cut
    tt_text_clean(clean);
    return json_string(clean);
}

static void set_header(struct tt_job *job, json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

    job->header = text ? tt_arena_strndup(&job->arena, text, strlen(text)) : NULL;
    if (!job->header) {
        job->header = NO_MEMORY;
        job->tensor = NULL;
    }
    job->nheader = strlen(job->header);
    free(text);
    json_decref(o);
}

void tt_reply_json(struct tt_job *job, json_t *o)
{
    json_object_set_new(o, "op", json_string(tt_ask_name(job->request.ask)));
    json_object_set_new(o, "id", json_string(job->request.id));
    set_header(job, o);
}

void tt_reply_refusal_with(struct tt_job *job, const struct tt_refusal *r, const char *key,
                           json_t *more)
{
    json_t *o = json_object();

    json_object_set_new(o, "op", json_string("error"));
    json_object_set_new(o, "id", json_string(job->request.id));
    json_object_set_new(o, "error", tt_json_text(r->msg));
    json_object_set_new(o, "code", json_string(tt_wire_name(r->code)));
    json_object_set_new(o, "retry_after_ms", json_integer(r->retry_after_ms));
    if (key)
        json_object_set(o, key, more);
    job->tensor = NULL;
    job->code = r->code;
    set_header(job, o);
}

void tt_reply_refusal(struct tt_job *job, const struct tt_refusal *r)
{
    tt_reply_refusal_with(job, r, NULL, NULL);
}

void tt_reply_error(struct tt_job *job, const struct tt_err *err)
{
    struct tt_refusal r;
    enum tt_wire code = TT_WIRE_INTERNAL;

    switch (err->code) {
    case TT_ESHAPE:
        code = TT_WIRE_BAD_SHAPE;
        break;
    case TT_ENOTFOUND: // a version, a request id: the stream was there
    case TT_EPARSE:
    case TT_ERANGE:
    case TT_EDENIED:
    case TT_EUNSUPPORTED:
    case TT_EBUSY:
        code = TT_WIRE_BAD_HEADER;
        break;
    case TT_ENUMERIC:
        code = TT_WIRE_NOT_FINITE;
        break;
    case TT_OK:
    case TT_ENOMEM:
    case TT_EIO:
    case TT_NCODES:
        break;
    }
    (void)tt_refuse(&r, code, "%s", err->msg);
    tt_reply_refusal(job, &r);
}
