-- Who needs a person, and how badly: streams that were heard of since :since, or were not well then.
UPDATE stream_now SET worse_since_ms =
  CASE WHEN acc_n > 0 AND base_n > 0 AND 1.0 * acc_correct / acc_n < 1.0 * base_correct / base_n
    THEN ifnull(worse_since_ms, :now) END
WHERE ts_ms >= :since;

UPDATE stream_now SET needs_operator =
  ifnull(state = 'frozen' AND (SELECT d.actor FROM decision d
      WHERE d.decision_id = stream_now.decision_id) = 'guard', 0)
  OR ifnull(state = 'holding' AND :now - state_since_ms > :hold_alert, 0)
  OR ifnull(state IN ('warming', 'adapting', 'probation') AND :now - worse_since_ms > :worse_alert, 0)
WHERE ts_ms >= :since OR needs_operator OR state = 'holding' OR worse_since_ms NOTNULL;

UPDATE stream_now SET badness = CASE WHEN state IS 'closed' THEN 0.0 ELSE
  100.0 * needs_operator +
  CASE state WHEN 'tripped' THEN 60 WHEN 'rolled_back' THEN 40 WHEN 'holding' THEN 30
    WHEN 'frozen' THEN CASE WHEN needs_operator THEN 25 ELSE 4 END
    WHEN 'cooldown' THEN 20 WHEN 'probation' THEN 20 WHEN 'warming' THEN 5 ELSE 0 END +
  200.0 * max(ifnull(1.0 * base_correct / nullif(base_n, 0) - 1.0 * acc_correct / nullif(acc_n, 0),
    0.0), 0.0) +
  20.0 * min(ifnull((SELECT max(g.evidence) FROM guard_now g
    WHERE g.stream_id = stream_now.stream_id), 0.0), 1.0) +
  5.0 * (SELECT count(*) FROM decision d WHERE d.stream_id = stream_now.stream_id
    AND d.ts_ms > :now - 86400000 AND d.action IN ('rollback', 'reset') AND NOT d.dry_run) END
WHERE ts_ms >= :since OR badness > 0;
