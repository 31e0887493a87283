-- The public views.  A name never changes its meaning; tables may change with any version.
-- Every view: ts (UTC seconds), ts_ms, stream, stream_id; series also res_s: 0 for raw rows, 60 and
-- 3600 for roll-ups.  Ask for one of them, or a batch counts three times.  stream_id 0, whose
-- stream is NULL, is the fleet: it has no raw rows.
-- Ratios are 0..1; NULL is "not measured".

DROP VIEW IF EXISTS v_stream_health;
DROP VIEW IF EXISTS v_drift;
DROP VIEW IF EXISTS v_accuracy;
DROP VIEW IF EXISTS v_guard_timeline;
DROP VIEW IF EXISTS v_rollbacks;
DROP VIEW IF EXISTS v_versions;
DROP VIEW IF EXISTS v_adapt_cost;
DROP VIEW IF EXISTS v_label_coverage;
DROP VIEW IF EXISTS v_events;

-- One row a stream.  Rates and shares are over the minute before the stream's newest batch.
CREATE VIEW v_stream_health AS
SELECT w.ts_ms / 1000 AS ts, w.ts_ms, s.name AS stream, s.id AS stream_id, s.model, s.engine,
  s.policy, s.policy_hash, w.state, w.state_since_ms, w.state_by, w.reason,
  w.needs_operator, w.badness, w.version, w.step,
  CASE WHEN w.acc_n > 0 THEN 'labels' END AS acc_source,
  1.0 * w.acc_correct / nullif(w.acc_n, 0) AS acc_adapted,
  1.0 * w.base_correct / nullif(w.base_n, 0) AS acc_base,
  1.0 * w.acc_correct / nullif(w.acc_n, 0) - 1.0 * w.base_correct / nullif(w.base_n, 0) AS gap,
  w.acc_n,
  (SELECT max(g.evidence) FROM guard_now g WHERE g.stream_id = s.id) AS evidence,
  (SELECT g.rule FROM guard_now g WHERE g.stream_id = s.id AND g.evidence IS NOT NULL
    ORDER BY g.evidence DESC LIMIT 1) AS evidence_rule,
  w.base_disagreement, w.class_collapse, w.entropy_ratio, w.param_drift,
  (SELECT count(*) / 60.0 FROM batch b
    WHERE b.stream_id = s.id AND b.ts_ms > w.last_batch_ms - 60000) AS batches_per_s,
  w.infer_us / 1e3 AS infer_ms, w.adapt_us / 1e3 AS adapt_ms,
  (SELECT t FROM (SELECT (ifnull(b.queue_us, 0) + ifnull(b.infer_us, 0) + ifnull(b.adapt_us, 0)) / 1e3 AS t,
            cume_dist() OVER (ORDER BY ifnull(b.queue_us, 0) + ifnull(b.infer_us, 0) + ifnull(b.adapt_us, 0)) AS share
          FROM batch b WHERE b.stream_id = s.id AND b.ts_ms > w.last_batch_ms - 60000)
    WHERE share >= 0.99 ORDER BY t LIMIT 1) AS p99_ms,
  (SELECT avg(b.skip IS NOT NULL AND b.skip <> 'nothing_to_learn') FROM batch b
    WHERE b.stream_id = s.id AND b.ts_ms > w.last_batch_ms - 60000) AS skipped,
  (SELECT 1.0 * (SELECT total(f.n) FROM feedback f
              WHERE f.stream_id = s.id AND f.answered_ms > w.last_batch_ms - 60000) / nullif(total(b.rows), 0)
     FROM batch b WHERE b.stream_id = s.id AND b.ts_ms > w.last_batch_ms - 60000) AS label_coverage,
  w.last_label_ms,
  (SELECT count(*) FROM decision d WHERE d.stream_id = s.id AND d.ts_ms > w.ts_ms - 86400000
      AND d.action IN ('rollback', 'reset') AND NOT d.dry_run) AS rollbacks_24h,
  w.decision_id
FROM stream s JOIN stream_now w ON w.stream_id = s.id;

CREATE VIEW v_drift AS
WITH signals(signal) AS (VALUES ('loss'), ('entropy'), ('entropy_ratio'), ('confidence'),
  ('class_collapse'), ('class_share'), ('grad_norm'), ('param_drift'), ('base_disagreement'),
  ('shadow_disagreement'))
