// SPDX-License-Identifier: Apache-2.0
#ifndef TTAD_H
#define TTAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * libttad: the C client of ttad, the test-time adaptation daemon.
 *
 *     struct ttad *c;
 *     struct ttad_reply *reply;
 *     struct ttad_request request = TTAD_REQUEST_INIT;
 *
 *     ttad_connect(NULL, &c);
 *     request.stream = "cam-7";
 *     request.inputs = &tensor;
 *     request.ninputs = 1;
 *     if (ttad_infer(c, &request, &reply) == TTAD_OK)
 *         ... reply->logits, reply->version ...
 *     ttad_reply_free(reply);
 *     ttad_close(c);
 *
 * Errors      A function that can fail returns enum ttad_code.  Unless it is TTAD_OK, ttad_error()
 *             has a sentence about it until the next call, and what the function would have
 *             returned through pointers is NULL.
 * Memory      Arguments are borrowed for the call: they may be changed or freed when it returns.
 *             What a function returns through a pointer belongs to the caller, who gives it back
 *             with the function named there; it does not need the handle any more.
 * Text        UTF-8, ended by NUL; never NULL in what is returned, "" where there is nothing.
 * Time        Milliseconds (_ms) or microseconds (_us), in names.  A timeout of 0 in a structure
 *             means the default, in an argument of a function what that function says.
 * Threads     A handle belongs to one thread at a time; threads with a handle each need no lock.
 *             The library has no thread of its own (libzmq has two a handle, for its sockets),
 *             no signal handler, and no state outside its handles.  A signal does not end a wait.
 *             After fork(), the child may use none of the parent's handles.
 * Retries     A request has an id, given by the caller or made here (unique also across restarts
 *             of the program).  Until its timeout, it is sent again under that id: after BUSY when
 *             the daemon says, after DRAINING with growing pauses, as soon as the connection is
 *             back when it was lost, and when a try brings no reply.  The daemon answers an id
 *             that it has answered before again, and does not learn from the batch twice.
 *             A reply that comes a second time is dropped.  So a restart of the daemon shows as a
 *             slow reply.  Not safe to do twice are rollback, reset, load, unload and drain: they
 *             are sent again only after a refusal (BUSY, DRAINING) or when they cannot have
 *             arrived; otherwise they fail with TTAD_DISCONNECTED, or TTAD_TIMEOUT, and may have
 *             been done.
 * Versions    Structures of the caller begin with their size, those of the library grow at their
 *             end: a program goes on working with a newer libttad.so.1 without being recompiled.
 */

#define TTAD_CLIENT_VERSION "1.0.0" /* of this header; the library's is ttad_version() */

#define TTAD_API            __attribute__((visibility("default")))

#define TTAD_ID_SIZE        65 /* bytes of a request's id, with its NUL */
#define TTAD_MAX_DIMS       8  /* of a tensor */

/* Numbers are never given another meaning. */
enum ttad_code {
    TTAD_OK = 0,

    /* The daemon refused the request; the same request cannot succeed: */
    TTAD_BAD_HEADER = 1,   /* a key, a name, a version, or an id that it does not know */
    TTAD_BAD_TENSOR = 2,   /* type, size or values of a tensor */
    TTAD_BAD_SHAPE = 3,    /* not the shape that the model takes */
    TTAD_TOO_LARGE = 4,    /* more rows or bytes than it is configured for */
    TTAD_NO_MODEL = 5,     /* no model of that name */
    TTAD_NO_STREAM = 6,    /* no stream of that name */
    TTAD_UNAUTHORIZED = 7, /* the caller may not do this */
    TTAD_NOT_FINITE = 8,   /* NaN or Inf where there is no answer for it */
    TTAD_WRONG_SHARD = 9,  /* another daemon owns the stream */
    TTAD_CANCELLED = 10,   /* ttad_cancel() dropped it */
    /* It may succeed later: */
    TTAD_BUSY = 20,     /* a queue or the credit is used up; ttad_retry_after_ms() */
    TTAD_DEADLINE = 21, /* not answered within the request's deadline_ms */
    TTAD_DRAINING = 22, /* the daemon is shutting down */
    TTAD_INTERNAL = 23, /* the daemon failed */
    TTAD_REFUSED = 24,  /* a code that this library does not know; ttad_error() names it */

    /* Found here: */
    TTAD_TIMEOUT = 40,      /* sent, and no reply in time; it may have been carried out */
    TTAD_DISCONNECTED = 41, /* nobody takes requests at the endpoint, or the connection broke */
    TTAD_BAD_REPLY = 42,    /* what came back is not a message of the protocol */
    TTAD_BAD_ARGUMENT = 43, /* nothing was sent */
    TTAD_NO_MEMORY = 44,    /* or no file descriptor */
    TTAD_NOTHING = 45       /* ttad_next(), ttad_event(): nothing within the timeout; no error */
};

