// SPDX-License-Identifier: Apache-2.0
#include "daemon/replays.h"

#include <string.h>

#include "daemon/inputs.h"

struct tt_kept {
    struct tt_replay what;
    struct tt_answer *answer; // NULL: not kept
};

struct tt_answer {
    struct tt_arena arena;           // owns it
    struct tt_kept *of;              // whose answer it is
    struct tt_answer *older, *newer; // of the pool
    const char *header;
    const void *tensor; // NULL: none
    size_t nheader, ntensor;
};

struct tt_replays {
    struct tt_arena arena; // owns it
    struct tt_replay_pool *pool;
    int first, n, window;
    struct tt_kept kept[]; // [window], a ring
};

struct tt_replays *tt_replays_new(int window, struct tt_replay_pool *pool)
{
    const size_t bytes = sizeof(struct tt_replays) + (size_t)window * sizeof(struct tt_kept);
    struct tt_arena arena;
    struct tt_replays *r;

    tt_arena_init(&arena, bytes + (size_t)TT_ALIGN); // a limit, so no more is taken
    r = tt_arena_alloc(&arena, bytes, 1);
    if (!r)
        return NULL;
    r->arena = arena;
    r->window = window;
    r->pool = pool;
    return r;
}

/* ---- answers ------------------------------------------------------------------------------ */

static void drop_answer(struct tt_replay_pool *p, struct tt_kept *k)
{
    struct tt_answer *a = k->answer;
    struct tt_arena arena;

    if (!a)
        return;
    *(a->older ? &a->older->newer : &p->oldest) = a->newer;
    *(a->newer ? &a->newer->older : &p->newest) = a->older;
    p->used -= a->nheader + a->ntensor;
    arena = a->arena;
    tt_arena_release(&arena);
    k->answer = NULL;
}

static void keep_answer(struct tt_replay_pool *p, struct tt_kept *k, const struct tt_job *job)
{
    const size_t ntensor = job->tensor ? job->ntensor : 0, bytes = job->nheader + ntensor;
    struct tt_arena arena;
    struct tt_answer *a;
    char *all;

    drop_answer(p, k);
    if (bytes > p->most)
        return;
    while (p->used + bytes > p->most)
        drop_answer(p, p->oldest->of);
    tt_arena_init(&arena, sizeof *a + bytes + (size_t)TT_ALIGN); // a limit: no more is taken
    a = (struct tt_answer *)tt_arena_alloc(&arena, sizeof *a + bytes, 1);
    if (!a)
        return;
    all = (char *)(a + 1);
    memcpy(all, job->header, job->nheader);
    if (ntensor)
        memcpy(all + job->nheader, job->tensor, ntensor);
    *a = (struct tt_answer){.arena = arena,
                            .of = k,
                            .older = p->newest,
                            .header = all,
                            .tensor = ntensor ? all + job->nheader : NULL,
                            .nheader = job->nheader,
                            .ntensor = ntensor};
    p->used += bytes;
    *(p->newest ? &p->newest->newer : &p->oldest) = a;
    p->newest = a;
    k->answer = a;
}

static void *copy(struct tt_arena *arena, const void *from, size_t n)
{
    void *p = tt_arena_alloc(arena, n, 1);

    if (p && n)
        memcpy(p, from, n);
    return p;
}

/* ---- ids ---------------------------------------------------------------------------------- */

void tt_replays_free(struct tt_replays *r)
{
    struct tt_arena arena;

    if (!r)
        return;
    for (int i = 0; i < r->window; i++)
        drop_answer(r->pool, &r->kept[i]);
    arena = r->arena;
    tt_arena_release(&arena);
}

static struct tt_kept *find(struct tt_replays *r, const char *id)
{
    for (int i = r->n - 1; *id && i >= 0; i--) {
        struct tt_kept *k = &r->kept[(r->first + i) % r->window];

        if (!strcmp(k->what.id, id))
            return k;
    }
    return NULL;
}

/* A place for one more id: the oldest is forgotten. */
static struct tt_kept *place(struct tt_replays *r)
{
    if (r->n == r->window) {
        drop_answer(r->pool, &r->kept[r->first]);
        r->first = (r->first + 1) % r->window;
        r->n--;
    }
    return &r->kept[(r->first + r->n++) % r->window];
}

static uint64_t add_bytes(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    uint64_t word;

    for (; n >= sizeof word; n -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    word = n;
    memcpy(&word, at, n);
    h = (h ^ word ^ (uint64_t)n << 56) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

/* What tells one batch from another: the tensors as they came. */
static uint64_t take_print(const struct tt_job *job)
{
    uint64_t h = 1;

    for (int i = 0; i < job->request.ninputs; i++) {
        const struct tt_wire_tensor *t = &job->request.inputs[i];

        h = add_bytes(h, t->dim, (size_t)t->ndim * sizeof *t->dim);
        h = add_bytes(h, t->data, (size_t)t->n * tt_dtype_size(t->type));
    }
    return h ? h : 1;
}

enum tt_replayed tt_replays_find(struct tt_replays *r, struct tt_job *job)
{
    const struct tt_kept *k = find(r, job->request.id);
    const struct tt_answer *a = k ? k->answer : NULL;

    if (*job->request.id && !job->print)
        job->print = take_print(job);
    if (!k)
        return TT_REPLAY_NEW;
    if (k->what.print && k->what.print != job->print)
        return TT_REPLAY_OTHER;
    if (!a)
        return TT_REPLAY_KNOWN;
    job->header = copy(&job->arena, a->header, a->nheader);
    job->tensor = a->tensor ? copy(&job->arena, a->tensor, a->ntensor) : NULL;
    job->nheader = a->nheader;
    job->ntensor = a->ntensor;
    return job->header && (!a->tensor || job->tensor) ? TT_REPLAY_ANSWERED : TT_REPLAY_KNOWN;
}

void tt_replays_keep(struct tt_replays *r, const struct tt_job *job, bool adapted)
{
    struct tt_kept *k = find(r, job->request.id);

    if (!*job->request.id)
        return;
    if (!k) {
        k = place(r);
        k->what = (struct tt_replay){.print = job->print, .adapted = adapted};
        memcpy(k->what.id, job->request.id, sizeof k->what.id);
    }
    if (job->tensor) // or memory ran out for the answer, which is not to be repeated
        keep_answer(r->pool, k, job);
}

void tt_replays_adapted(struct tt_replays *r, const char *id)
{
    struct tt_kept *k = find(r, id);

    if (k)
        k->what.adapted = true;
}

int tt_replays_list(const struct tt_replays *r, struct tt_replay *ret, int max)
{
    const int n = r->n < max ? r->n : max;

    for (int i = 0; i < n; i++)
        ret[i] = r->kept[(r->first + r->n - n + i) % r->window].what;
    return n;
}

void tt_replays_restore(struct tt_replays *r, const struct tt_replay *ids, int n)
{
    for (int i = 0; i < n; i++)
        if (*ids[i].id && !find(r, ids[i].id))
            place(r)->what = ids[i];
}