SELECT ts, ts_ms, stream, stream_id, res_s, signal, n, value AS mean, value AS worst FROM
 (SELECT b.ts_ms / 1000 AS ts, b.ts_ms, s.name AS stream, b.stream_id, 0 AS res_s, g.signal,
    b.rows AS n,
    CASE g.signal WHEN 'loss' THEN b.loss WHEN 'entropy' THEN b.entropy
      WHEN 'entropy_ratio' THEN b.entropy_ratio WHEN 'confidence' THEN b.confidence
      WHEN 'class_collapse' THEN b.class_collapse WHEN 'class_share' THEN b.class_share
      WHEN 'grad_norm' THEN b.grad_norm WHEN 'param_drift' THEN b.param_drift
      WHEN 'base_disagreement' THEN b.base_disagreement
      WHEN 'shadow_disagreement' THEN b.shadow_disagreement END AS value
  FROM signals g CROSS JOIN batch b JOIN stream s ON s.id = b.stream_id)
WHERE value IS NOT NULL
UNION ALL
SELECT ts, ts_ms, stream, stream_id, res_s, signal, n, value / 1e6, worst / 1e6 FROM
 (SELECT m.ts_ms / 1000 AS ts, m.ts_ms, s.name AS stream, m.stream_id, 60 AS res_s, g.signal,
    m.samples AS n,
    CASE g.signal WHEN 'loss' THEN m.loss WHEN 'entropy' THEN m.entropy
      WHEN 'entropy_ratio' THEN m.entropy_ratio WHEN 'confidence' THEN m.confidence
      WHEN 'class_collapse' THEN m.class_collapse WHEN 'class_share' THEN m.class_share
      WHEN 'grad_norm' THEN m.grad_norm WHEN 'param_drift' THEN m.param_drift
      WHEN 'base_disagreement' THEN m.base_disagreement
      WHEN 'shadow_disagreement' THEN m.shadow_disagreement END AS value,
    CASE g.signal WHEN 'loss' THEN m.loss_worst WHEN 'entropy' THEN m.entropy_worst
      WHEN 'entropy_ratio' THEN m.entropy_ratio_worst WHEN 'confidence' THEN m.confidence_worst
      WHEN 'class_collapse' THEN m.class_collapse_worst
      WHEN 'class_share' THEN m.class_share_worst WHEN 'grad_norm' THEN m.grad_norm_worst
      WHEN 'param_drift' THEN m.param_drift_worst
      WHEN 'base_disagreement' THEN m.base_disagreement_worst
      WHEN 'shadow_disagreement' THEN m.shadow_disagreement_worst END AS worst
  FROM signals g CROSS JOIN minute m LEFT JOIN stream s ON s.id = m.stream_id)
WHERE value IS NOT NULL
UNION ALL
SELECT ts, ts_ms, stream, stream_id, res_s, signal, n, value / 1e6, worst / 1e6 FROM
 (SELECT m.ts_ms / 1000 AS ts, m.ts_ms, s.name AS stream, m.stream_id, 3600 AS res_s, g.signal,
    m.samples AS n,
    CASE g.signal WHEN 'loss' THEN m.loss WHEN 'entropy' THEN m.entropy
      WHEN 'entropy_ratio' THEN m.entropy_ratio WHEN 'confidence' THEN m.confidence
      WHEN 'class_collapse' THEN m.class_collapse WHEN 'class_share' THEN m.class_share
      WHEN 'grad_norm' THEN m.grad_norm WHEN 'param_drift' THEN m.param_drift
      WHEN 'base_disagreement' THEN m.base_disagreement
      WHEN 'shadow_disagreement' THEN m.shadow_disagreement END AS value,
    CASE g.signal WHEN 'loss' THEN m.loss_worst WHEN 'entropy' THEN m.entropy_worst
      WHEN 'entropy_ratio' THEN m.entropy_ratio_worst WHEN 'confidence' THEN m.confidence_worst
      WHEN 'class_collapse' THEN m.class_collapse_worst
      WHEN 'class_share' THEN m.class_share_worst WHEN 'grad_norm' THEN m.grad_norm_worst
      WHEN 'param_drift' THEN m.param_drift_worst
      WHEN 'base_disagreement' THEN m.base_disagreement_worst
      WHEN 'shadow_disagreement' THEN m.shadow_disagreement_worst END AS worst
  FROM signals g CROSS JOIN hour m LEFT JOIN stream s ON s.id = m.stream_id)
WHERE value IS NOT NULL;

