// SPDX-License-Identifier: Apache-2.0
/* Known rows in, the public views out: names of columns and what they hold. */
#include "tests/monitor/scratch.h"

#include <math.h>

#define T0 1700000000000 // a full minute is at T0 + 40 s

static const char stream_name[] = "cam-7";

static void put_state(struct tt_store *s, int64_t ts, const char *state, const char *reason)
{
    put_now(s, &(struct tt_record){.kind = TT_REC_STREAM,
                                   .ts_ms = ts,
                                   .stream = stream_name,
                                   .state = {.model = "resnet20",
                                             .model_hash = "abc",
                                             .engine = "tent",
                                             .policy = "tent.yaml",
                                             .policy_hash = "def",
                                             .state = state,
                                             .reason = reason,
                                             .by = "guard"}});
}

static struct tt_record batch_at(int64_t ts, const char *id, const char *version, int64_t step)
{
    static const int64_t counts[4] = {6, 0, 0, 2};

    return (struct tt_record){.kind = TT_REC_BATCH,
                              .ts_ms = ts,
                              .stream = stream_name,
                              .batch = {.request_id = id,
                                        .version = version,
                                        .step = step,
                                        .rows = 8,
                                        .adapted = true,
                                        .loss = 0.5,
                                        .entropy = 0.75,
                                        .entropy_ratio = 0.25,
                                        .confidence = 0.5,
                                        .class_collapse = 0.125,
                                        .class_share = 0.75,
                                        .grad_norm = 2,
                                        .param_drift = 0.0625,
                                        .base_disagreement = NAN,
                                        .shadow_disagreement = NAN,
                                        .queue_us = 1000,
                                        .infer_us = 2000,
                                        .adapt_us = 4000,
                                        .counts = counts,
                                        .classes = 4}};
}

static void put_version(struct tt_store *s, int64_t ts, const char *version, const char *parent,
                        int64_t step, const char *state)
{
    put_now(s, &(struct tt_record){.kind = TT_REC_VERSION,
                                   .ts_ms = ts,
                                   .stream = stream_name,
                                   .version = {.version = version,
                                               .parent = parent,
                                               .step = step,
                                               .state = state,
                                               .reason = "interval",
                                               .param_drift = 0.5,
                                               .bytes = 100,
                                               .file = version}});
}

static void put_feedback(struct tt_store *s, int64_t ts, const char *version, int64_t n,
                         int64_t correct, int64_t base_n, int64_t base_correct)
{
    put_now(s, &(struct tt_record){.kind = TT_REC_FEEDBACK,
                                   .ts_ms = ts,
                                   .stream = stream_name,
                                   .feedback = {.request_id = "r",
                                                .version = version,
                                                .n = n,
                                                .correct = correct,
                                                .base_n = base_n,
                                                .base_correct = base_correct,
                                                .delay_ms = 1000}});
}

static void put_guard(struct tt_store *s, int64_t ts, const char *rule, double evidence)
{
    put_now(s, &(struct tt_record){.kind = TT_REC_GUARD,
                                   .ts_ms = ts,
                                   .stream = stream_name,
                                   .guard = {.rule = rule,
                                             .signal = "class_collapse",
                                             .detector = "ewma",
                                             .state = "adapting",
                                             .statistic = 0.5,
                                             .threshold = 0.25,
                                             .evidence = evidence,
                                             .n = 64,
                                             .verdict = "warn"}});
}

static struct tt_record rollback_at(int64_t ts, int64_t id)
{
    return (struct tt_record){.kind = TT_REC_DECISION,
                              .ts_ms = ts,
                              .stream = stream_name,
                              .decision = {.decision_id = id,
                                           .rule = "collapse",
                                           .signal = "class_collapse",
                                           .detector = "ewma",
                                           .action = "rollback",
                                           .statistic = 0.5,
                                           .threshold = 0.25,
                                           .n = 64,
                                           .baseline = 0.125,
                                           .observed = 0.5,
                                           .change_point_ms = ts - 5000,
                                           .from_version = "v3",
                                           .from_step = 3,
                                           .to_version = "v1",
                                           .to_step = 1,
                                           .to_reason = "newest good",
                                           .batches_affected = 2,
                                           .samples_affected = 16,
                                           .actor = "guard",
                                           .policy_hash = "def",
                                           .sentence = "went back",
                                           .evidence = "{\"x\":1}"}};
}

