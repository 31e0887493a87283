-- The minute [:from, :to) of one stream, out of its raw rows.
INSERT OR IGNORE INTO rule(rule, signal, detector)
SELECT DISTINCT ifnull(rule, ''), ifnull(signal, ''), ifnull(detector, '') FROM guard
WHERE stream_id = :stream AND ts_ms >= :from AND ts_ms < :to;

INSERT OR REPLACE INTO guard_minute(stream_id, ts_ms, rule_id, state, statistic, threshold,
  evidence_max, evidence, n, verdict, dry_run)
SELECT :stream, :from, r.id, g.state, g.statistic, g.threshold,
  cast(round(1e6 * max(g.evidence)) AS INTEGER), cast(round(1e6 * avg(g.evidence)) AS INTEGER),
  g.n, g.verdict, g.dry_run
FROM guard g JOIN rule r ON r.rule = ifnull(g.rule, '') AND r.signal = ifnull(g.signal, '')
  AND r.detector = ifnull(g.detector, '')
WHERE g.stream_id = :stream AND g.ts_ms >= :from AND g.ts_ms < :to GROUP BY r.id;

INSERT OR REPLACE INTO minute(
  stream_id, ts_ms, batches, samples, adapted, skip_deadline, skip_budget, skip_hold, filtered,
  not_finite, queue_us, infer_us, adapt_us, p99_us, loss, loss_worst, entropy, entropy_worst,
  entropy_ratio, entropy_ratio_worst, confidence, confidence_worst, class_collapse,
  class_collapse_worst, class_share, class_share_worst, grad_norm, grad_norm_worst, param_drift,
  param_drift_worst, base_disagreement, base_disagreement_worst, shadow_disagreement,
  shadow_disagreement_worst)
SELECT :stream, :from, count(*), sum(ifnull(rows, 0)), total(adapted), total(skip IS 'deadline'),
  total(skip IS 'budget'), total(skip IN ('hold', 'frozen', 'not_ready') IS TRUE),
  total(skip IS 'filtered'), total(skip IS 'not_finite'), sum(ifnull(queue_us, 0)),
  sum(ifnull(infer_us, 0)), sum(ifnull(adapt_us, 0)),
  (SELECT t FROM (SELECT ifnull(queue_us, 0) + ifnull(infer_us, 0) + ifnull(adapt_us, 0) AS t,
      cume_dist() OVER (ORDER BY ifnull(queue_us, 0) + ifnull(infer_us, 0) + ifnull(adapt_us, 0)) AS share
    FROM batch WHERE stream_id = :stream AND ts_ms >= :from AND ts_ms < :to)
    WHERE share >= 0.99 ORDER BY t LIMIT 1),
  cast(round(1e6 * total(loss * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE loss NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * max(loss)) AS INTEGER),
  cast(round(1e6 * total(entropy * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE entropy NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * min(entropy)) AS INTEGER),
  cast(round(1e6 * total(entropy_ratio * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE entropy_ratio NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * min(entropy_ratio)) AS INTEGER),
  cast(round(1e6 * total(confidence * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE confidence NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * max(confidence)) AS INTEGER),
  cast(round(1e6 * total(class_collapse * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE class_collapse NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * max(class_collapse)) AS INTEGER),
  cast(round(1e6 * total(class_share * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE class_share NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * max(class_share)) AS INTEGER),
  cast(round(1e6 * total(grad_norm * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE grad_norm NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * max(grad_norm)) AS INTEGER),
  cast(round(1e6 * total(param_drift * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE param_drift NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * max(param_drift)) AS INTEGER),
  cast(round(1e6 * total(base_disagreement * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE base_disagreement NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * max(base_disagreement)) AS INTEGER),
  cast(round(1e6 * total(shadow_disagreement * max(ifnull(rows, 1), 1)) /
    nullif(total(max(ifnull(rows, 1), 1)) FILTER (WHERE shadow_disagreement NOTNULL), 0)) AS INTEGER),
  cast(round(1e6 * max(shadow_disagreement)) AS INTEGER)
FROM batch WHERE stream_id = :stream AND ts_ms >= :from AND ts_ms < :to GROUP BY stream_id;
