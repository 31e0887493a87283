-- The labels with ids in (:after, :last], added to the minutes and hours of their answers; and
-- Wilson's 95 % interval of the sums, z = 1.96.
INSERT INTO accuracy_minute(stream_id, ts_ms, version, n, correct, base_n, base_correct)
SELECT stream_id, answered_ms / 60000 * 60000 AS t, ifnull(version, '') AS v,
  total(n), total(correct), total(base_n), total(base_correct)
FROM feedback WHERE id > :after AND id <= :last GROUP BY stream_id, t, v
ON CONFLICT(stream_id, ts_ms, version) DO UPDATE SET n = n + excluded.n,
  correct = correct + excluded.correct, base_n = base_n + excluded.base_n,
  base_correct = base_correct + excluded.base_correct, lo = NULL, hi = NULL;

INSERT INTO accuracy_minute(stream_id, ts_ms, version, n, correct, base_n, base_correct)
SELECT 0, answered_ms / 60000 * 60000 AS t, '' AS v,
  total(n), total(correct), total(base_n), total(base_correct)
FROM feedback WHERE id > :after AND id <= :last GROUP BY t, v
ON CONFLICT(stream_id, ts_ms, version) DO UPDATE SET n = n + excluded.n,
  correct = correct + excluded.correct, base_n = base_n + excluded.base_n,
  base_correct = base_correct + excluded.base_correct, lo = NULL, hi = NULL;

INSERT INTO accuracy_hour(stream_id, ts_ms, version, n, correct, base_n, base_correct)
SELECT stream_id, answered_ms / 3600000 * 3600000 AS t, ifnull(version, '') AS v,
  total(n), total(correct), total(base_n), total(base_correct)
FROM feedback WHERE id > :after AND id <= :last GROUP BY stream_id, t, v
ON CONFLICT(stream_id, ts_ms, version) DO UPDATE SET n = n + excluded.n,
  correct = correct + excluded.correct, base_n = base_n + excluded.base_n,
  base_correct = base_correct + excluded.base_correct, lo = NULL, hi = NULL;

INSERT INTO accuracy_hour(stream_id, ts_ms, version, n, correct, base_n, base_correct)
SELECT 0, answered_ms / 3600000 * 3600000 AS t, '' AS v,
  total(n), total(correct), total(base_n), total(base_correct)
FROM feedback WHERE id > :after AND id <= :last GROUP BY t, v
ON CONFLICT(stream_id, ts_ms, version) DO UPDATE SET n = n + excluded.n,
  correct = correct + excluded.correct, base_n = base_n + excluded.base_n,
  base_correct = base_correct + excluded.base_correct, lo = NULL, hi = NULL;

UPDATE accuracy_minute SET
  lo = max((1.0 * correct / n + 1.9208 / n - sqrt(max(3.8416 * (1.0 * correct / n *
    (1 - 1.0 * correct / n) / n + 0.9604 / n / n), 0.0))) / (1 + 3.8416 / n), 0.0),
  hi = min((1.0 * correct / n + 1.9208 / n + sqrt(max(3.8416 * (1.0 * correct / n *
    (1 - 1.0 * correct / n) / n + 0.9604 / n / n), 0.0))) / (1 + 3.8416 / n), 1.0)
WHERE n > 0 AND lo IS NULL AND (stream_id, ts_ms) IN
  (SELECT stream_id, answered_ms / 60000 * 60000 FROM feedback WHERE id > :after AND id <= :last
   UNION SELECT 0, answered_ms / 60000 * 60000 FROM feedback WHERE id > :after AND id <= :last);

UPDATE accuracy_hour SET
  lo = max((1.0 * correct / n + 1.9208 / n - sqrt(max(3.8416 * (1.0 * correct / n *
    (1 - 1.0 * correct / n) / n + 0.9604 / n / n), 0.0))) / (1 + 3.8416 / n), 0.0),
  hi = min((1.0 * correct / n + 1.9208 / n + sqrt(max(3.8416 * (1.0 * correct / n *
    (1 - 1.0 * correct / n) / n + 0.9604 / n / n), 0.0))) / (1 + 3.8416 / n), 1.0)
WHERE n > 0 AND lo IS NULL AND (stream_id, ts_ms) IN
  (SELECT stream_id, answered_ms / 3600000 * 3600000 FROM feedback WHERE id > :after AND id <= :last
   UNION SELECT 0, answered_ms / 3600000 * 3600000 FROM feedback WHERE id > :after AND id <= :last);