-- One row a set of labels: at the time of the answer, for the version that gave it.
CREATE VIEW v_accuracy AS
SELECT f.answered_ms / 1000 AS ts, f.answered_ms AS ts_ms, s.name AS stream, f.stream_id,
  0 AS res_s, f.version, 'labels' AS source, f.n, 1.0 * f.correct / nullif(f.n, 0) AS adapted,
  1.0 * f.base_correct / nullif(f.base_n, 0) AS base,
  1.0 * f.correct / nullif(f.n, 0) - 1.0 * f.base_correct / nullif(f.base_n, 0) AS gap,
  f.lo AS adapted_lo, f.hi AS adapted_hi
FROM feedback f JOIN stream s ON s.id = f.stream_id
UNION ALL
SELECT a.ts_ms / 1000, a.ts_ms, s.name, a.stream_id, 60, nullif(a.version, ''), 'labels', a.n,
  1.0 * a.correct / nullif(a.n, 0), 1.0 * a.base_correct / nullif(a.base_n, 0),
  1.0 * a.correct / nullif(a.n, 0) - 1.0 * a.base_correct / nullif(a.base_n, 0), a.lo, a.hi
FROM accuracy_minute a LEFT JOIN stream s ON s.id = a.stream_id
UNION ALL
SELECT a.ts_ms / 1000, a.ts_ms, s.name, a.stream_id, 3600, nullif(a.version, ''), 'labels', a.n,
  1.0 * a.correct / nullif(a.n, 0), 1.0 * a.base_correct / nullif(a.base_n, 0),
  1.0 * a.correct / nullif(a.n, 0) - 1.0 * a.base_correct / nullif(a.base_n, 0), a.lo, a.hi
FROM accuracy_hour a LEFT JOIN stream s ON s.id = a.stream_id;

CREATE VIEW v_guard_timeline AS
SELECT g.ts_ms / 1000 AS ts, g.ts_ms, s.name AS stream, g.stream_id, 0 AS res_s, g.rule, g.signal,
  g.detector, g.state, g.statistic, g.threshold, g.evidence, g.evidence AS evidence_max, g.n,
  g.verdict, g.dry_run
FROM guard g JOIN stream s ON s.id = g.stream_id
UNION ALL
SELECT g.ts_ms / 1000, g.ts_ms, s.name, g.stream_id, 60, nullif(r.rule, ''), nullif(r.signal, ''),
  nullif(r.detector, ''), g.state, g.statistic, g.threshold, g.evidence / 1e6,
  g.evidence_max / 1e6, g.n, g.verdict, g.dry_run
FROM guard_minute g JOIN stream s ON s.id = g.stream_id JOIN rule r ON r.id = g.rule_id
UNION ALL
SELECT g.ts_ms / 1000, g.ts_ms, s.name, g.stream_id, 3600, nullif(r.rule, ''), nullif(r.signal, ''),
  nullif(r.detector, ''), g.state, g.statistic, g.threshold, g.evidence / 1e6,
  g.evidence_max / 1e6, g.n, g.verdict, g.dry_run
FROM guard_hour g JOIN stream s ON s.id = g.stream_id JOIN rule r ON r.id = g.rule_id;

CREATE VIEW v_rollbacks AS
SELECT d.ts_ms / 1000 AS ts, d.ts_ms, d.decision_id, s.name AS stream, d.stream_id, d.rule,
  d.signal, d.detector, d.action, d.dry_run, d.statistic, d.threshold, d.n, d.baseline, d.observed,
  d.change_point_ms, d.ts_ms - d.change_point_ms AS detect_delay_ms, d.from_version, d.from_step,
  d.to_version, d.to_step, d.to_reason, d.batches_affected, d.samples_affected, d.actor,
  d.policy_hash, d.sentence, d.evidence
FROM decision d JOIN stream s ON s.id = d.stream_id
WHERE d.action IN ('rollback', 'reset');

CREATE VIEW v_versions AS
SELECT v.ts_ms / 1000 AS ts, v.ts_ms, s.name AS stream, v.stream_id, v.version, v.parent, v.step,
  v.state, v.reason, v.batches, v.samples, v.first_ms, v.last_ms,
  1.0 * v.acc_correct / nullif(v.acc_n, 0) AS acc_adapted,
  1.0 * v.base_correct / nullif(v.base_n, 0) AS acc_base,
  v.acc_n, v.param_drift, v.bytes,
  (SELECT max(d.decision_id) FROM decision d WHERE d.stream_id = v.stream_id
      AND (d.from_version = v.version OR d.to_version = v.version)) AS pinned_by,
  v.version IS (SELECT w.version FROM stream_now w WHERE w.stream_id = v.stream_id) AS serving,
  v.set_aside_by