static void columns_are_those_of_the_design(void **state)
{
    static const struct {
        const char *view, *columns;
    } cases[] = {
        {"v_stream_health",
         "ts,ts_ms,stream,stream_id,model,engine,policy,policy_hash,state,state_since_ms,state_by,"
         "reason,needs_operator,badness,version,step,acc_source,acc_adapted,acc_base,gap,acc_n,"
         "evidence,evidence_rule,"
         "base_disagreement,class_collapse,entropy_ratio,param_drift,batches_per_s,infer_ms,"
         "adapt_ms,p99_ms,skipped,label_coverage,last_label_ms,rollbacks_24h,decision_id"},
        {"v_accuracy", "ts,ts_ms,stream,stream_id,res_s,version,source,n,adapted,base,gap,"
                       "adapted_lo,adapted_hi"},
        {"v_drift", "ts,ts_ms,stream,stream_id,res_s,signal,n,mean,worst"},
        {"v_guard_timeline", "ts,ts_ms,stream,stream_id,res_s,rule,signal,detector,state,statistic,"
                             "threshold,evidence,evidence_max,n,verdict,dry_run"},
        {"v_rollbacks", "ts,ts_ms,decision_id,stream,stream_id,rule,signal,detector,action,dry_run,"
                        "statistic,threshold,n,baseline,observed,change_point_ms,detect_delay_ms,"
                        "from_version,from_step,to_version,to_step,to_reason,batches_affected,"
                        "samples_affected,actor,policy_hash,sentence,evidence"},
        {"v_versions", "ts,ts_ms,stream,stream_id,version,parent,step,state,reason,batches,samples,"
                       "first_ms,last_ms,acc_adapted,acc_base,acc_n,param_drift,bytes,pinned_by,"
                       "serving,set_aside_by"},
        {"v_adapt_cost", "ts,ts_ms,stream,stream_id,res_s,batches,samples,queue_ms,infer_ms,"
                         "adapt_ms,p99_ms,adapted,skip_deadline,skip_budget,skip_hold,filtered,"
                         "not_finite"},
        {"v_label_coverage", "ts,ts_ms,stream,stream_id,res_s,samples,joined,coverage"},
        {"v_events", "ts,ts_ms,seq,end_ms,stream,stream_id,kind,severity,state,actor,decision_id,"
                     "version,text,detail"},
    };
    struct scratch *x = *state;
    char sql[128];

    close_store(open_store(x->db));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(sql, sizeof sql, "SELECT group_concat(name) FROM pragma_table_info('%s')",
                 cases[i].view);
        assert_sql(x->db, sql, cases[i].columns);
        snprintf(sql, sizeof sql, "SELECT * FROM %s", cases[i].view);
        assert_sql(x->db, sql, ""); // an empty record has no rows, and every column resolves
    }
}

