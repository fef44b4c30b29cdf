/* SPDX-License-Identifier: MIT */
#include "harness/proxy.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define HANDSHAKE_BYTES 8
#define LENGTH_BYTES 8
#define READ_BYTES 65536
#define QUEUE_BYTES_MAX (8u << 20) /* more is not read until some has gone */
#define TURN_MS 10                 /* the longest until a change of the faults is seen */

/* Bytes on their way, not before due_ms. */
struct parcel {
    struct parcel *next;
    uint64_t due_ms;
    bool last; /* the connection ends behind it */
    size_t size, sent;
    uint8_t bytes[];
};

struct half {
    int from, to;
    bool shaken;      /* the handshake has passed */
    uint8_t *partial; /* what was read of the message that has begun */
    size_t used, capacity;
    struct parcel *first, **last;
    size_t queued_bytes;
    struct parcel *swapped; /* waits for the next one */
    uint64_t count;
};

struct connection {
    bool open;
    struct half halves[PROXY_WAYS];
};

struct proxy {
    struct netns *netns;
    size_t there;
    struct sockaddr_in target;
    struct address address;
    int listener;
    pthread_t thread;
    struct connection connections[CONNECTIONS_MAX]; /* the thread's */
    pthread_mutex_t lock;                           /* of what follows */
    struct proxy_faults faults[PROXY_WAYS];
    bool held, stopping, cutting;
    uint64_t faults_made;
};

static struct parcel *new_parcel(const uint8_t *bytes, size_t size, uint64_t due_ms)
{
    struct parcel *parcel = malloc(sizeof *parcel + size);
    if (parcel == NULL)
        abort();
    *parcel = (struct parcel){.due_ms = due_ms, .size = size};
    memcpy(parcel->bytes, bytes, size);
    return parcel;
}

static void append(struct half *half, struct parcel *parcel)
{
    *half->last = parcel;
    half->last = &parcel->next;
    half->queued_bytes += parcel->size;
}

static void end_half(struct half *half)
{
    if (half->from >= 0)
        (void)close(half->from); /* each half closes what it reads */
    half->from = half->to = -1;
    while (half->first != NULL) {
        struct parcel *parcel = half->first;
        half->first = parcel->next;
        free(parcel);
    }
    free(half->swapped);
    free(half->partial);
    *half = (struct half){.from = -1, .to = -1};
}

static void end_connection(struct connection *connection)
{
    for (size_t way = 0; way < PROXY_WAYS; way++)
        end_half(&connection->halves[way]);
    connection->open = false;
}

static bool is_due(uint64_t count, unsigned every)
{
    return every > 0 && count % every == every - 1;
}

static void queue_message(struct proxy *proxy, struct half *half, const struct proxy_faults *faults,
                          const uint8_t *bytes, size_t size)
{
    uint64_t count = half->count++;
    uint64_t due_ms = clock_monotonic_ms() + faults->delay_ms;
    bool dropped = is_due(count, faults->drop_every);
    bool doubled = is_due(count, faults->double_every);
    bool broken = is_due(count, faults->break_every);
    bool swapped = is_due(count, faults->swap_every);
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->faults_made += dropped || doubled || broken || swapped;
    (void)pthread_mutex_unlock(&proxy->lock);
    if (dropped)
        return;
    struct parcel *parcel = new_parcel(bytes, broken ? size / 2 : size, due_ms);
    parcel->last = broken;
    if (swapped && half->swapped == NULL) {
        half->swapped = parcel;
        return;
    }
    append(half, parcel);
    if (doubled && !broken)
        append(half, new_parcel(bytes, size, due_ms));
    if (half->swapped != NULL)
        append(half, half->swapped);
    half->swapped = NULL;
}

