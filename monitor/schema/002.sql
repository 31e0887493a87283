-- Version 2: roll-ups.  A row of minute or hour is one stream in the minute or hour that begins at
-- ts_ms; stream_id 0 is the fleet, all streams together.  Times are sums of microseconds, p99_us a
-- percentile of batches (of an hour: the worst of its minutes).  Signals are means over samples and
-- the worst batch, both as integers of a millionth: three bytes instead of eight.

CREATE TABLE minute(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, ts_ms INTEGER NOT NULL,
  batches INTEGER, samples INTEGER, adapted INTEGER, skip_deadline INTEGER, skip_budget INTEGER,
  skip_hold INTEGER, filtered INTEGER, not_finite INTEGER,
  queue_us INTEGER, infer_us INTEGER, adapt_us INTEGER, p99_us INTEGER,
  loss INTEGER, loss_worst INTEGER, entropy INTEGER, entropy_worst INTEGER,
  entropy_ratio INTEGER, entropy_ratio_worst INTEGER, confidence INTEGER, confidence_worst INTEGER,
  class_collapse INTEGER, class_collapse_worst INTEGER, class_share INTEGER, class_share_worst INTEGER,
  grad_norm INTEGER, grad_norm_worst INTEGER, param_drift INTEGER, param_drift_worst INTEGER,
  base_disagreement INTEGER, base_disagreement_worst INTEGER, shadow_disagreement INTEGER, shadow_disagreement_worst INTEGER,
  UNIQUE(stream_id, ts_ms));
CREATE TABLE hour(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, ts_ms INTEGER NOT NULL,
  batches INTEGER, samples INTEGER, adapted INTEGER, skip_deadline INTEGER, skip_budget INTEGER,
  skip_hold INTEGER, filtered INTEGER, not_finite INTEGER,
  queue_us INTEGER, infer_us INTEGER, adapt_us INTEGER, p99_us INTEGER,
  loss INTEGER, loss_worst INTEGER, entropy INTEGER, entropy_worst INTEGER,
  entropy_ratio INTEGER, entropy_ratio_worst INTEGER, confidence INTEGER, confidence_worst INTEGER,
  class_collapse INTEGER, class_collapse_worst INTEGER, class_share INTEGER, class_share_worst INTEGER,
  grad_norm INTEGER, grad_norm_worst INTEGER, param_drift INTEGER, param_drift_worst INTEGER,
  base_disagreement INTEGER, base_disagreement_worst INTEGER, shadow_disagreement INTEGER, shadow_disagreement_worst INTEGER,
  UNIQUE(stream_id, ts_ms));

-- Rules are named once.
CREATE TABLE rule(
  id INTEGER PRIMARY KEY, rule TEXT NOT NULL, signal TEXT NOT NULL, detector TEXT NOT NULL,
  UNIQUE(rule, signal, detector));

-- One rule of one stream: what it saw when its evidence was highest, and the mean evidence.
CREATE TABLE guard_minute(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, ts_ms INTEGER NOT NULL,
  rule_id INTEGER NOT NULL, state TEXT, statistic REAL, threshold REAL, evidence INTEGER,
  evidence_max INTEGER, n INTEGER, verdict TEXT, dry_run INTEGER,
  UNIQUE(stream_id, ts_ms, rule_id));
CREATE TABLE guard_hour(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, ts_ms INTEGER NOT NULL,
  rule_id INTEGER NOT NULL, state TEXT, statistic REAL, threshold REAL, evidence INTEGER,
  evidence_max INTEGER, n INTEGER, verdict TEXT, dry_run INTEGER,
  UNIQUE(stream_id, ts_ms, rule_id));

-- Labels by the time of the answer; they come late, so these rows grow.  version '' is the fleet's.
CREATE TABLE accuracy_minute(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, ts_ms INTEGER NOT NULL,
  version TEXT NOT NULL, n INTEGER NOT NULL, correct INTEGER NOT NULL, base_n INTEGER NOT NULL,
  base_correct INTEGER NOT NULL, lo REAL, hi REAL,
  UNIQUE(stream_id, ts_ms, version));
CREATE TABLE accuracy_hour(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, ts_ms INTEGER NOT NULL,
  version TEXT NOT NULL, n INTEGER NOT NULL, correct INTEGER NOT NULL, base_n INTEGER NOT NULL,
  base_correct INTEGER NOT NULL, lo REAL, hi REAL,
  UNIQUE(stream_id, ts_ms, version));

-- How far rolling up and deleting have come; kept in the transaction that goes further.
CREATE TABLE mark(name TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;

-- Who needs a person, worst first.
ALTER TABLE stream_now ADD COLUMN worse_since_ms INTEGER; -- its answers are worse than the frozen model's
ALTER TABLE stream_now ADD COLUMN needs_operator INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream_now ADD COLUMN badness REAL NOT NULL DEFAULT 0;
CREATE INDEX stream_now_badness ON stream_now(badness DESC, stream_id);
CREATE INDEX stream_now_state ON stream_now(state, badness);
