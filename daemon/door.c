// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "daemon/doorway.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/sockets.h"

#define AT_ONCE 64 // connections that are accepted before others have their turn

const char *tt_door_name(enum tt_gate_door door)
{
    static const char *const names[TT_GATE_DOORS] = {"data", "control", "events"};

    return names[door];
}

/* The origin of that process or address, its own or a new one. */
static struct tt_origin *find_origin(struct tt_gate *g, pid_t pid, const unsigned char address[16])
{
    struct tt_origin *unused = NULL;

    for (int i = 0; i < g->npeers; i++) {
        struct tt_origin *o = &g->origins[i];
        int connections = 0;

        for (int k = 0; k < TT_GATE_DOORS; k++)
            connections += o->connections[k];
        if (o->used && !connections && !atomic_load(&o->account.jobs))
            o->used = false;
        if (o->used && o->pid == pid && !memcmp(o->address, address, sizeof o->address))
            return o;
        if (!o->used && !unused)
            unused = o;
    }
    if (unused) {
        *unused = (struct tt_origin){.used = true, .pid = pid, .account.total = &g->bytes};
        memcpy(unused->address, address, sizeof unused->address);
    }
    return unused;
}

static struct tt_origin *name_peer(struct tt_gate *g, int fd, char ret[TT_PEER_NAME])
{
    struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
    struct ucred who = {.pid = 0};
    unsigned char address[16] = {0};
    socklen_t n = sizeof from, nwho = sizeof who;
    char text[INET6_ADDRSTRLEN] = "?";
    uint16_t port = 0;

    if (getpeername(fd, (struct sockaddr *)&from, &n) == 0 && from.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&from;

        memcpy(address, &in->sin_addr, sizeof in->sin_addr);
        (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        port = ntohs(in->sin_port);
    } else if (from.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)&from;

        memcpy(address, &in->sin6_addr, sizeof address);
        (void)inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
        port = ntohs(in->sin6_port);
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &nwho) == 0) {
        (void)snprintf(ret, TT_PEER_NAME, "pid %ld uid %lu", (long)who.pid, (unsigned long)who.uid);
        return find_origin(g, who.pid, address);
    }
    (void)snprintf(ret, TT_PEER_NAME, "%s port %u", text, port);
    return find_origin(g, 0, address);
}

void tt_door_add(struct tt_gate *g, enum tt_gate_door door, int fd, struct tt_origin *origin,
                 const char *name)
{
    struct tt_doorway *d = &g->doors[door];
    struct tt_peer *p = &g->peers[d->free[--d->nfree]];
    unsigned char greeting[TT_ZMTP_GREETING];
    const int one = 1;

    if (!tt_gate_watch(g, fd, (uint64_t)p->generation << 32 | p->slot)) {
        tt_log(TT_LOG_ERR, "%s: epoll: %s", tt_door_name(door), strerror(errno));
        d->nfree++;
        close(fd);
        return;
    }
    p->state = TT_PEER_GREETING;
    p->fd = fd;
    p->door = door;
    p->origin = origin;
    p->interest = EPOLLIN;
    p->since_us = p->heard_us = g->now_us;
    memcpy(p->name, name, sizeof p->name);
    origin->connections[door]++;
    d->npeers++;
    atomic_fetch_add(&g->connections, 1);
    atomic_fetch_add(&g->accepted, 1);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); // ipc has no such thing
    tt_zmtp_greet(greeting);
    tt_peer_control(p, greeting, sizeof greeting, g->now_us);
    (void)tt_peer_write(g, p); // gone is gone
}

/* One process, or address, has half of the connections of a door at most. */
static void take_peer(struct tt_gate *g, enum tt_gate_door door, int fd)
{
    const int most = g->limits.connections;
    char name[TT_PEER_NAME], why[96] = "";
    struct tt_origin *origin = name_peer(g, fd, name);

    if (g->doors[door].npeers >= most)
        (void)snprintf(why, sizeof why, "%d are open, the limit is %d", g->doors[door].npeers,
                       most);
    else if (!origin)
        (void)snprintf(why, sizeof why, "too many processes have requests under way");
    else if (origin->connections[door] >= (most + 1) / 2)
        (void)snprintf(why, sizeof why, "it has %d, half of the limit of %d",
                       origin->connections[door], most);
    if (!*why) {
        tt_door_add(g, door, fd, origin, name);
        return;
    }
    tt_cut_tell(g, door, name, TT_CUT_CONNECTIONS, why);
    close(fd);
}

void tt_door_accept(struct tt_gate *g, enum tt_gate_door door, const struct tt_listener *l)
{
    for (int i = 0; i < AT_ONCE; i++) {
        const int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take_peer(g, door, fd);
            continue;
        }
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return;
        if (!g->deaf)
            tt_log(TT_LOG_ERR, "%s: accept: %s", tt_door_name(door), strerror(errno));
        g->deaf = true;
        (void)epoll_ctl(g->epoll, EPOLL_CTL_DEL, l->fd, NULL);
        return;
    }
}

void tt_door_listen_again(struct tt_gate *g)
{
    if (!g->deaf)
        return;
    g->deaf = false;
    for (int d = 0; d < TT_GATE_DOORS; d++)
        for (int i = 0; g->doors[d].open && i < g->doors[d].nlisten; i++)
            (void)tt_gate_watch(g, g->doors[d].listen[i].fd,
                                TT_LISTENER | (uint64_t)d << 8 |
                                    (uint64_t)i << 16); // or it is there
}
