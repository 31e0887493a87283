// SPDX-License-Identifier: Apache-2.0
#include "daemon/clients.h"

#include <string.h>

static struct tt_client **bucket_of(struct tt_loop *l, const unsigned char *id, size_t n)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ id[i]) * 16777619u;
    return &l->bucket[h % (sizeof l->bucket / sizeof *l->bucket)];
}

static struct tt_client *add(struct tt_loop *l, const struct tt_job *job)
{
    struct tt_client *c = l->free, **b = bucket_of(l, job->identity, job->nidentity);

    if (c)
        l->free = c->next;
    else
        c = TT_NEW(&l->arena, 1, struct tt_client);
    if (!c)
        return NULL;
    memcpy(c->id, job->identity, job->nidentity);
    c->nid = job->nidentity;
    c->bytes = c->expect_us = 0;
    atomic_store(&c->outstanding, 0);
    c->next = *b;
    *b = c;
    return c;
}

struct tt_client *tt_clients_find(struct tt_loop *l, const struct tt_job *job)
{
    struct tt_client *c = *bucket_of(l, job->identity, job->nidentity);

    while (c && (c->nid != job->nidentity || memcmp(c->id, job->identity, c->nid) != 0))
        c = c->next;
    return c;
}

bool tt_clients_take(struct tt_loop *l, struct tt_job *job)
{
    struct tt_client *c = tt_clients_find(l, job);

    if (!c)
        c = add(l, job);
    if (!c)
        return false;
    atomic_fetch_add(&c->outstanding, 1);
    c->bytes += job->bytes;
    job->client = c;
    job->credit = l->credit;
    return true;
}

void tt_clients_return(struct tt_loop *l, struct tt_job *job)
{
    struct tt_client *c = job->client, **at;

    if (!c)
        return;
    job->client = NULL;
    c->bytes -= job->bytes;
    c->expect_us -= job->expect_us;
    if (atomic_fetch_sub(&c->outstanding, 1) > 1)
        return;
    at = bucket_of(l, c->id, c->nid);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->next = l->free;
    l->free = c;
}
