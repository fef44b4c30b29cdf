/* SPDX-License-Identifier: MIT */
#include "rpc/connections.h"

#include "base/clock.h"
#include "base/log.h"
#include "rpc/transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HUNG_CLOSE_MS 20u /* instead of CONNECTIONS_CLOSE_MS, when one has hung before */

static atomic_size_t hanging;              /* calls of nng_close whose callers have gone on */
static _Atomic(struct connections *) hung; /* never freed; from here leak checkers reach them */

void connections_init(struct connections *connections)
{
    *connections = (struct connections){.closing = false};
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&connections->mutex, NULL);
    (void)pthread_cond_init(&connections->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

void connections_release(struct connections *connections)
{
    (void)pthread_cond_destroy(&connections->changed);
    (void)pthread_mutex_destroy(&connections->mutex);
    free(connections->ids);
}

static bool add(struct connections *connections, uint32_t id)
{
    if (connections->count == connections->capacity) {
        size_t capacity = connections->capacity == 0 ? 4 : connections->capacity * 2;
        uint32_t *ids = realloc(connections->ids, capacity * sizeof *ids);
        if (ids == NULL)
            return false;
        connections->ids = ids;
        connections->capacity = capacity;
    }
    connections->ids[connections->count++] = id;
    return true;
}

/* false: it was never added. */
static bool take_out(struct connections *connections, uint32_t id)
{
    for (size_t i = 0; i < connections->count; i++) {
        if (connections->ids[i] != id)
            continue;
        connections->ids[i] = connections->ids[--connections->count];
        (void)pthread_cond_signal(&connections->changed);
        return true;
    }
    return false;
}

bool connections_enter(struct connections *connections, nng_pipe pipe, nng_pipe_ev what)
{
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    (void)pthread_mutex_lock(&connections->mutex);
    bool is_new = what == NNG_PIPE_EV_ADD_PRE;
    bool is_ours = is_new ? !connections->closing && add(connections, id)
                          : take_out(connections, id) && !connections->closing;
    if (is_ours)
        return true; /* with the mutex */
    (void)pthread_mutex_unlock(&connections->mutex);
    if (is_new)
        (void)nng_pipe_close(pipe);
    return false;
}

void connections_leave(struct connections *connections)
{
    (void)pthread_mutex_unlock(&connections->mutex);
}

void connections_stop(struct connections *connections)
{
    (void)pthread_mutex_lock(&connections->mutex);
    connections->closing = true;
    (void)pthread_mutex_unlock(&connections->mutex);
}

static struct timespec from_now(uint32_t ms)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += ms / 1000;
    time.tv_nsec += (long)(ms % 1000) * 1000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_nsec -= 1000000000;
        time.tv_sec++;
    }
    return time;
}

/* ---- ending connections below nng ---- */

/* The two ends of a connection. */
struct ends {
    nng_sockaddr local;
    nng_sockaddr remote;
};

static bool ends_of_pipe(nng_pipe pipe, struct ends *ends)
{
    return nng_pipe_get_addr(pipe, NNG_OPT_LOCADDR, &ends->local) == 0 &&
           nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &ends->remote) == 0;
}

static bool convert(const struct sockaddr_storage *from, nng_sockaddr *to)
{
    *to = (nng_sockaddr){.s_family = NNG_AF_UNSPEC};
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        to->s_in.sa_family = NNG_AF_INET;
        to->s_in.sa_port = in->sin_port;
        to->s_in.sa_addr = in->sin_addr.s_addr;
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
        to->s_in6.sa_family = NNG_AF_INET6;
        to->s_in6.sa_port = in6->sin6_port;
        memcpy(to->s_in6.sa_addr, &in6->sin6_addr, sizeof to->s_in6.sa_addr);
    }
    return to->s_family != NNG_AF_UNSPEC;
}

static bool ends_of_descriptor(int descriptor, struct ends *ends)
{
    struct sockaddr_storage local;
    struct sockaddr_storage remote;
    socklen_t local_size = sizeof local;
    socklen_t remote_size = sizeof remote;
    return getsockname(descriptor, (struct sockaddr *)&local, &local_size) == 0 &&
           getpeername(descriptor, (struct sockaddr *)&remote, &remote_size) == 0 &&
           convert(&local, &ends->local) && convert(&remote, &ends->remote);
}

static bool is_same(const nng_sockaddr *left, const nng_sockaddr *right)
{
    if (left->s_family != right->s_family)
        return false;
    if (left->s_family == NNG_AF_INET)
        return left->s_in.sa_port == right->s_in.sa_port &&
               left->s_in.sa_addr == right->s_in.sa_addr;
    return left->s_in6.sa_port == right->s_in6.sa_port &&
           memcmp(left->s_in6.sa_addr, right->s_in6.sa_addr, sizeof left->s_in6.sa_addr) == 0;
}

static bool is_among(const struct ends *ends, const struct ends *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_same(&ends->remote, &wanted[i].remote) && is_same(&ends->local, &wanted[i].local))
            return true;
    return false;
}

/* Shuts down those of this process's TCP connections that are among wanted; returns how many. The
 * peer still receives the bytes sent before. The kernel resets the connection if its peer goes on
 * sending. */
static size_t shut_down(const struct ends *wanted, size_t count)
{
    DIR *folder = count == 0 ? NULL : opendir("/proc/self/fd");
    if (folder == NULL)
        return 0;
    size_t ended = 0;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        struct ends ends;
        int original = (int)strtol(entry->d_name, NULL, 10);
        if (!ends_of_descriptor(original, &ends) || !is_among(&ends, wanted, count))
            continue;
        /* nng may have closed it by now, and the number may be another connection's. */
        int copy = fcntl(original, F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            continue;
        if (ends_of_descriptor(copy, &ends) && is_among(&ends, wanted, count)) {
            (void)shutdown(copy, SHUT_RDWR);
            ended++;
        }
        (void)close(copy);
    }
    (void)closedir(folder);
    return ended;
}