/* The code as the protocol writes it: "BUSY"; "UNKNOWN" for a number that is none. */
TTAD_API const char *ttad_code_name(enum ttad_code code);

/* The version of the library that is running, "1.0.0". */
TTAD_API const char *ttad_version(void);

/* ---- a handle ----------------------------------------------------------------------------- */

struct ttad; /* sockets to one daemon, and the requests under way */

struct ttad_options {
    size_t size;             /* set by TTAD_OPTIONS_INIT */
    const char *data;        /* ZeroMQ endpoints; NULL: the daemon's defaults, */
    const char *control;     /*   ipc:///run/ttad/{data,control,events}.sock for root, else */
    const char *events;      /*   under $XDG_RUNTIME_DIR/ttad */
    const char *name;        /* who this is: recorded with a rollback, a freeze, ...; NULL: "c" */
    int64_t timeout_ms;      /* that a request may take, with all its tries; 0: 30 000 */
    int64_t try_ms;          /* until the first try counts as lost; doubles each time; 0: 5 000 */
    int64_t max_reply_bytes; /* of a frame; a peer that sends more is cut off; 0: 64 MiB */
    unsigned flags;          /* TTAD_NO_RETRY */
};

#define TTAD_NO_RETRY 1u /* send nothing twice: BUSY and the like are errors at once */

#define TTAD_OPTIONS_INIT                                               \
    {                                                                   \
        sizeof(struct ttad_options), NULL, NULL, NULL, NULL, 0, 0, 0, 0 \
    }

/* A handle.  Nothing is sent: a daemon that is not there yet is one that may still come.
 * options: NULL for all defaults.
 * BAD_ARGUMENT: an option is out of range, or an endpoint is none.  NO_MEMORY.
 * Also on an error *ret is a handle, with the sentence for ttad_error(), or NULL when there was no
 * memory for it; ttad_close() it. */
TTAD_API enum ttad_code ttad_connect(const struct ttad_options *options, struct ttad **ret);

/* Close the sockets and drop the requests under way; the daemon may still carry them out.
 * NULL is nothing. */
TTAD_API void ttad_close(struct ttad *c);

/* What the newest call on the handle returned: code, sentence, and, after TTAD_BUSY, how long the
 * daemon proposes to wait.  c may be NULL after ttad_connect(). */
TTAD_API enum ttad_code ttad_errno(const struct ttad *c);
TTAD_API const char *ttad_error(const struct ttad *c);
TTAD_API int64_t ttad_retry_after_ms(const struct ttad *c);

/* ---- batches ------------------------------------------------------------------------------ */

enum ttad_datatype {
    TTAD_BOOL = 0, /* a byte, 0 or 1 */
    TTAD_UINT8 = 1,
    TTAD_INT32 = 2,
    TTAD_INT64 = 3,
    TTAD_FP16 = 4, /* IEEE binary16 */
    TTAD_BF16 = 5, /* the upper half of a float */
    TTAD_FP32 = 6
};

/* An input.  The daemon computes (x * scale - mean) / std where one of the three is given. */
struct ttad_tensor {
    const char *name; /* as the model calls it; NULL: its only input */
    enum ttad_datatype datatype;
    int ndim;             /* 1 to TTAD_MAX_DIMS */
    const int64_t *shape; /* [ndim], the batch first; each >= 1 */
    const void *data;     /* row-major, any alignment */
    double scale;         /* 0: 1 */
    const double *mean;   /* [nmean], a number a channel */
    const double *std;    /* [nstd], above 0 */
    int nmean, nstd;      /* 0: none; at most 16 */
};

#define TTAD_TENSOR_INIT                                      \
    {                                                         \
        NULL, TTAD_FP32, 0, NULL, NULL, 0.0, NULL, NULL, 0, 0 \
    }

struct ttad_request {
    size_t size;                      /* set by TTAD_REQUEST_INIT */
    const char *stream;               /* whose parameters answer, and learn */
    const struct ttad_tensor *inputs; /* [ninputs], 1 to 8 */
    int ninputs;
    const char *model;          /* NULL: the only one */
    const char *policy;         /* used when the stream opens; NULL: the stream's, or the default */
    const char *id;             /* 1 to 64 bytes, used once; NULL: made here */
    const char *const *outputs; /* [noutputs] names of those wanted, at most 8 */
    int noutputs;               /* 0: all */
    int64_t deadline_ms;        /* past it, or if it would take longer, nothing is learnt; from the
                                 * arrival of each try; 0: none */
    const char *on_deadline;    /* past it: "frozen" answers still, "refuse" is DEADLINE; NULL: the
                                 * former */
    int64_t timeout_ms;         /* 0: the handle's */
};

