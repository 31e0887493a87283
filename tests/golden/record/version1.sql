-- Version 1 of the record's private tables.  Readers use the views (views.sql).
-- Times are UTC milliseconds; NULL is "not measured"; stream_id 0 is kept for the fleet.

CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE boot(
  id INTEGER PRIMARY KEY, ts_ms INTEGER NOT NULL, boot_id TEXT, version TEXT, config_hash TEXT);

CREATE TABLE stream(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first_ms INTEGER NOT NULL,
  model TEXT, model_hash TEXT, engine TEXT, policy TEXT, policy_hash TEXT);

-- One row a stream: what is true now, kept by the writer in the commit that changes it.
CREATE TABLE stream_now(
  stream_id INTEGER PRIMARY KEY REFERENCES stream(id), ts_ms INTEGER NOT NULL,
  state TEXT, state_since_ms INTEGER, state_by TEXT, reason TEXT, decision_id INTEGER,
  version TEXT, step INTEGER,
  entropy_ratio REAL, class_collapse REAL, param_drift REAL,
  base_disagreement REAL,                       -- of the newest batch in which it was sampled
  infer_us INTEGER, adapt_us INTEGER, last_batch_ms INTEGER, last_label_ms INTEGER,
  acc_n INTEGER, acc_correct INTEGER,           -- of the 20 newest sets of labels
  base_n INTEGER, base_correct INTEGER);

CREATE TABLE state(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream(id), ts_ms INTEGER NOT NULL,
  state TEXT NOT NULL, reason TEXT, by TEXT, decision_id INTEGER, version TEXT);
CREATE INDEX state_stream ON state(stream_id);

CREATE TABLE batch(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream(id), ts_ms INTEGER NOT NULL,
  request_id TEXT, version TEXT, step INTEGER, rows INTEGER, adapted INTEGER, skip TEXT,
  loss REAL, entropy REAL, entropy_ratio REAL, confidence REAL, class_collapse REAL,
  class_share REAL, grad_norm REAL, param_drift REAL, base_disagreement REAL,
  shadow_disagreement REAL, queue_us INTEGER, infer_us INTEGER, adapt_us INTEGER,
  counts TEXT);                                 -- {"class": rows predicted}, zeros left out
