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
    float *block;             // NULL: an empty place of the ring
};

struct tt_versions {
    struct tt_arena *arena; // where the ring's blocks come from, when first used
    int64_t floats;         // of a block
    const char *salt;       // goes into each name: model and method
    struct tt_version base, serving, next;
    int nring;
    struct tt_version *ring; // in no order
};

/* Room for nring checkpoints in arena; base serves once its block is filled and published.
 * salt is kept. */
TT_MUST_CHECK enum tt_code tt_versions_init(struct tt_versions *v, struct tt_arena *arena,
                                            int64_t floats, int nring, const char *salt,
                                            struct tt_err *err);

/* Name the source block and let it serve. */
void tt_versions_source(struct tt_versions *v, int64_t now_ms);

/* The numbers in next.block are a version from now on, and serve.  Its name, parent and step are
 * set here. */
void tt_versions_publish(struct tt_versions *v, int64_t step, int64_t samples, int64_t batches,
                         int64_t now_ms, double param_drift);

/* A copy of the serving version in the ring, soaking.  A suspect or bad one makes room, else the
 * oldest good one when more than half of the ring is good.  NULL: it is there already, is the
 * base, or all others are still to be judged. */
struct tt_version *tt_versions_checkpoint(struct tt_versions *v);

/* The checkpoint of the serving version, made whatever has to go for it; the base when it serves.
 */
struct tt_version *tt_versions_keep(struct tt_versions *v);

/* An empty place of the ring for a version read back; when it is full NULL, or with force that
 * of a version that is given up: a suspect or bad one, the oldest good one, the oldest. */
struct tt_version *tt_versions_place(struct tt_versions *v, bool force);

/* The newest good checkpoint made when at most samples had been answered, else the base. */
const struct tt_version *tt_versions_target(const struct tt_versions *v, int64_t samples);

/* The checkpoint, or base, of that name (at least 8 of its digits), or NULL. */
const struct tt_version *tt_versions_find(const struct tt_versions *v, const char *name);

/* Serve a copy of to, which is the base or a checkpoint. */
void tt_versions_restore(struct tt_versions *v, const struct tt_version *to);

const char *tt_version_state_name(enum tt_version_state state);

/* The hash of a block under a salt: its name and number. */
void tt_version_name(const char *salt, const float *block, int64_t floats,
                     char ret[TT_HASH_SHORT + 1], uint64_t *ret_id);

#endif
