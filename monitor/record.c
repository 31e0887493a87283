// SPDX-License-Identifier: Apache-2.0
#include "monitor/fields.h"

#include <stddef.h>

/* ---- the fields of each kind -------------------------------------------------------------- */

#define AT(member) offsetof(struct tt_record, member)
#define ID(kind, f)                                       \
    {                                                     \
#f, TT_FIELD_TEXT, false, AT(kind.f), TT_ID_BYTES \
    }
#define LINE(kind, f)                                       \
    {                                                       \
#f, TT_FIELD_TEXT, false, AT(kind.f), TT_LINE_BYTES \
    }
#define JSON(kind, f)                                       \
    {                                                       \
#f, TT_FIELD_JSON, false, AT(kind.f), TT_JSON_BYTES \
    }
#define INT(kind, f)                           \
    {                                          \
#f, TT_FIELD_INT, false, AT(kind.f), 0 \
    }
#define NONZERO(kind, f)                           \
    {                                              \
#f, TT_FIELD_NONZERO, false, AT(kind.f), 0 \
    }
#define REAL(kind, f)                           \
    {                                           \
#f, TT_FIELD_REAL, false, AT(kind.f), 0 \
    }
#define BOOL(kind, f)                           \
    {                                           \
#f, TT_FIELD_BOOL, false, AT(kind.f), 0 \
    }
#define COUNTS(kind, f)                                         \
    {                                                           \
#f, TT_FIELD_COUNTS, false, AT(kind.f), TT_COUNTS_BYTES \
    }
#define ASIDE_ID(k, f)                                \
    {                                                 \
#f, TT_FIELD_TEXT, true, AT(k.f), TT_ID_BYTES \
    }
#define ASIDE_INT(k, f)                    \
    {                                      \
#f, TT_FIELD_INT, true, AT(k.f), 0 \
    }
#define END                             \
    {                                   \
        NULL, TT_FIELD_INT, false, 0, 0 \
    }

static const struct tt_field boot_fields[] = {ID(boot, boot_id), ID(boot, version),
                                              ID(boot, config_hash), END};

static const struct tt_field stream_fields[] = {
    LINE(state, model),     ID(state, model_hash), ID(state, engine),           LINE(state, policy),
    ID(state, policy_hash), ID(state, state),      LINE(state, reason),         ID(state, by),
    ID(state, version),     INT(state, step),      NONZERO(state, decision_id), END};

static const char *const stream_sql[] = {
    "UPDATE stream SET model = coalesce(:model, model), "
    "model_hash = coalesce(:model_hash, model_hash), engine = coalesce(:engine, engine), "
    "policy = coalesce(:policy, policy), policy_hash = coalesce(:policy_hash, policy_hash) "
    "WHERE id = :sid",
    "INSERT INTO state(stream_id, ts_ms, state, reason, by, decision_id, version) "
    "SELECT :sid, :ts, :state, :reason, :by, :decision_id, :version WHERE :state IS NOT NULL "
    "AND :state IS NOT (SELECT state FROM stream_now WHERE stream_id = :sid)",
    "INSERT INTO stream_now(stream_id, ts_ms, state, state_since_ms, state_by, reason, "
    "decision_id, version, step) "
    "VALUES(:sid, :ts, :state, CASE WHEN :state IS NULL THEN NULL ELSE :ts END, :by, :reason, "
    ":decision_id, :version, :step) ON CONFLICT(stream_id) DO UPDATE SET "
    "ts_ms = max(ts_ms, :ts), "
    "state_since_ms = CASE WHEN :state IS NULL OR :state IS state THEN state_since_ms ELSE :ts "
    "END, state = coalesce(:state, state), "
    "state_by = CASE WHEN :state IS NULL THEN state_by ELSE :by END, "
    "reason = CASE WHEN :state IS NULL THEN reason ELSE :reason END, "
    "decision_id = coalesce(:decision_id, decision_id), version = coalesce(:version, version), "
    "step = CASE WHEN :version IS NULL THEN step ELSE :step END",
    NULL};

static const struct tt_field batch_fields[] = {ID(batch, request_id),
                                               ID(batch, version),
                                               INT(batch, step),
                                               INT(batch, rows),
                                               BOOL(batch, adapted),
                                               ID(batch, skip),
                                               REAL(batch, loss),
                                               REAL(batch, entropy),
                                               REAL(batch, entropy_ratio),
                                               REAL(batch, confidence),
                                               REAL(batch, class_collapse),
                                               REAL(batch, class_share),
                                               REAL(batch, grad_norm),
                                               REAL(batch, param_drift),
                                               REAL(batch, base_disagreement),
                                               REAL(batch, shadow_disagreement),
                                               INT(batch, queue_us),
                                               INT(batch, infer_us),
                                               INT(batch, adapt_us),
                                               COUNTS(batch, counts),
                                               ASIDE_ID(batch, serving),
                                               ASIDE_INT(batch, serving_step),
                                               END};

