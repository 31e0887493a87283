// SPDX-License-Identifier: Apache-2.0
#include "daemon/replays.h"

#include <string.h>

struct kept {
    struct tt_arena arena;
    char id[TTAD_WIRE_ID_MAX + 1];
    const char *header;
    const void *tensor;
    size_t nheader, ntensor;
};

struct tt_replays {
    struct tt_arena arena; // owns it
    int first, n;
    size_t bytes;
    struct kept kept[TT_REPLAYS];
};

struct tt_replays *tt_replays_new(void)
{
    struct tt_arena arena;
    struct tt_replays *r;

    tt_arena_init(&arena, 0);
    r = TT_NEW(&arena, 1, struct tt_replays);
    if (r)
        r->arena = arena;
    return r;
}

static void drop_oldest(struct tt_replays *r)
{
    struct kept *k = &r->kept[r->first];

    r->bytes -= k->nheader + k->ntensor;
    tt_arena_release(&k->arena);
    k->id[0] = '\0';
    r->first = (r->first + 1) % TT_REPLAYS;
    r->n--;
}

void tt_replays_free(struct tt_replays *r)
{
    struct tt_arena arena;

    if (!r)
        return;
    while (r->n)
        drop_oldest(r);
    arena = r->arena;
    tt_arena_release(&arena);
}

static void *copy(struct tt_arena *arena, const void *from, size_t n)
{
    void *p = tt_arena_alloc(arena, n, 1);

    if (p && n)
        memcpy(p, from, n);
    return p;
}

void tt_replays_keep(struct tt_replays *r, const struct tt_job *job)
{
    const size_t bytes = job->nheader + (job->tensor ? job->ntensor : 0);
    struct kept *k;
    char *all;

    if (!job->request.id[0] || bytes > TT_REPLAY_BYTES)
        return;
    while (r->n == TT_REPLAYS || r->bytes + bytes > TT_REPLAY_BYTES)
        drop_oldest(r);
    k = &r->kept[(r->first + r->n) % TT_REPLAYS];
    tt_arena_init(&k->arena, bytes + (size_t)TT_ALIGN); // a limit, so no more is taken
    all = tt_arena_alloc(&k->arena, bytes, 1);
    if (!all)
        return;
    memcpy(all, job->header, job->nheader);
    if (job->tensor)
        memcpy(all + job->nheader, job->tensor, job->ntensor);
    k->header = all;
    k->tensor = job->tensor ? all + job->nheader : NULL;
    memcpy(k->id, job->request.id, sizeof k->id);
    k->nheader = job->nheader;
    k->ntensor = job->tensor ? job->ntensor : 0;
    r->bytes += k->nheader + k->ntensor;
    r->n++;
}

bool tt_replays_answer(const struct tt_replays *r, struct tt_job *job)
{
    for (int i = r->n - 1; job->request.id[0] && i >= 0; i--) {
        const struct kept *k = &r->kept[(r->first + i) % TT_REPLAYS];

        if (strcmp(k->id, job->request.id) != 0)
            continue;
        job->header = copy(&job->arena, k->header, k->nheader);
        job->tensor = k->tensor ? copy(&job->arena, k->tensor, k->ntensor) : NULL;
        job->nheader = k->nheader;
        job->ntensor = k->ntensor;
        return job->header && (!k->tensor || job->tensor);
    }
    return false;
}