CREATE INDEX batch_stream ON batch(stream_id, ts_ms);
CREATE INDEX batch_request ON batch(stream_id, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE guard(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream(id), ts_ms INTEGER NOT NULL,
  rule TEXT, signal TEXT, detector TEXT, state TEXT, statistic REAL, threshold REAL,
  evidence REAL, n INTEGER, verdict TEXT, dry_run INTEGER);
CREATE INDEX guard_stream ON guard(stream_id, ts_ms);

CREATE TABLE guard_now(
  stream_id INTEGER NOT NULL REFERENCES stream(id), rule TEXT NOT NULL, ts_ms INTEGER NOT NULL,
  evidence REAL, dry_run INTEGER, PRIMARY KEY(stream_id, rule)) WITHOUT ROWID;

CREATE TABLE decision(
  decision_id INTEGER PRIMARY KEY, stream_id INTEGER REFERENCES stream(id), ts_ms INTEGER NOT NULL,
  rule TEXT, signal TEXT, detector TEXT, action TEXT, dry_run INTEGER,
  statistic REAL, threshold REAL, n INTEGER, baseline REAL, observed REAL,
  change_point_ms INTEGER, from_version TEXT, from_step INTEGER, to_version TEXT, to_step INTEGER,
  to_reason TEXT, batches_affected INTEGER, samples_affected INTEGER, actor TEXT, policy_hash TEXT,
  sentence TEXT, evidence TEXT);
CREATE INDEX decision_stream ON decision(stream_id, ts_ms);
CREATE INDEX decision_ts ON decision(ts_ms);

CREATE TABLE version(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream(id), ts_ms INTEGER NOT NULL,
  version TEXT NOT NULL, parent TEXT, step INTEGER, state TEXT, reason TEXT, param_drift REAL,
  bytes INTEGER, file TEXT, set_aside_by INTEGER,
  batches INTEGER NOT NULL DEFAULT 0, samples INTEGER NOT NULL DEFAULT 0,
  first_ms INTEGER, last_ms INTEGER,
  acc_n INTEGER NOT NULL DEFAULT 0, acc_correct INTEGER NOT NULL DEFAULT 0,
  base_n INTEGER NOT NULL DEFAULT 0, base_correct INTEGER NOT NULL DEFAULT 0,
  UNIQUE(stream_id, version));
CREATE INDEX version_ts ON version(stream_id, ts_ms);

CREATE TABLE feedback(
  id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream(id), ts_ms INTEGER NOT NULL,
  answered_ms INTEGER NOT NULL, request_id TEXT, version TEXT, n INTEGER, correct INTEGER,
  base_n INTEGER, base_correct INTEGER, delay_ms INTEGER,
  lo REAL, hi REAL);                            -- Wilson's 95 % interval of correct / n
CREATE INDEX feedback_stream ON feedback(stream_id);
CREATE INDEX feedback_answered ON feedback(stream_id, answered_ms);

CREATE TABLE event(
  seq INTEGER PRIMARY KEY, stream_id INTEGER REFERENCES stream(id), ts_ms INTEGER NOT NULL,
  kind TEXT, severity TEXT, actor TEXT, text TEXT, version TEXT, detail TEXT, decision_id INTEGER);
CREATE INDEX event_stream ON event(stream_id, ts_ms);
CREATE INDEX event_ts ON event(ts_ms);

-- Metrics that were not kept, as far as the writer could count them.
CREATE TABLE loss(id INTEGER PRIMARY KEY, ts_ms INTEGER NOT NULL, rows INTEGER NOT NULL, why TEXT);

-- A file as version 1 of the schema left it: one stream, one decision, and its settings.
INSERT INTO meta VALUES('views', 'of version 1');
INSERT INTO boot VALUES(1, 1700000000000, 'b', '0.1.0', 'c');
INSERT INTO stream VALUES(1, 'cam-7', 1700000000000, 'fashion', 'abc', 'tent', 'p', 'def');
INSERT INTO stream_now(stream_id, ts_ms, state, state_since_ms, state_by, version, step,
  last_batch_ms) VALUES(1, 1700000090000, 'frozen', 1700000090000, 'guard', 'v1', 3, 1700000090000);
INSERT INTO batch(id, stream_id, ts_ms, request_id, version, step, rows, adapted, loss, queue_us,
  infer_us, adapt_us) VALUES(1, 1, 1700000000000, 'r1', 'v0', 0, 64, 1, 0.5, 10, 20, 30),
  (2, 1, 1700000090000, 'r2', 'v1', 1, 64, 1, 1.5, 10, 20, 30);
INSERT INTO guard(id, stream_id, ts_ms, rule, signal, detector, evidence, verdict)
  VALUES(1, 1, 1700000090000, 'collapse', 'class_collapse', 'ewma', 1.5, 'trip');
INSERT INTO decision(decision_id, stream_id, ts_ms, rule, action, dry_run, from_version, to_version,
  actor, sentence) VALUES(7, 1, 1700000090000, 'collapse', 'rollback', 0, 'v1', 'v0', 'guard', 's');
INSERT INTO version(stream_id, ts_ms, version, state) VALUES(1, 1700000000000, 'v0', 'base'),
  (1, 1700000090000, 'v1', 'bad');
INSERT INTO feedback(stream_id, ts_ms, answered_ms, version, n, correct, base_n, base_correct)
  VALUES(1, 1700000091000, 1700000090000, 'v1', 64, 32, 64, 48);
INSERT INTO event(seq, stream_id, ts_ms, kind, severity, text) VALUES(3, 1, 1700000090000, 'rollback',
  'warning', 's');
PRAGMA application_id = 1414807876;
PRAGMA user_version = 1;