#define TTAD_REQUEST_INIT                                                                 \
    {                                                                                     \
        sizeof(struct ttad_request), NULL, NULL, 0, NULL, NULL, NULL, NULL, 0, 0, NULL, 0 \
    }

struct ttad_output {
    const char *name;
    enum ttad_datatype datatype;
    int ndim;
    int64_t shape[TTAD_MAX_DIMS];
    const void *data; /* row-major, aligned to 64 bytes */
    size_t bytes;     /* as shape and datatype have */
};

/* A reply, with everything it points to, until ttad_reply_free(). */
struct ttad_reply {
    enum ttad_code code; /* TTAD_OK, or why there is no answer: then what follows error is unset */
    const char *id;      /* of the request; labels go to it */
    const char *error;   /* a sentence, "" where code is TTAD_OK */
    int64_t retry_after_ms; /* with TTAD_BUSY */
    int tries;              /* how often the request was sent */
    const float *logits;    /* the first output, where it is FP32, else NULL; row-major */
    int64_t rows, classes;  /* of logits: its first dimension, and elements a row */
    int noutputs;
    const struct ttad_output *outputs;
    const char *stream, *version; /* version: hex hash of the parameters that answered */
    int64_t step;                 /* how many updates they have had */
    int adapted;                  /* 1: something was learnt from this batch */
    const char *skipped;          /* why nothing was */
    const char *engine;
    double loss, entropy;                 /* of this batch; NaN where not computed */
    const char *guard;                    /* ok, warn, hold, tripped */
    const char *rolled_back_to;           /* the version that was just gone back to, or "" */
    int64_t queue_us, infer_us, adapt_us; /* waiting, answering, adapting */
    int64_t credit;   /* how many more requests this client may have under way */
    const char *json; /* the header of the reply: also what has no member here */
};

/* Send a batch and wait for the answer.  *ret: ttad_reply_free() it.
 * Any code but NOTHING. */
TTAD_API enum ttad_code ttad_infer(struct ttad *c, const struct ttad_request *request,
                                   struct ttad_reply **ret);

/* NULL is nothing. */
TTAD_API void ttad_reply_free(struct ttad_reply *reply);

/* ---- several at once ---------------------------------------------------------------------- */

/* Take a batch to be sent, and return at once.  The inputs are copied.  id: where to put the
 * request's id, or NULL.  No more are on the wire than the daemon gives credit for; the others
 * wait here.  What happens to it is told by ttad_next() or ttad_result(), once.
 * BAD_ARGUMENT (also: the id is under way), NO_MEMORY. */
TTAD_API enum ttad_code ttad_submit(struct ttad *c, const struct ttad_request *request,
                                    char id[TTAD_ID_SIZE]);

/* The next of the submitted requests that is answered, or has failed (reply->code), in whatever
 * order that happens; also sends what is due.  timeout_ms: to wait at most; 0: look only;
 * negative: until there is one.  *ret: ttad_reply_free() it.
 * NOTHING: none within the timeout, or none is under way. */
TTAD_API enum ttad_code ttad_next(struct ttad *c, int64_t timeout_ms, struct ttad_reply **ret);

/* Wait for the one of that id.  BAD_ARGUMENT: it is not under way; else as ttad_infer(). */
TTAD_API enum ttad_code ttad_result(struct ttad *c, const char *id, struct ttad_reply **ret);

/* How many requests are submitted and not yet told of. */
TTAD_API int ttad_pending(const struct ttad *c);

/* A descriptor for poll(), epoll and every event loop: readable (level-triggered) while
 * ttad_next() or ttad_event() has something to do, which includes sending again and timeouts.
 * Then call ttad_next(), and ttad_event() after ttad_subscribe(), with a timeout of 0 until they
 * return NOTHING.  Belongs to the handle: neither read from it nor close it.
 * -1: there is none, NO_MEMORY. */
TTAD_API int ttad_fd(struct ttad *c);

/* Drop a request that waits, here or in the daemon's queue: it ends with CANCELLED.  One that is
 * being computed is not stopped.  stream: where it went.  *json (may be NULL): the reply, to
 * ttad_free(); the state in its parameters is what the daemon found: dropped, under_way, unknown.
 */
TTAD_API enum ttad_code ttad_cancel(struct ttad *c, const char *id, const char *stream,
                                    char **json);

/* ---- labels, streams ---------------------------------------------------------------------- */