static void accuracy_credits_the_version_that_answered(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);

    put_version(s, T0, "v1", NULL, 1, "good");
    put_version(s, T0, "v2", "v1", 2, "soaking");
    put_now(s, &(struct tt_record){.kind = TT_REC_BATCH,
                                   .ts_ms = T0,
                                   .stream = stream_name,
                                   .batch = {.version = "v2", .step = 2, .rows = 10}});
    put_feedback(s, T0 + 3000, "v1", 10, 5, 10, 4); // late: v2 serves already
    put_feedback(s, T0 + 4000, "v2", 10, 9, 0, 0);  // the frozen model was not asked
    put_feedback(s, T0 + 5000, "v2", 0, 0, 0, 0);   // no label in it
    close_store(s);

    assert_sql(x->db,
               "SELECT ts, ts_ms, stream, stream_id, res_s, version, source, n, adapted, base, "
               "round(gap, 6) FROM v_accuracy ORDER BY ts_ms",
               "1700000002|1700000002000|cam-7|1|0|v1|labels|10|0.5|0.4|0.1\n"
               "1700000003|1700000003000|cam-7|1|0|v2|labels|10|0.9|-|-\n"
               "1700000004|1700000004000|cam-7|1|0|v2|labels|0|-|-|-");
    /* Wilson, 95 %: 5 of 10 and 9 of 10, from the formula by hand */
    assert_sql(x->db, "SELECT round(adapted_lo, 4), round(adapted_hi, 4) FROM v_accuracy",
               "0.2366|0.7634\n0.5958|0.9821\n-|-");
    assert_sql(x->db, "SELECT version, acc_n, acc_adapted, acc_base FROM v_versions ORDER BY step",
               "v1|10|0.5|0.4\nv2|10|0.9|-");
    assert_sql(x->db,
               "SELECT acc_source, acc_n, acc_adapted, acc_base, round(gap, 6), last_label_ms "
               "FROM v_stream_health",
               "labels|20|0.7|0.4|0.3|1700000005000");
}

static void health_is_of_the_newest_rows(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_record r;

    put_state(s, T0, "warming", "first batches");
    r = batch_at(T0 + 1000, "a", "v1", 1);
    r.batch.base_disagreement = 0.5;
    put_now(s, &r);
    r = batch_at(T0 + 2000, "b", "v1", 1);
    r.batch.skip = "hold";
    r.batch.adapted = false;
    r.batch.adapt_us = 0;
    r.batch.serving = "v2"; // another version serves from now on
    r.batch.serving_step = 2;
    put_now(s, &r);
    put_state(s, T0 + 3000, "adapting", "warmed up");
    put_state(s, T0 + 4000, "adapting", "still");
    put_guard(s, T0 + 4000, "loss", 0.25);
    put_guard(s, T0 + 4000, "collapse", 0.75);
    put_guard(s, T0 + 5000, "collapse", 0.5);
    put_feedback(s, T0 + 3000, "v1", 4, 2, 0, 0);
    r = rollback_at(T0 + 6000, 11);
    put_now(s, &r);
    r = rollback_at(T0 + 6500, 12);
    r.decision.dry_run = true;
    put_now(s, &r);
    close_store(s);

    assert_sql(x->db,
               "SELECT ts_ms, stream, model, engine, policy, policy_hash, state, state_since_ms, "
               "state_by, reason, version, step FROM v_stream_health",
               "1700000006500|cam-7|resnet20|tent|tent.yaml|def|adapting|1700000003000|guard|still"
               "|v2|2");
    assert_sql(x->db,
               "SELECT evidence, evidence_rule, base_disagreement, class_collapse, entropy_ratio, "
               "param_drift, infer_ms, adapt_ms, p99_ms, skipped, label_coverage, rollbacks_24h, "
               "decision_id FROM v_stream_health",
               "0.5|collapse|0.5|0.125|0.25|0.0625|2.0|0.0|7.0|0.5|0.25|1|12");
    assert_sql(x->db, "SELECT round(batches_per_s * 60) FROM v_stream_health", "2.0");
    assert_sql(
        x->db,
        "SELECT ts_ms, end_ms, state, text FROM v_events WHERE kind = 'state' ORDER BY ts_ms",
        "1700000000000|1700000003000|warming|first batches\n"
        "1700000003000|-|adapting|warmed up");
}

static void shares_and_percentiles_are_over_the_last_minute(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_record r;

    for (int i = 0; i < 200; i++) { // two of them are slow; all but the first 100 are recent
        r = batch_at(T0 + (i < 100 ? 0 : 100000 + i), NULL, "v1", 1);
        r.batch.infer_us = i < 100 ? 900000 : i == 150 ? 50000 : i == 160 ? 20000 : 2000;
        r.batch.skip = i % 4 == 0 ? "deadline" : "nothing_to_learn";
        tt_store_put(s, &r);
    }
    close_store(s);
    assert_sql(x->db, "SELECT p99_ms, skipped, round(batches_per_s, 4) FROM v_stream_health",
               "25.0|0.25|1.6667");
    s = open_store(x->db);
    for (int i = 0; i < 150; i++) { // all equal
        r = batch_at(T0 + 500000 + i, NULL, "v1", 1);
        tt_store_put(s, &r);
    }
    close_store(s);
    assert_sql(x->db, "SELECT p99_ms, skipped FROM v_stream_health", "7.0|0.0");
}

