// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CAPTURE_READ_H
#define TT_DAEMON_CAPTURE_READ_H

#include "daemon/capture_head.h"
#include "daemon/captured.h"

/*
 * One file of a captured stream, record by record.  Nothing of it is believed before its checksum
 * was right.  A file whose writer was killed ends in the middle of a record: that is an end like
 * any other.  Anything else that is not as it was written is TT_EPARSE, with file and byte.
 */
#define TT_CAPTURE_FILE_BYTES ((size_t)64 << 30)

enum tt_capture_end {
    TT_CAPTURE_GOES_ON, // a record was read
    TT_CAPTURE_WHOLE,   // the file was ended on purpose
    TT_CAPTURE_OPEN,    // behind a whole record: it is being written, or its writer was killed
    TT_CAPTURE_TORN     // within a record, likewise
};

struct tt_capture_reader {
    struct tt_arena arena; // of the file
    const char *path;
    const unsigned char *bytes;
    size_t n, at;
    uint64_t chain;
    int64_t seq; // of the next operation; -1: none was read
    struct tt_captured_head head;
    struct tt_after after; // of the stream that it begins with
    const void *state;     // of which this is the rest
    size_t nstate;
};

/* Read the file up to its first operation; close it even when that failed.  TT_ENOTFOUND: it ends
 * before its opening does. */
TT_MUST_CHECK enum tt_code tt_capture_read_open(struct tt_capture_reader *r, const char *path,
                                                struct tt_err *err);
void tt_capture_read_close(struct tt_capture_reader *r);

/* The next operation, when *ret_end is TT_CAPTURE_GOES_ON.  Its arrays are in arena, a batch's
 * numbers in the file. */
TT_MUST_CHECK enum tt_code tt_capture_read_next(struct tt_capture_reader *r, struct tt_arena *arena,
                                                struct tt_captured *ret,
                                                enum tt_capture_end *ret_end, struct tt_err *err);

#endif
