-- The hour [:from, :to) of one stream, out of its minutes.
INSERT OR REPLACE INTO guard_hour(stream_id, ts_ms, rule_id, state, statistic, threshold,
  evidence_max, evidence, n, verdict, dry_run)
SELECT :stream, :from, rule_id, state, statistic, threshold, max(evidence_max),
  cast(round(avg(evidence)) AS INTEGER), n, verdict, dry_run
FROM guard_minute WHERE stream_id = :stream AND ts_ms >= :from AND ts_ms < :to GROUP BY rule_id;

INSERT OR REPLACE INTO hour(
  stream_id, ts_ms, batches, samples, adapted, skip_deadline, skip_budget, skip_hold, filtered,
  not_finite, queue_us, infer_us, adapt_us, p99_us, loss, loss_worst, entropy, entropy_worst,
  entropy_ratio, entropy_ratio_worst, confidence, confidence_worst, class_collapse,
  class_collapse_worst, class_share, class_share_worst, grad_norm, grad_norm_worst, param_drift,
  param_drift_worst, base_disagreement, base_disagreement_worst, shadow_disagreement,
  shadow_disagreement_worst)
SELECT :stream, :from, sum(batches), sum(samples), sum(adapted), sum(skip_deadline),
  sum(skip_budget), sum(skip_hold), sum(filtered), sum(not_finite), sum(queue_us), sum(infer_us),
  sum(adapt_us), max(p99_us),
  cast(round(total(loss * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE loss NOTNULL), 0)) AS INTEGER), max(loss_worst),
  cast(round(total(entropy * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE entropy NOTNULL), 0)) AS INTEGER), min(entropy_worst),
  cast(round(total(entropy_ratio * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE entropy_ratio NOTNULL), 0)) AS INTEGER), min(entropy_ratio_worst),
  cast(round(total(confidence * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE confidence NOTNULL), 0)) AS INTEGER), max(confidence_worst),
  cast(round(total(class_collapse * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE class_collapse NOTNULL), 0)) AS INTEGER), max(class_collapse_worst),
  cast(round(total(class_share * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE class_share NOTNULL), 0)) AS INTEGER), max(class_share_worst),
  cast(round(total(grad_norm * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE grad_norm NOTNULL), 0)) AS INTEGER), max(grad_norm_worst),
  cast(round(total(param_drift * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE param_drift NOTNULL), 0)) AS INTEGER), max(param_drift_worst),
  cast(round(total(base_disagreement * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE base_disagreement NOTNULL), 0)) AS INTEGER), max(base_disagreement_worst),
  cast(round(total(shadow_disagreement * max(samples, 1)) /
    nullif(total(max(samples, 1)) FILTER (WHERE shadow_disagreement NOTNULL), 0)) AS INTEGER), max(shadow_disagreement_worst)
FROM minute WHERE stream_id = :stream AND ts_ms >= :from AND ts_ms < :to GROUP BY stream_id;