static const char *const batch_sql[] = {
    "INSERT INTO stream_now(stream_id, ts_ms, version, step, entropy_ratio, class_collapse, "
    "param_drift, base_disagreement, infer_us, adapt_us, last_batch_ms) "
    "VALUES(:sid, :ts, coalesce(:serving, :version), "
    "CASE WHEN :serving IS NULL THEN :step ELSE :serving_step END, :entropy_ratio, "
    ":class_collapse, :param_drift, :base_disagreement, :infer_us, :adapt_us, :ts) "
    "ON CONFLICT(stream_id) DO UPDATE SET ts_ms = max(ts_ms, :ts), "
    "version = CASE WHEN :late THEN version ELSE excluded.version END, "
    "step = CASE WHEN :late THEN step ELSE excluded.step END, entropy_ratio = "
    "excluded.entropy_ratio, "
    "class_collapse = excluded.class_collapse, param_drift = excluded.param_drift, "
    "base_disagreement = coalesce(excluded.base_disagreement, base_disagreement), "
    "infer_us = excluded.infer_us, adapt_us = excluded.adapt_us, last_batch_ms = :ts",
    "UPDATE version SET batches = batches + 1, samples = samples + ifnull(:rows, 0), "
    "first_ms = ifnull(first_ms, :ts), last_ms = :ts WHERE stream_id = :sid AND version = "
    ":version",
    NULL};

static const struct tt_field guard_fields[] = {ID(guard, rule),
                                               ID(guard, signal),
                                               ID(guard, detector),
                                               ID(guard, state),
                                               REAL(guard, statistic),
                                               REAL(guard, threshold),
                                               REAL(guard, evidence),
                                               INT(guard, n),
                                               ID(guard, verdict),
                                               BOOL(guard, dry_run),
                                               END};

static const char *const guard_sql[] = {
    "INSERT INTO guard_now(stream_id, rule, ts_ms, evidence, dry_run) "
    "VALUES(:sid, ifnull(:rule, ''), :ts, :evidence, :dry_run) ON CONFLICT(stream_id, rule) "
    "DO UPDATE SET ts_ms = :ts, evidence = :evidence, dry_run = :dry_run",
    NULL};

static const struct tt_field decision_fields[] = {
    NONZERO(decision, decision_id),  ID(decision, rule),        ID(decision, signal),
    ID(decision, detector),          ID(decision, action),      BOOL(decision, dry_run),
    REAL(decision, statistic),       REAL(decision, threshold), REAL(decision, baseline),
    REAL(decision, observed),        INT(decision, n),          NONZERO(decision, change_point_ms),
    ID(decision, from_version),      ID(decision, to_version),  LINE(decision, to_reason),
    INT(decision, from_step),        INT(decision, to_step),    INT(decision, batches_affected),
    INT(decision, samples_affected), ID(decision, actor),       ID(decision, policy_hash),
    LINE(decision, sentence),        JSON(decision, evidence),  END};

/* A rollback sets aside its origin and what lies between that and the target, as far as the
 * line of parents is known. */
static const char *const decision_sql[] = {
    "INSERT INTO stream_now(stream_id, ts_ms, decision_id) "
    "SELECT :sid, :ts, coalesce(:decision_id, last_insert_rowid()) WHERE :sid IS NOT NULL "
    "ON CONFLICT(stream_id) DO UPDATE SET ts_ms = max(ts_ms, :ts), "
    "decision_id = excluded.decision_id",
    "WITH RECURSIVE back(v, d) AS (SELECT :from_version, 0 UNION ALL "
    "SELECT p.parent, d + 1 FROM back JOIN version p ON p.stream_id = :sid AND p.version = v "
    "WHERE p.parent IS NOT NULL AND v IS NOT :to_version AND d < 10000) "
    "UPDATE version SET set_aside_by = (SELECT decision_id FROM stream_now WHERE stream_id = "
    ":sid) WHERE stream_id = :sid AND set_aside_by IS NULL AND state IS NOT 'base' "
    "AND :action IN ('rollback', 'reset') AND NOT :dry_run AND version IN "
    "(SELECT v FROM back WHERE d < coalesce((SELECT min(d) FROM back WHERE v = :to_version), 1))",
    NULL};

static const struct tt_field version_fields[] = {
    ID(version, version), ID(version, parent),   INT(version, step),
    ID(version, state),   LINE(version, reason), REAL(version, param_drift),
    INT(version, bytes),  LINE(version, file),   END};

static const char *const version_sql[] = {
    "INSERT INTO version(stream_id, ts_ms, version, parent, step, state, reason, param_drift, "
    "bytes, file) VALUES(:sid, :ts, :version, :parent, :step, :state, :reason, :param_drift, "
    ":bytes, :file) ON CONFLICT(stream_id, version) DO UPDATE SET "
    "parent = coalesce(parent, :parent), step = coalesce(:step, step), "
    "state = CASE WHEN :late THEN coalesce(state, :state) ELSE coalesce(:state, state) END, "
    "reason = CASE WHEN :late THEN coalesce(reason, :reason) ELSE coalesce(:reason, reason) END, "
    "param_drift = coalesce(:param_drift, param_drift), bytes = coalesce(:bytes, bytes), "
    "file = coalesce(:file, file)",
    NULL};

