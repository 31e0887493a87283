// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_JOB_H
#define TT_DAEMON_JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "daemon/protocol.h"

/*
 * A job is one request on its way: from the loop that received it, to a worker, and back with
 * its answer.  Whoever holds it owns it; it crosses threads through queues.
 */
struct tt_loop;
struct tt_lane;

/* Requests that one client has under way.  Belongs to a loop; workers only read outstanding. */
struct tt_client {
    struct tt_client *next; // of its bucket, or of the free ones
    unsigned char id[8];
    size_t nid;
    int64_t bytes, expect_us; // of these, the loop's own
    atomic_int outstanding;
};

/* What messages of one origin make the daemon hold; the total is of all.  Any thread. */
struct tt_account {
    atomic_size_t bytes, *total;
    atomic_int jobs;
};

struct tt_job {
    struct tt_arena arena; // owns the job itself
    struct tt_job *next;
    struct tt_loop *loop;      // that received it, and sends the answer
    struct tt_client *client;  // NULL: not counted
    struct tt_lane *lane;      // of its stream; NULL: none
    int credit;                // that a client has
    uint64_t peer;             // the connection that it came from, and its answer goes to
    unsigned char identity[8]; // the same
    size_t nidentity;
    struct tt_frame frame[2 + TTAD_WIRE_TENSORS]; // as they came
    unsigned char *buffer[2 + TTAD_WIRE_TENSORS]; // that own their bytes
    int nframes;
    int64_t came_frames; // of the message, also what was not kept
    uint64_t came_bytes;
    struct tt_account *account; // NULL: none
    size_t charged;             // to it
    struct tt_request request;
    uint64_t print;                 // of its tensors; 0: not taken yet
    int64_t bytes;                  // of its frames, while it is admitted
    int64_t expect_us;              // that it will take; 0: not known
    int64_t arrived_us, arrived_ms; // monotonic, wall
    enum tt_wire code;              // of the answer
    const char *header;             // the answer: JSON, and one tensor
    size_t nheader;
    const void *tensor; // NULL: none
    size_t ntensor;
};

/* NULL: out of memory. */
struct tt_job *tt_job_new(void);
void tt_job_free(struct tt_job *job); // NULL is nothing

/* Charge a job to an account; frames added later are charged as well, tt_job_free() ends it. */
void tt_job_charge(struct tt_job *job, struct tt_account *account, size_t bytes);

/* Room for one more frame, in buffer[nframes]; false: out of memory.  Dropped frames are empty. */
bool tt_job_add_frame(struct tt_job *job, size_t size);
void tt_job_drop_frame(struct tt_job *job, int i);

/* The job is answered: its frames go, and what its answer takes is charged instead. */
void tt_job_settle(struct tt_job *job);

/* Jobs in the order they were put.  Any thread puts; one takes. */
struct tt_mailbox {
    pthread_mutex_t lock;
    struct tt_job *head, *tail;
    int fd; // an eventfd, readable when something was put
};

TT_MUST_CHECK enum tt_code tt_mailbox_init(struct tt_mailbox *q, struct tt_err *err);
void tt_mailbox_end(struct tt_mailbox *q); // frees what is in it
void tt_mailbox_put(struct tt_mailbox *q, struct tt_job *job);
struct tt_job *tt_mailbox_take(struct tt_mailbox *q); // NULL: empty

int64_t tt_now_ms(void); // wall
int64_t tt_now_us(void); // monotonic

#endif