FROM version v JOIN stream s ON s.id = v.stream_id;

CREATE VIEW v_adapt_cost AS
SELECT b.ts_ms / 1000 AS ts, b.ts_ms, s.name AS stream, b.stream_id, 0 AS res_s, 1 AS batches,
  b.rows AS samples, b.queue_us / 1e3 AS queue_ms, b.infer_us / 1e3 AS infer_ms,
  b.adapt_us / 1e3 AS adapt_ms,
  (ifnull(b.queue_us, 0) + ifnull(b.infer_us, 0) + ifnull(b.adapt_us, 0)) / 1e3 AS p99_ms,
  b.adapted, b.skip IS 'deadline' AS skip_deadline, b.skip IS 'budget' AS skip_budget,
  b.skip IN ('hold', 'frozen', 'not_ready') IS TRUE AS skip_hold, b.skip IS 'filtered' AS filtered,
  b.skip IS 'not_finite' AS not_finite
FROM batch b JOIN stream s ON s.id = b.stream_id
UNION ALL
SELECT m.ts_ms / 1000, m.ts_ms, s.name, m.stream_id, 60, m.batches, m.samples,
  m.queue_us / 1e3 / m.batches, m.infer_us / 1e3 / m.batches, m.adapt_us / 1e3 / m.batches,
  m.p99_us / 1e3, m.adapted, m.skip_deadline, m.skip_budget, m.skip_hold, m.filtered, m.not_finite
FROM minute m LEFT JOIN stream s ON s.id = m.stream_id
UNION ALL
SELECT m.ts_ms / 1000, m.ts_ms, s.name, m.stream_id, 3600, m.batches, m.samples,
  m.queue_us / 1e3 / m.batches, m.infer_us / 1e3 / m.batches, m.adapt_us / 1e3 / m.batches,
  m.p99_us / 1e3, m.adapted, m.skip_deadline, m.skip_budget, m.skip_hold, m.filtered, m.not_finite
FROM hour m LEFT JOIN stream s ON s.id = m.stream_id;

-- By the minute of the answer.
CREATE VIEW v_label_coverage AS
SELECT x.ts_ms / 1000 AS ts, x.ts_ms, s.name AS stream, x.stream_id, 60 AS res_s, x.samples,
  x.joined, 1.0 * x.joined / nullif(x.samples, 0) AS coverage
FROM (SELECT stream_id, ts_ms, cast(total(samples) AS INTEGER) AS samples,
        cast(total(joined) AS INTEGER) AS joined FROM
       (SELECT stream_id, ts_ms, samples, 0 AS joined FROM minute
        UNION ALL
        SELECT stream_id, ts_ms / 60000 * 60000, rows, 0 FROM batch
        WHERE ts_ms >= ifnull((SELECT at FROM mark WHERE name = 'closed_minute'), 0)
        UNION ALL
        SELECT stream_id, ts_ms, 0, n FROM accuracy_minute
        UNION ALL
        SELECT stream_id, answered_ms / 60000 * 60000, 0, n FROM feedback
        WHERE id > ifnull((SELECT at FROM mark WHERE name = 'labels'), 0))
      GROUP BY stream_id, ts_ms) x
LEFT JOIN stream s ON s.id = x.stream_id;

-- The log, the states of streams with their ends, and what the record itself had to drop.
CREATE VIEW v_events AS
SELECT e.ts_ms / 1000 AS ts, e.ts_ms, e.seq, NULL AS end_ms,
  (SELECT name FROM stream WHERE id = e.stream_id) AS stream, e.stream_id, e.kind, e.severity,
  NULL AS state, e.actor, e.decision_id, e.version, e.text, e.detail
FROM event e WHERE e.kind IS NOT 'state'
UNION ALL
SELECT t.ts_ms / 1000, t.ts_ms, NULL,
  (SELECT n.ts_ms FROM state n WHERE n.stream_id = t.stream_id AND n.id > t.id
    ORDER BY n.id LIMIT 1),
  (SELECT name FROM stream WHERE id = t.stream_id), t.stream_id, 'state', 'info', t.state, t.by,
  t.decision_id, t.version, t.reason, NULL
FROM state t
UNION ALL
SELECT l.ts_ms / 1000, l.ts_ms, NULL, NULL, NULL, NULL, 'record', 'warn', NULL, 'store', NULL, NULL,
  l.rows || ' rows were not kept: ' || l.why, '{"rows":' || l.rows || '}'
FROM loss l;