/* Takes whole messages out of what was read. */
static void take_messages(struct proxy *proxy, struct half *half, const struct proxy_faults *faults)
{
    size_t at = 0;
    if (!half->shaken && half->used >= HANDSHAKE_BYTES) {
        append(half, new_parcel(half->partial, HANDSHAKE_BYTES, 0));
        half->shaken = true;
        at = HANDSHAKE_BYTES;
    }
    while (half->shaken && half->used - at >= LENGTH_BYTES) {
        uint64_t length = 0;
        for (size_t i = 0; i < LENGTH_BYTES; i++)
            length = length << 8 | half->partial[at + i];
        if (length > half->used - at - LENGTH_BYTES)
            break;
        queue_message(proxy, half, faults, half->partial + at, LENGTH_BYTES + (size_t)length);
        at += LENGTH_BYTES + (size_t)length;
    }
    half->used -= at;
    if (at > 0 && half->used > 0)
        memmove(half->partial, half->partial + at, half->used);
}

/* false: that end has gone. */
static bool read_half(struct proxy *proxy, struct half *half, const struct proxy_faults *faults)
{
    if (half->capacity - half->used < READ_BYTES) {
        half->capacity = half->used + 2 * READ_BYTES;
        half->partial = realloc(half->partial, half->capacity);
        if (half->partial == NULL)
            abort();
    }
    ssize_t got = recv(half->from, half->partial + half->used, READ_BYTES, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (got <= 0)
        return false;
    half->used += (size_t)got;
    take_messages(proxy, half, faults);
    return true;
}

static bool write_half(struct half *half, uint64_t now_ms)
{
    while (half->first != NULL && half->first->due_ms <= now_ms) {
        struct parcel *parcel = half->first;
        ssize_t sent = send(half->to, parcel->bytes + parcel->sent, parcel->size - parcel->sent,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        parcel->sent += (size_t)sent;
        if (parcel->sent < parcel->size)
            return true;
        bool last = parcel->last;
        half->queued_bytes -= parcel->size;
        half->first = parcel->next;
        if (half->first == NULL)
            half->last = &half->first;
        free(parcel);
        if (last)
            return false;
    }
    return true;
}

static void set_no_delay(int descriptor)
{
    const int on = 1;
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void accept_one(struct proxy *proxy)
{
    int client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct connection *connection = NULL;
    for (size_t i = 0; i < CONNECTIONS_MAX && connection == NULL; i++)
        if (!proxy->connections[i].open)
            connection = &proxy->connections[i];
    if (server < 0 || connection == NULL ||
        connect(server, (const struct sockaddr *)&proxy->target, sizeof proxy->target) != 0) {
        (void)close(client);
        if (server >= 0)
            (void)close(server);
        return;
    }
    set_no_delay(client);
    set_no_delay(server);
    connection->open = true;
    for (size_t way = 0; way < PROXY_WAYS; way++) {
        struct half *half = &connection->halves[way];
        bool to_server = way == PROXY_TO_SERVER;
        *half =
            (struct half){.from = to_server ? client : server, .to = to_server ? server : client};
        half->last = &half->first;
    }
}

struct orders {
    struct proxy_faults faults[PROXY_WAYS];
    bool held, stopping, cutting;
};

static struct orders take_orders(struct proxy *proxy)
{
    struct orders orders;
    (void)pthread_mutex_lock(&proxy->lock);
    memcpy(orders.faults, proxy->faults, sizeof orders.faults);
    orders.held = proxy->held;
    orders.stopping = proxy->stopping;
    orders.cutting = proxy->cutting;
    proxy->cutting = false;
    (void)pthread_mutex_unlock(&proxy->lock);
    return orders;
}

/* Waits for what can be done: two entries for each half, of what it reads and what it writes. */
static void wait_for_work(const struct proxy *proxy, bool held, struct pollfd *entries)
{
    nfds_t count = 0;
    uint64_t now_ms = clock_monotonic_ms();
    entries[count++] = (struct pollfd){.fd = held ? -1 : proxy->listener, .events = POLLIN};
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        for (size_t way = 0; way < PROXY_WAYS; way++) {
            const struct half *half = &proxy->connections[i].halves[way];
            bool works = proxy->connections[i].open && !held;
            bool reads = works && half->queued_bytes < QUEUE_BYTES_MAX;
            bool writes = works && half->first != NULL && half->first->due_ms <= now_ms;
            entries[count++] = (struct pollfd){.fd = reads ? half->from : -1, .events = POLLIN};
            entries[count++] = (struct pollfd){.fd = writes ? half->to : -1, .events = POLLOUT};
        }
    }
    (void)poll(entries, count, held ? TURN_MS : TURN_MS / 2);
}

static void serve(struct proxy *proxy, struct connection *connection, const struct pollfd *entries,
                  const struct orders *orders)
{
    uint64_t now_ms = clock_monotonic_ms();
    bool good = !orders->cutting;
    for (size_t way = 0; way < PROXY_WAYS && good; way++) {
        struct half *half = &connection->halves[way];
        if (entries[2 * way].revents != 0)
            good = read_half(proxy, half, &orders->faults[way]);
        good = good && write_half(half, now_ms);
    }
    if (!good)
        end_connection(connection);
}

static void *run(void *context)
{
    struct proxy *proxy = context;
    struct pollfd entries[1 + CONNECTIONS_MAX * PROXY_WAYS * 2];
    netns_enter(proxy->netns, proxy->there);
    bool held = false;
    for (;;) {
        wait_for_work(proxy, held, entries);
        /* After waiting: what comes after an order is treated by it. */
        struct orders orders = take_orders(proxy);
        held = orders.held;
        if (orders.stopping)
            break;
        if (orders.held && !orders.cutting)
            continue;
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
            if (proxy->connections[i].open)
                serve(proxy, &proxy->connections[i], &entries[1 + i * PROXY_WAYS * 2], &orders);
        if (entries[0].revents != 0)
            accept_one(proxy);
    }
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (proxy->connections[i].open)
            end_connection(&proxy->connections[i]);
    return NULL;
}

static bool to_socket_address(const struct address *address, struct sockaddr_in *out)
{
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(address->port)};
    return inet_pton(AF_INET, address->host, &out->sin_addr) == 1;
}

static bool listen_at(struct proxy *proxy, const struct address *address)
{
    struct sockaddr_in wanted;
    socklen_t size = sizeof wanted;
    const int on = 1;
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    proxy->address = *address;
    if (proxy->listener < 0 || !to_socket_address(address, &wanted))
        return false;
    (void)setsockopt(proxy->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(proxy->listener, (const struct sockaddr *)&wanted, sizeof wanted) != 0 ||
        listen(proxy->listener, CONNECTIONS_MAX) != 0 ||
        getsockname(proxy->listener, (struct sockaddr *)&wanted, &size) != 0)
        return false;
    proxy->address.port = ntohs(wanted.sin_port);
    return true;
}

struct proxy *proxy_open(struct netns *netns, size_t here, const struct address *listen,
                         size_t there, const struct address *target)
{
    struct proxy *proxy = calloc(1, sizeof *proxy);
    if (proxy == NULL)
        abort();
    proxy->netns = netns;
    proxy->there = there;
    (void)pthread_mutex_init(&proxy->lock, NULL);
    netns_enter(netns, here);
    bool good = listen_at(proxy, listen);
    netns_return(netns);
    good = good && to_socket_address(target, &proxy->target);
    if (good && pthread_create(&proxy->thread, NULL, run, proxy) == 0)
        return proxy;
    if (proxy->listener >= 0)
        (void)close(proxy->listener);
    free(proxy);
    return NULL;
}

void proxy_close(struct proxy *proxy)
{
    if (proxy == NULL)
        return;
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->stopping = true;
    (void)pthread_mutex_unlock(&proxy->lock);
    (void)pthread_join(proxy->thread, NULL);
    (void)close(proxy->listener);
    (void)pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}

struct address proxy_address(const struct proxy *proxy)
{
    return proxy->address;
}

void proxy_set(struct proxy *proxy, enum proxy_way way, const struct proxy_faults *faults)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->faults[way] = *faults;
    (void)pthread_mutex_unlock(&proxy->lock);
}

void proxy_hold(struct proxy *proxy, bool on)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->held = on;
    (void)pthread_mutex_unlock(&proxy->lock);
}

void proxy_cut(struct proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->cutting = true;
    (void)pthread_mutex_unlock(&proxy->lock);
}

uint64_t proxy_faults_made(struct proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    uint64_t count = proxy->faults_made;
    (void)pthread_mutex_unlock(&proxy->lock);
    return count;
}