/* One connection that has been shut down, or had ended. */
struct connection_end {
    nng_pipe pipe;
    nng_aio *aio;
};

static void on_drained(void *argument)
{
    struct connection_end *ending = argument;
    (void)nng_pipe_close(ending->pipe); /* where it has not gone by itself */
    nng_aio_reap(ending->aio);
    free(ending);
}

void connections_end(nng_pipe pipe, bool has_tls)
{
    struct ends ends;
    if (has_tls && ends_of_pipe(pipe, &ends))
        (void)shut_down(&ends, 1);
    struct connection_end *ending = has_tls ? malloc(sizeof *ending) : NULL;
    if (ending == NULL || nng_aio_alloc(&ending->aio, on_drained, ending) != 0) {
        free(ending);
        (void)nng_pipe_close(pipe);
        return;
    }
    ending->pipe = pipe;
    nng_sleep_aio(CONNECTIONS_DRAIN_MS, ending->aio);
}

/* With the mutex. */
static void shut_down_all(const struct connections *connections)
{
    struct ends *wanted = calloc(connections->count, sizeof *wanted);
    size_t count = 0;
    for (size_t i = 0; wanted != NULL && i < connections->count; i++)
        if (ends_of_pipe((nng_pipe){.id = connections->ids[i]}, &wanted[count]))
            count++;
    (void)shut_down(wanted, count);
    free(wanted);
}

/* With the mutex, which it gives away while it waits. */
static void wait_for_ends(struct connections *connections, uint32_t at_most_ms)
{
    const struct timespec until = from_now(at_most_ms);
    int result = 0;
    while (connections->count > 0 && result == 0)
        result = pthread_cond_timedwait(&connections->changed, &connections->mutex, &until);
}

static void end_all(struct connections *connections, bool has_tls)
{
    (void)pthread_mutex_lock(&connections->mutex);
    connections->closing = true;
    if (has_tls && connections->count > 0) {
        shut_down_all(connections);
        wait_for_ends(connections, CONNECTIONS_DRAIN_MS);
        /* nng calls nothing back from here: its reaper does, and waits for the mutex meanwhile. */
        for (size_t i = 0; i < connections->count; i++)
            (void)nng_pipe_close((nng_pipe){.id = connections->ids[i]});
        wait_for_ends(connections, atomic_load(&hanging) > 0 ? HUNG_CLOSE_MS : CONNECTIONS_END_MS);
    }
    (void)pthread_mutex_unlock(&connections->mutex);
}

/* ---- nng_close, with a bound ---- */

/* Shared by two threads; the second one that drops it frees it. */
struct socket_close {
    nng_socket socket;
    sem_t done;
    atomic_bool is_decided; /* it has returned, or its caller has gone on */
    atomic_int references;
};

static void let_go(struct socket_close *closing)
{
    if (atomic_fetch_sub(&closing->references, 1) != 1)
        return;
    (void)sem_destroy(&closing->done);
    free(closing);
}

static void *close_socket(void *argument)
{
    struct socket_close *closing = argument;
    (void)nng_close(closing->socket);
    if (atomic_exchange(&closing->is_decided, true))
        (void)atomic_fetch_sub(&hanging, 1);
    (void)sem_post(&closing->done);
    let_go(closing);
    return NULL;
}

/* NULL: without memory or thread for it. */
static struct socket_close *start_closing(nng_socket socket)
{
    struct socket_close *closing = malloc(sizeof *closing);
    if (closing == NULL)
        return NULL;
    closing->socket = socket;
    (void)sem_init(&closing->done, 0, 0);
    atomic_init(&closing->is_decided, false);
    atomic_init(&closing->references, 2);
    if (!transport_start_thread(close_socket, closing)) {
        (void)sem_destroy(&closing->done);
        free(closing);
        return NULL;
    }
    return closing;
}

static void note_hung(struct connections *connections)
{
    connections->next_hung = atomic_load(&hung);
    while (!atomic_compare_exchange_weak(&hung, &connections->next_hung, connections))
        continue;
    log_warning("rpc", "close_hangs", log_number("after_ms", CONNECTIONS_CLOSE_MS),
                log_number("hanging", atomic_load(&hanging)));
}

bool connections_close(struct connections *connections, nng_socket socket, bool has_tls)
{
    end_all(connections, has_tls);
    const struct timespec until =
        from_now(atomic_load(&hanging) > 0 ? HUNG_CLOSE_MS : CONNECTIONS_CLOSE_MS);
    struct socket_close *closing = start_closing(socket);
    if (closing == NULL)
        return nng_close(socket) == 0;
    int result;
    do
        result = sem_clockwait(&closing->done, CLOCK_MONOTONIC, &until);
    while (result != 0 && errno == EINTR);
    /* Not the semaphore's result: thread sanitizers do not know sem_clockwait. */
    bool is_closed = atomic_load(&closing->is_decided);
    if (!is_closed) {
        (void)atomic_fetch_add(&hanging, 1); /* first: the thread may take it back at once */
        if (atomic_exchange(&closing->is_decided, true)) {
            (void)atomic_fetch_sub(&hanging, 1);
            is_closed = true;
        }
    }
    let_go(closing);
    if (!is_closed)
        note_hung(connections);
    return is_closed;
}

size_t connections_hanging(void)
{
    return atomic_load(&hanging);
}