/* The true classes of a batch that was answered, labels[n], a number a row, any time within the
 * daemon's feedback window.  They are credited to the version that answered.
 * *json (may be NULL): the reply, ttad_free() it; its parameters have n and correct.
 * BAD_HEADER: the id is not remembered, or has labels; after a lost connection that may mean that
 * the first try was taken.  Labels are never counted twice. */
TTAD_API enum ttad_code ttad_feedback(struct ttad *c, const char *id, const char *stream,
                                      const int64_t *labels, int64_t n, char **json);

/* action: open (with policy, else NULL), close, reset, describe.  A batch opens its stream by
 * itself.  *json (may be NULL): the reply, ttad_free() it.  NO_STREAM, BAD_HEADER, ... */
TTAD_API enum ttad_code ttad_stream(struct ttad *c, const char *stream, const char *action,
                                    const char *policy, char **json);

/* ---- control ------------------------------------------------------------------------------ */

/* Any op of the protocol that has no tensors.  parameters: a JSON object, or NULL.
 * timeout_ms: 0: the handle's.  *json (may be NULL): the reply's header, ttad_free() it.
 * An op that this library does not know goes to the control socket and counts as not safe to do
 * twice. */
TTAD_API enum ttad_code ttad_call(struct ttad *c, const char *op, const char *parameters,
                                  int64_t timeout_ms, char **json);

/* Free a text that was returned through char **.  NULL is nothing. */
TTAD_API void ttad_free(char *text);

/* Is it there?  timeout_ms as in ttad_call(). */
TTAD_API enum ttad_code ttad_ping(struct ttad *c, int64_t timeout_ms);

/* What the daemon is and takes; its state and counters; its models; its streams.
 * *json: as of ttad_call(). */
TTAD_API enum ttad_code ttad_hello(struct ttad *c, char **json);
TTAD_API enum ttad_code ttad_status(struct ttad *c, char **json);
TTAD_API enum ttad_code ttad_models(struct ttad *c, char **json);
TTAD_API enum ttad_code ttad_streams(struct ttad *c, char **json);

/* The versions of a stream that can be gone back to; write the serving one to the disk.
 * reason (may be NULL) goes into the record.  *json: as of ttad_call(). */
TTAD_API enum ttad_code ttad_snapshots(struct ttad *c, const char *stream, char **json);
TTAD_API enum ttad_code ttad_snapshot(struct ttad *c, const char *stream, const char *reason,
                                      char **json);

/* Go back to a version; NULL: the newest that is marked good, else the base.  Not done twice. */
TTAD_API enum ttad_code ttad_rollback(struct ttad *c, const char *stream, const char *version,
                                      const char *reason, char **json);

/* Answer without learning; learn again. */
TTAD_API enum ttad_code ttad_freeze(struct ttad *c, const char *stream, const char *reason,
                                    char **json);
TTAD_API enum ttad_code ttad_thaw(struct ttad *c, const char *stream, const char *reason,
                                  char **json);

/* Read configuration and policies again, all or nothing. */
TTAD_API enum ttad_code ttad_reload(struct ttad *c, char **json);

/* Serve a model from a file of the daemon's machine, with replace (not 0) in the place of another
 * of that name; serve it no more: its streams are answered with NO_MODEL.  Not done twice. */
TTAD_API enum ttad_code ttad_load(struct ttad *c, const char *model, const char *path, int replace,
                                  char **json);
TTAD_API enum ttad_code ttad_unload(struct ttad *c, const char *model, char **json);

/* What the daemon logs from now on: err, warn, info, debug. */
TTAD_API enum ttad_code ttad_log_level(struct ttad *c, const char *level, char **json);

/* Answer what is queued, take no more, end. */
TTAD_API enum ttad_code ttad_drain(struct ttad *c, char **json);

/* ---- events ------------------------------------------------------------------------------- */

struct ttad_event {
    const char *topic; /* decision, state, sample, daemon */
    uint64_t seq;      /* counts all topics, also over restarts of the daemon */
    uint64_t missed;   /* how many before it did not arrive; counted only under "" (all topics) */
    const char *json;
};

/* Listen to topics that begin so ("": all); may be called for several.  Events from before, and
 * from while the daemon was away, do not come.  BAD_ARGUMENT, NO_MEMORY. */
TTAD_API enum ttad_code ttad_subscribe(struct ttad *c, const char *topic);

/* The next event.  timeout_ms as in ttad_next().  *ret: ttad_event_free() it.
 * NOTHING; BAD_REPLY: an event that is none was skipped; BAD_ARGUMENT: not subscribed. */
TTAD_API enum ttad_code ttad_event(struct ttad *c, int64_t timeout_ms, struct ttad_event **ret);

/* NULL is nothing. */
TTAD_API void ttad_event_free(struct ttad_event *event);

#ifdef __cplusplus
}
#endif

#endif
