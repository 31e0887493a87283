// SPDX-License-Identifier: Apache-2.0
#include "daemon/capture_read.h"

#include <string.h>

#include "daemon/file.h"

struct record {
    struct tt_captured_frame frame;
    const unsigned char *walked, *rest;
    size_t at; // in the file
};

static enum tt_code damaged(const struct tt_capture_reader *r, size_t at, const char *what,
                            struct tt_err *err)
{
    return tt_fail(err, TT_EPARSE, "%s: byte %zu: %s", r->path, at, what);
}

/* Pages that a power cut has left without their bytes read as zeros. */
static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static enum tt_code next_record(struct tt_capture_reader *r, struct record *ret,
                                enum tt_capture_end *ret_end, struct tt_err *err)
{
    const size_t left = r->n - r->at;
    struct tt_captured_frame *f = &ret->frame;

    *ret_end = left ? TT_CAPTURE_TORN : TT_CAPTURE_OPEN;
    if (left < sizeof *f || all_zero(r->bytes + r->at, left))
        return TT_OK;
    memcpy(f, r->bytes + r->at, sizeof *f);
    if (tt_captured_own(f) != f->own || f->kind >= TT_NCAPTURED_KINDS || f->walked > f->bytes)
        return damaged(r, r->at, "this is no record: it was changed", err);
    if (f->bytes > left - sizeof *f)
        return TT_OK;
    ret->at = r->at;
    ret->walked = r->bytes + r->at + sizeof *f;
    ret->rest = ret->walked + f->walked;
    if (tt_captured_checksum(r->chain, f, ret->walked, ret->rest) != f->checksum)
        return damaged(r, r->at, "the checksum of this record is wrong: it was changed", err);
    r->chain = f->checksum;
    r->at += sizeof *f + f->bytes;
    *ret_end = TT_CAPTURE_GOES_ON;
    return TT_OK;
}

/* A record of that kind, which must be there. */
static enum tt_code want_record(struct tt_capture_reader *r, enum tt_captured_kind kind,
                                struct record *ret, struct tt_err *err)
{
    enum tt_capture_end end;
    const size_t at = r->at;

    if (next_record(r, ret, &end, err) != TT_OK)
        return err->code;
    if (end != TT_CAPTURE_GOES_ON)
        return tt_fail(err, TT_ENOTFOUND, "%s: it ends before its beginning was written", r->path);
    if (ret->frame.kind != (uint32_t)kind)
        return damaged(r, at, "the file does not begin as it should", err);
    return TT_OK;
}

enum tt_code tt_capture_read_open(struct tt_capture_reader *r, const char *path, struct tt_err *err)
{
    struct record head, state;
    struct tt_tape t;
    char *bytes;

    *r = (struct tt_capture_reader){.path = path, .seq = -1};
    tt_arena_init(&r->arena, 0);
    if (tt_file_read(path, TT_CAPTURE_FILE_BYTES, &r->arena, &bytes, &r->n, err) != TT_OK)
        return err->code;
    r->bytes = (const unsigned char *)bytes;
    r->at = sizeof TT_CAPTURE_MAGIC;
    if (memcmp(bytes, TT_CAPTURE_MAGIC, r->n < r->at ? r->n : r->at) != 0)
        return damaged(r, 0, "this is no capture of ttad, or one of another version", err);
    if (r->n < r->at)
        return tt_fail(err, TT_ENOTFOUND, "%s: it ends before its beginning was written", path);
    if (want_record(r, TT_CAPTURED_HEAD, &head, err) != TT_OK)
        return err->code;
    if (tt_captured_head_read((const char *)head.walked, head.frame.walked, &r->arena, &r->head,
                              err) != TT_OK)
        return tt_fail_in(err, "%s", path);
    if (want_record(r, TT_CAPTURED_STATE, &state, err) != TT_OK)
        return err->code;
    tt_tape_read(&t, state.walked, state.frame.walked);
    tt_captured_walk_after(&t, &r->after);
    if (t.bad)
        return damaged(r, state.at, "a state that no ttad could have written", err);
    r->state = state.walked + t.at;
    r->nstate = state.frame.walked - t.at;
    return TT_OK;
}

void tt_capture_read_close(struct tt_capture_reader *r)
{
    tt_arena_release(&r->arena);
}

enum tt_code tt_capture_read_next(struct tt_capture_reader *r, struct tt_arena *arena,
                                  struct tt_captured *ret, enum tt_capture_end *ret_end,
                                  struct tt_err *err)
{
    struct record rec;
    struct tt_tape t;
    size_t rest, want = 0;

    if (next_record(r, &rec, ret_end, err) != TT_OK)
        return err->code;
    if (*ret_end != TT_CAPTURE_GOES_ON)
        return TT_OK;
    if (rec.frame.kind == TT_CAPTURED_HEAD || rec.frame.kind == TT_CAPTURED_STATE)
        return damaged(r, rec.at, "a second beginning", err);
    *ret = (struct tt_captured){.kind = (enum tt_captured_kind)rec.frame.kind,
                                .seq = (int64_t)rec.frame.seq};
    tt_tape_read(&t, rec.walked, rec.frame.walked);
    tt_captured_walk(&t, ret, arena);
    if (ret->kind == TT_CAPTURED_BATCH) {
        ret->batch.tensor.data = rec.rest;
        want = (size_t)ret->batch.tensor.n * tt_dtype_size(ret->batch.tensor.type);
    }
    rest = rec.frame.bytes - rec.frame.walked;
    if (!tt_tape_done(&t) || rest != want || (r->seq >= 0 && ret->seq != r->seq))
        return damaged(r, rec.at, "a record that no ttad could have written", err);
    r->seq = ret->seq + 1;
    if (ret->kind == TT_CAPTURED_END) {
        *ret_end = TT_CAPTURE_WHOLE;
        if (r->at != r->n)
            return damaged(r, r->at, "there is something behind the end", err);
    }
    return TT_OK;
}
