// SPDX-License-Identifier: Apache-2.0
#include "daemon/events.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "daemon/gate.h"
#include "daemon/reply.h"

struct tt_events {
    struct tt_arena arena; // owns it
    struct tt_gate *gate;
    pthread_mutex_t lock; // of what follows; the order of numbers is that of publishing
    int64_t seq, dropped;
};

enum tt_code tt_events_start(struct tt_gate *gate, const struct tt_strs *endpoints, int64_t last,
                             struct tt_events **ret, struct tt_err *err)
{
    struct tt_arena arena;
    struct tt_events *e;

    tt_arena_init(&arena, 0);
    e = TT_NEW(&arena, 1, struct tt_events);
    if (!e)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (tt_gate_open(gate, TT_GATE_EVENTS, endpoints, NULL, err) != TT_OK) {
        tt_arena_release(&arena);
        return err->code;
    }
    e->arena = arena;
    e->gate = gate;
    e->seq = last;
    pthread_mutex_init(&e->lock, NULL);
    *ret = e;
    return TT_OK;
}

static enum tt_gate_topic topic_of(const struct tt_record *r)
{
    static const char *const decisions[] = {"trip",  "rollback", "freeze", "thaw",
                                            "reset", "hold",     NULL};

    if (r->kind == TT_REC_BATCH)
        return TT_TOPIC_SAMPLE;
    for (int i = 0; decisions[i]; i++)
        if (!strcmp(r->event.kind, decisions[i]))
            return TT_TOPIC_DECISION;
    return !strcmp(r->event.kind, "state") ? TT_TOPIC_STATE : TT_TOPIC_DAEMON;
}

static json_t *event_json(const struct tt_rec_event *v)
{
    json_t *o = json_object(), *detail = v->detail ? json_loads(v->detail, 0, NULL) : NULL;

    json_object_set_new(o, "kind", tt_json_text(v->kind));
    json_object_set_new(o, "severity", tt_json_text(v->severity));
    json_object_set_new(o, "actor", tt_json_text(v->actor));
    json_object_set_new(o, "text", tt_json_text(v->text));
    json_object_set_new(o, "version", tt_json_text(v->version));
    if (v->decision_id != TT_UNKNOWN)
        json_object_set_new(o, "decision_id", json_integer(v->decision_id));
    if (detail)
        json_object_set_new(o, "detail", detail);
    return o;
}

static json_t *sample_json(const struct tt_rec_batch *b)
{
    json_t *o = json_object();

    json_object_set_new(o, "id", tt_json_text(b->request_id));
    json_object_set_new(o, "version", tt_json_text(b->version));
    json_object_set_new(o, "step", json_integer(b->step));
    json_object_set_new(o, "rows", json_integer(b->rows));
    json_object_set_new(o, "adapted", json_boolean(b->adapted));
    json_object_set_new(o, "skipped", tt_json_text(b->skip));
    json_object_set_new(o, "loss", tt_json_number(b->loss));
    json_object_set_new(o, "entropy_ratio", tt_json_number(b->entropy_ratio));
    json_object_set_new(o, "confidence", tt_json_number(b->confidence));
    json_object_set_new(o, "class_collapse", tt_json_number(b->class_collapse));
    json_object_set_new(o, "param_drift", tt_json_number(b->param_drift));
    json_object_set_new(o, "base_disagreement", tt_json_number(b->base_disagreement));
    return o;
}

static char *make_text(const struct tt_record *r)
{
    json_t *o = r->kind == TT_REC_BATCH ? sample_json(&r->batch) : event_json(&r->event);
    char *text;

    json_object_set_new(o, "stream", tt_json_text(r->stream));
    json_object_set_new(o, "ts_ms", json_integer(r->ts_ms));
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

int64_t tt_events_put(struct tt_events *e, const struct tt_record *r)
{
    char *text;
    int64_t seq;

    if (r->kind == TT_REC_BATCH && !tt_gate_wanted(e->gate, TT_TOPIC_SAMPLE))
        return 0;
    text = make_text(r);
    pthread_mutex_lock(&e->lock);
    seq = ++e->seq;
    if (!text || !tt_gate_publish(e->gate, topic_of(r), seq, text, strlen(text)))
        e->dropped++;
    pthread_mutex_unlock(&e->lock);
    free(text);
    return seq;
}

int64_t tt_events_dropped(struct tt_events *e)
{
    struct tt_gate_counts c;
    int64_t n;

    tt_gate_counts(e->gate, &c);
    pthread_mutex_lock(&e->lock);
    n = e->dropped;
    pthread_mutex_unlock(&e->lock);
    return n + c.events_dropped;
}

void tt_events_stop(struct tt_events *e)
{
    struct tt_arena arena;

    if (!e)
        return;
    tt_gate_shut(e->gate, TT_GATE_EVENTS);
    pthread_mutex_destroy(&e->lock);
    arena = e->arena;
    tt_arena_release(&arena);
}