static void drift_and_cost_show_each_batch(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_record r = batch_at(T0, "a", "v1", 1);

    r.batch.loss = INFINITY; // not finite: not a measurement
    r.batch.base_disagreement = 0.5;
    put_now(s, &r);
    r = batch_at(T0 + 50000, "b", "v1", 1);
    r.batch.skip = "not_finite";
    r.batch.adapted = false;
    put_now(s, &r);
    put_feedback(s, T0 + 52000, "v1", 6, 3, 0, 0);
    close_store(s);

    assert_sql(x->db,
               "SELECT signal, n, mean, worst FROM v_drift WHERE ts_ms = 1700000000000 "
               "AND res_s = 0 ORDER BY signal",
               "base_disagreement|8|0.5|0.5\nclass_collapse|8|0.125|0.125\n"
               "class_share|8|0.75|0.75\nconfidence|8|0.5|0.5\nentropy|8|0.75|0.75\n"
               "entropy_ratio|8|0.25|0.25\ngrad_norm|8|2.0|2.0\nparam_drift|8|0.0625|0.0625");
    assert_sql(x->db, "SELECT count(*) FROM v_drift WHERE signal = 'loss' AND stream_id = 1", "1");
    assert_sql(x->db,
               "SELECT batches, samples, queue_ms, infer_ms, adapt_ms, p99_ms, adapted, "
               "skip_deadline, skip_budget, skip_hold, filtered, not_finite FROM v_adapt_cost "
               "ORDER BY ts_ms",
               "1|8|1.0|2.0|4.0|7.0|1|0|0|0|0|0\n1|8|1.0|2.0|4.0|7.0|0|0|0|0|0|1");
    assert_sql(x->db, "SELECT ts, res_s, samples, joined, coverage FROM v_label_coverage",
               "1699999980|60|8|0|0.0\n1700000040|60|8|6|0.75");
    assert_sql(x->db, "SELECT DISTINCT counts FROM batch", "{\"0\":6,\"3\":2}");
}

static void rollbacks_tell_the_whole_decision(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_record r;

    put_version(s, T0, "v0", NULL, 0, "base");
    put_version(s, T0 + 1, "v1", "v0", 1, "good");
    put_version(s, T0 + 2, "v2", "v1", 2, "soaking");
    put_version(s, T0 + 3, "v3", "v2", 3, "soaking");
    r = batch_at(T0 + 4, "a", "v3", 3);
    put_now(s, &r);
    r = rollback_at(T0 + 9000, 40);
    r.decision.decision_id = 39;
    r.decision.dry_run = true; // sets nothing aside
    put_now(s, &r);
    assert_sql(x->db, "SELECT count(*) FROM v_versions WHERE set_aside_by NOTNULL", "0");
    r = rollback_at(T0 + 9500, 40);
    put_now(s, &r);
    r.decision.decision_id = 41;
    r.decision.action = "freeze"; // a decision, but not a rollback
    put_now(s, &r);
    put_state(s, T0 + 9600, "rolled_back", "collapse");
    put_now(s, &(struct tt_record){.kind = TT_REC_STREAM,
                                   .ts_ms = T0 + 9600,
                                   .stream = "cam-7",
                                   .state = {.version = "v1", .step = 1}});
    close_store(s);

    assert_sql(x->db, "SELECT * FROM v_rollbacks WHERE decision_id = 40",
               "1700000009|1700000009500|40|cam-7|1|collapse|class_collapse|ewma|rollback|0|0.5|"
               "0.25|64|0.125|0.5|1700000004500|5000|v3|3|v1|1|newest good|2|16|guard|def|"
               "went back|{\"x\":1}");
    assert_sql(x->db, "SELECT decision_id, dry_run FROM v_rollbacks ORDER BY 1", "39|1\n40|0");
    assert_sql(x->db,
               "SELECT version, parent, step, state, batches, samples, first_ms, pinned_by, "
               "serving, set_aside_by FROM v_versions ORDER BY step",
               "v0|-|0|base|0|0|-|-|0|-\nv1|v0|1|good|0|0|-|41|1|-\n"
               "v2|v1|2|soaking|0|0|-|-|0|40\nv3|v2|3|soaking|1|8|1700000000004|41|0|40");
    assert_sql(x->db, "SELECT state, version, step, reason FROM v_stream_health",
               "rolled_back|v1|1|collapse");
}

