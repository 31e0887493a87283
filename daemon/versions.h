// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_VERSIONS_H
#define TT_DAEMON_VERSIONS_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"

/*
 * The versions of one stream.  A version is one block of float32 (engines/plan.h) and what is
 * known of it; once it serves it is never changed, its name is the hash of its numbers.  Held are
 * the source, the one that serves, the one being written, and a ring of checkpoints: versions
 * set aside every so many updates, which soak until the guard's evidence has stayed low and are
 * then good, that is a place to go back to.
 */
#define TT_VERSION_STATES(X)         \
    X(TT_VERSION_BASE, "base")       \
    X(TT_VERSION_SOAKING, "soaking") \
    X(TT_VERSION_GOOD, "good")       \
    X(TT_VERSION_SUSPECT, "suspect") \
    X(TT_VERSION_BAD, "bad")         \
    X(TT_VERSION_LOST, "lost")

#define TT_VERSION_ENUM(state, name) state,
enum tt_version_state { TT_VERSION_STATES(TT_VERSION_ENUM) TT_NVERSION_STATES };
#undef TT_VERSION_ENUM

struct tt_version {
    uint64_t id; // the first 64 bits of the hash
    char name[TT_HASH_SHORT + 1];
    char parent[TT_HASH_SHORT + 1];
    enum tt_version_state state;
    int64_t step;             // updates that led here; counted on after a rollback
    int64_t samples, batches; // answered by the stream when it came to be
    int64_t ms;               // wall time of that
    double param_drift;       // relative distance from the source
    bool stored;              // there is a snapshot file
    bool synced;              // and it outlives a loss of power
    int64_t syncing;          // ticket of whoever sees to that; 0: nobody does
    float *block;             // its numbers; NULL in the ring: only in its snapshot (stored)
};

struct tt_versions {
    int64_t floats;   // of a block
    const char *salt; // goes into each name: model and method
    struct tt_version base, serving, next;
    int nring;
    struct tt_version *ring; // in no order
};

/* A block of its own memory, with one owner; zeroed.  NULL: out of memory. */
float *tt_block_new(int64_t floats);

/* One owner more; any thread. */
float *tt_block_share(float *block);
void tt_block_free(float *block); // one owner less; NULL is nothing

/* Room for nring checkpoints in arena; base serves once it has a block and was named.
 * salt is kept. */
TT_MUST_CHECK enum tt_code tt_versions_init(struct tt_versions *v, struct tt_arena *arena,
                                            int64_t floats, int nring, const char *salt,
                                            struct tt_err *err);
void tt_versions_free(struct tt_versions *v); // the blocks

/* Take over block (one ownership of it) as the source, name it, and let it serve. */
void tt_versions_source(struct tt_versions *v, float *block, int64_t now_ms);

/* The block that the next version is written to: there until tt_versions_trim(). */
TT_MUST_CHECK enum tt_code tt_versions_ready(struct tt_versions *v, struct tt_err *err);

/* The numbers in next.block are a version from now on, and serve.  Its name, parent and step are
 * set here. */
void tt_versions_publish(struct tt_versions *v, int64_t step, int64_t samples, int64_t batches,
                         int64_t now_ms, double param_drift);

/* Take back what was just published: before, a copy of what served until then, serves again. */
void tt_versions_withdraw(struct tt_versions *v, const struct tt_version *before);

/* A copy of the serving version in the ring, soaking.  A suspect or bad one makes room, else the
 * oldest good one when more than half of the ring is good.  NULL: it is there already, is the
 * base, all others are still to be judged, or memory ran out. */
struct tt_version *tt_versions_checkpoint(struct tt_versions *v);

/* The checkpoint of the serving version, made whatever has to go for it; the base when it serves.
 * NULL: out of memory. */
struct tt_version *tt_versions_keep(struct tt_versions *v);

/* An empty place of the ring for a version read back; when it is full NULL, or with force that
 * of a version that is given up: a suspect or bad one, the oldest good one, the oldest. */
struct tt_version *tt_versions_place(struct tt_versions *v, bool force);

/* The newest good checkpoint made when at most samples had been answered, else the base. */
const struct tt_version *tt_versions_target(const struct tt_versions *v, int64_t samples);

/* The checkpoint, or base, of that name (at least 8 of its digits), or NULL. */
const struct tt_version *tt_versions_find(const struct tt_versions *v, const char *name);

/* Give memory back until at most bytes are held beyond the block that serves: what is written
 * next; then checkpoints that have a snapshot, oldest first, which stay as places to go back to
 * without their block; then those that soak, newest first, but for one.  More may remain. */
void tt_versions_trim(struct tt_versions *v, size_t bytes);
size_t tt_versions_bytes(const struct tt_versions *v); // held beyond the block that serves
int tt_versions_held(const struct tt_versions *v);     // checkpoints in the ring

/* Serve a copy of to, which is the base or a checkpoint with its block. */
void tt_versions_restore(struct tt_versions *v, const struct tt_version *to);

const char *tt_version_state_name(enum tt_version_state state);

/* The hash of a block under a salt: its name and number. */
void tt_version_name(const char *salt, const float *block, int64_t floats,
                     char ret[TT_HASH_SHORT + 1], uint64_t *ret_id);

#endif