static const struct tt_field version_state_fields[] = {
    ID(version_state, version), ID(version_state, state),       LINE(version_state, reason),
    LINE(version_state, file),  BOOL(version_state, file_gone), END};

static const char *const version_state_sql[] = {
    "INSERT INTO version(stream_id, ts_ms, version, state, reason, file) "
    "VALUES(:sid, :ts, :version, :state, :reason, CASE WHEN :file_gone THEN NULL ELSE :file END) "
    "ON CONFLICT(stream_id, version) DO UPDATE SET state = coalesce(:state, state), "
    "reason = coalesce(:reason, reason), "
    "set_aside_by = CASE WHEN :state IN ('soaking', 'good') THEN NULL ELSE set_aside_by END, "
    "file = CASE WHEN :file_gone THEN NULL ELSE coalesce(:file, file) END",
    NULL};

static const struct tt_field feedback_fields[] = {
    ID(feedback, request_id), ID(feedback, version),
    INT(feedback, n),         INT(feedback, correct),
    INT(feedback, base_n),    INT(feedback, base_correct),
    INT(feedback, delay_ms),  END};

/* Wilson's interval: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96. */
static const char *const feedback_sql[] = {
    "WITH x(n, p, zz) AS (SELECT 1.0 * :n, 1.0 * :correct / nullif(:n, 0), 3.8416), "
    "y(n, c, h, w) AS (SELECT n, p + zz / (2 * n), "
    "sqrt(max(zz * (p * (1 - p) / n + zz / (4 * n * n)), 0.0)), 1 + zz / n FROM x) "
    "INSERT INTO feedback(stream_id, ts_ms, answered_ms, request_id, version, n, correct, base_n, "
    "base_correct, delay_ms, lo, hi) SELECT :sid, :ts, :ts - ifnull(:delay_ms, 0), :request_id, "
    ":version, :n, :correct, :base_n, :base_correct, :delay_ms, "
    "max((c - h) / w, 0.0), min((c + h) / w, 1.0) FROM y",
    "WITH f(n, c, bn, bc) AS (SELECT cast(total(n) AS INTEGER), cast(total(correct) AS INTEGER), "
    "cast(total(base_n) AS INTEGER), cast(total(base_correct) AS INTEGER) FROM "
    "(SELECT * FROM feedback WHERE stream_id = :sid ORDER BY id DESC LIMIT 20)) "
    "INSERT INTO stream_now(stream_id, ts_ms, last_label_ms, acc_n, acc_correct, base_n, "
    "base_correct) SELECT :sid, :ts, :ts, n, c, bn, bc FROM f WHERE true "
    "ON CONFLICT(stream_id) DO UPDATE SET ts_ms = max(ts_ms, :ts), last_label_ms = :ts, "
    "acc_n = excluded.acc_n, acc_correct = excluded.acc_correct, base_n = excluded.base_n, "
    "base_correct = excluded.base_correct",
    "UPDATE version SET acc_n = acc_n + ifnull(:n, 0), "
    "acc_correct = acc_correct + ifnull(:correct, 0), base_n = base_n + ifnull(:base_n, 0), "
    "base_correct = base_correct + ifnull(:base_correct, 0) WHERE stream_id = :sid AND version = "
    ":version",
    NULL};

static const struct tt_field event_fields[] = {NONZERO(event, seq),
                                               ID(event, kind),
                                               ID(event, severity),
                                               ID(event, actor),
                                               LINE(event, text),
                                               ID(event, version),
                                               JSON(event, detail),
                                               NONZERO(event, decision_id),
                                               END};

static const char *const no_sql[] = {NULL};

const struct tt_recipe tt_recipes[TT_NRECORDS] = {
    [TT_REC_BOOT] = {"boot", boot_fields, no_sql},
    [TT_REC_STREAM] = {NULL, stream_fields, stream_sql},
    [TT_REC_BATCH] = {"batch", batch_fields, batch_sql},
    [TT_REC_GUARD] = {"guard", guard_fields, guard_sql},
    [TT_REC_DECISION] = {"decision", decision_fields, decision_sql},
    [TT_REC_VERSION] = {NULL, version_fields, version_sql},
    [TT_REC_VERSION_STATE] = {NULL, version_state_fields, version_state_sql},
    [TT_REC_FEEDBACK] = {NULL, feedback_fields, feedback_sql},
    [TT_REC_EVENT] = {"event", event_fields, no_sql},
};

enum tt_tier tt_record_tier(const struct tt_record *r)
{
    switch (r->kind) {
    case TT_REC_BATCH:
    case TT_REC_GUARD:
    case TT_REC_FEEDBACK:
        return TT_TIER_METRIC;
    case TT_REC_VERSION:
        return r->version.file ? TT_TIER_VITAL : TT_TIER_METRIC;
    case TT_REC_EVENT:
        return TT_TIER_LOG;
    case TT_REC_STREAM:
        return r->state.decision_id > 0 ? TT_TIER_VITAL : TT_TIER_LOG;
    case TT_REC_BOOT:
    case TT_REC_DECISION:
    case TT_REC_VERSION_STATE:
    case TT_NRECORDS:
        break;
    }
    return TT_TIER_VITAL;
}