static void a_rollback_off_the_line_sets_only_its_origin_aside(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_record r = rollback_at(T0 + 9000, 5);

    put_version(s, T0, "v0", NULL, 0, "base");
    put_version(s, T0, "v1", "v0", 1, "good");
    put_version(s, T0, "v2", "v1", 2, "good");
    put_version(s, T0, "v3", "v2", 3, "good");
    r.decision.to_version = "elsewhere";
    put_now(s, &r);
    close_store(s);
    assert_sql(x->db, "SELECT version, set_aside_by FROM v_versions ORDER BY step",
               "v0|-\nv1|-\nv2|-\nv3|5");
}

static void a_version_changes_its_state_and_loses_its_file(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);

    put_version(s, T0, "v1", NULL, 1, "soaking");
    put_now(s, &(struct tt_record){.kind = TT_REC_VERSION_STATE,
                                   .ts_ms = T0,
                                   .stream = "cam-7",
                                   .version_state = {.version = "v1", .state = "good"}});
    assert_sql(x->db, "SELECT state, reason, file FROM version", "good|interval|v1");
    put_now(s, &(struct tt_record){
                   .kind = TT_REC_VERSION_STATE,
                   .ts_ms = T0,
                   .stream = "cam-7",
                   .version_state = {
                       .version = "v1", .state = "lost", .reason = "no file", .file_gone = true}});
    assert_sql(x->db, "SELECT state, reason, file FROM version", "lost|no file|-");
    put_version(s, T0 + 5, "v1", NULL, 1, NULL); // came to be again: one row, its old time
    close_store(s);
    assert_sql(x->db, "SELECT ts_ms, state, file FROM version", "1700000000000|lost|v1");
}

static void guards_and_events_are_listed(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);

    put_guard(s, T0, "collapse", 0.75);
    put_now(s, &(struct tt_record){.kind = TT_REC_EVENT,
                                   .ts_ms = T0,
                                   .stream = "cam-7",
                                   .event = {.seq = 7,
                                             .kind = "trip",
                                             .severity = "error",
                                             .actor = "guard",
                                             .text = "tripped",
                                             .detail = "{}",
                                             .decision_id = 3}});
    put_now(s, &(struct tt_record){.kind = TT_REC_EVENT,
                                   .ts_ms = T0 + 1,
                                   .event = {.seq = 8, .kind = "daemon", .text = "started"}});
    close_store(s);
    assert_sql(x->db, "SELECT * FROM v_guard_timeline",
               "1700000000|1700000000000|cam-7|1|0|collapse|class_collapse|ewma|adapting|0.5|0.25|"
               "0.75|0.75|64|warn|0");
    assert_sql(x->db,
               "SELECT seq, stream, kind, severity, actor, decision_id, text, detail FROM v_events",
               "7|cam-7|trip|error|guard|3|tripped|{}\n8|-|daemon|-|-|-|started|-");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_new, scratch_free)
    const struct CMUnitTest tests[] = {
        CASE(columns_are_those_of_the_design),
        CASE(accuracy_credits_the_version_that_answered),
        CASE(health_is_of_the_newest_rows),
        CASE(shares_and_percentiles_are_over_the_last_minute),
        CASE(drift_and_cost_show_each_batch),
        CASE(rollbacks_tell_the_whole_decision),
        CASE(a_rollback_off_the_line_sets_only_its_origin_aside),
        CASE(a_version_changes_its_state_and_loses_its_file),
        CASE(guards_and_events_are_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
