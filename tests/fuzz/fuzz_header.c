// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "daemon/inputs.h"
#include "daemon/protocol.h"

#define FRAMES (2 + TTAD_WIRE_TENSORS)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* One line of UTF-8 that ends within its bytes: it goes to logs, the record and terminals. */
static void check_text(const char *s, size_t size)
{
    const size_t n = strnlen(s, size);

    must(n < size);
    for (size_t i = 0; i < n;) {
        const size_t c = tt_text_char(s + i, n - i);

        must(c > 0 && (unsigned char)s[i] >= 0x20 && s[i] != 0x7f);
        i += c;
    }
}

static void check_tensor(const struct tt_wire_tensor *t, const struct tt_frame *frames, int nframes)
{
    int64_t n = 1;

    check_text(t->name, sizeof t->name);
    must(t->ndim >= 1 && t->ndim <= TT_MAXDIM && t->frame >= 2 && t->frame < nframes);
    for (int i = 0; i < t->ndim; i++)
        must(t->dim[i] >= 1 && !__builtin_mul_overflow(n, t->dim[i], &n));
    must(n == t->n && t->data == frames[t->frame].data);
    must((size_t)n * tt_dtype_size(t->type) == frames[t->frame].size);
    must(t->nmean >= 0 && t->nmean <= TTAD_WIRE_CHANNELS);
    must(t->nstd >= 0 && t->nstd <= TTAD_WIRE_CHANNELS);
}

static void check_request(const struct tt_request *q, const struct tt_frame *frames, int nframes)
{
    must((unsigned)q->ask < TT_NASKS && q->ninputs >= 0 && q->ninputs <= TTAD_WIRE_TENSORS &&
         q->noutputs >= 0 && q->noutputs <= TTAD_WIRE_TENSORS);
    must(q->deadline_ms >= 0 && q->deadline_ms <= 86400000);
    check_text(q->model, sizeof q->model);
    check_text(q->stream, sizeof q->stream);
    check_text(q->policy, sizeof q->policy);
    check_text(q->version, sizeof q->version);
    check_text(q->actor, sizeof q->actor);
    check_text(q->reason, sizeof q->reason);
    for (int i = 0; i < q->ninputs; i++)
        check_tensor(&q->inputs[i], frames, nframes);
    for (int i = 0; i < q->noutputs; i++)
        check_text(q->outputs[i], sizeof q->outputs[i]);
}

/* [door and number of tensors][two bytes of size each][header] */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static unsigned char bytes[1 << 16];
    static struct tt_request q;
    struct tt_frame frames[FRAMES] = {{TTAD_WIRE_MAGIC, sizeof TTAD_WIRE_MAGIC - 1}};
    struct tt_refusal r = {.code = TT_WIRE_OK};
    enum tt_door door;
    int nframes = 2;
    enum tt_wire code;

    if (!n)
        return 0;
    door = data[0] & 1 ? TT_DOOR_CONTROL : TT_DOOR_DATA;
    for (int want = 2 + (data[0] >> 1) % (TTAD_WIRE_TENSORS + 1); nframes < want && n > 2;
         nframes++, data += 2, n -= 2)
        frames[nframes] = (struct tt_frame){bytes, (size_t)(data[1] | data[2] << 8)};
    frames[1] = (struct tt_frame){data + 1, n - 1};
    q = (struct tt_request){.ask = TT_ASK_PING};
    code = tt_proto_decode(frames, nframes, door, &q, &r);
    must(code == r.code);
    check_text(q.id, sizeof q.id);
    check_text(r.msg, sizeof r.msg);
    must(code == TT_WIRE_OK || *r.msg);
    if (code == TT_WIRE_OK)
        check_request(&q, frames, nframes);
    return 0;
}
