/* SPDX-License-Identifier: MIT */
#include "rpc/dial.h"

#include "base/clock.h"
#include "rpc/connections.h"
#include "rpc/dial_failures.h"
#include "rpc/transport.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define AGAIN_MS 250u     /* dial_now leaves a younger dial alone */
#define NEVER_MS 86400000 /* nng's pause between dials: these are begun here */
#define HOST_SIZE INET6_ADDRSTRLEN

struct dial {
    struct dial_options options;
    struct dial_watch watch;
    atomic_int references; /* the owner's, the thread's */

    pthread_mutex_t mutex; /* protects the rest, except for what is the thread's */
    pthread_cond_t changed;
    bool stopped;
    bool hurried;
    bool elsewhere;     /* the next dial does not begin with `latest` */
    int pipe;           /* the connection; 0: none */
    bool was_connected; /* in this dial, if only for a moment */
    uint32_t dialer;    /* that made the connection */
    uint64_t connected_ms;
    uint64_t began_ms;
    size_t begun;  /* addresses of this dial that were begun, */
    size_t failed; /* and those of them that have failed */
    enum error error;
    size_t addresses; /* of the latest dial */

    /* The thread's. */
    char hosts[DIAL_ADDRESSES_MAX][HOST_SIZE]; /* in the order of dialling */
    nng_dialer dialers[DIAL_ADDRESSES_MAX];    /* [begun]; id 0: none */
    size_t count;
    char latest[HOST_SIZE]; /* the address of the latest connection; "": none */
};

static atomic_uint resolving; /* threads within getaddrinfo */

static void release(struct dial *dial)
{
    if (atomic_fetch_sub(&dial->references, 1) != 1)
        return;
    (void)pthread_cond_destroy(&dial->changed);
    (void)pthread_mutex_destroy(&dial->mutex);
    free(dial);
}

static void wait_until(struct dial *dial, uint64_t at_ms)
{
    struct timespec at = {.tv_sec = (time_t)(at_ms / 1000),
                          .tv_nsec = (long)(at_ms % 1000) * 1000000};
    (void)pthread_cond_timedwait(&dial->changed, &dial->mutex, &at);
}

/* Where the thread is not to wait on. */
static bool is_disturbed(const struct dial *dial)
{
    return dial->stopped || dial->hurried;
}

/* ---- resolving ---- */

struct host_list {
    char hosts[2][DIAL_ADDRESSES_MAX][HOST_SIZE]; /* by family, in the resolver's order */
    size_t counts[2];
    int first_family;
};

static void sort_in(struct host_list *found, const struct addrinfo *item)
{
    if (item->ai_family != AF_INET && item->ai_family != AF_INET6)
        return;
    size_t family = item->ai_family == AF_INET6;
    if (found->counts[0] + found->counts[1] == 0)
        found->first_family = (int)family;
    char host[HOST_SIZE];
    if (found->counts[family] == DIAL_ADDRESSES_MAX ||
        getnameinfo(item->ai_addr, item->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) !=
            0)
        return;
    for (size_t i = 0; i < found->counts[family]; i++)
        if (strcmp(found->hosts[family][i], host) == 0)
            return;
    memcpy(found->hosts[family][found->counts[family]++], host, sizeof host);
}

/* Families alternate, beginning with the resolver's first. Without the mutex. */
static void interleave(struct dial *dial, const struct host_list *found)
{
    size_t next[2] = {0, 0};
    size_t family = (size_t)found->first_family;
    dial->count = 0;
    while (dial->count < DIAL_ADDRESSES_MAX &&
           (next[0] < found->counts[0] || next[1] < found->counts[1])) {
        if (next[family] < found->counts[family])
            memcpy(dial->hosts[dial->count++], found->hosts[family][next[family]++], HOST_SIZE);
        family = 1 - family;
    }
}

static enum error resolve(struct dial *dial)
{
    const struct address *address = &dial->options.address;
    const char *host = address->host[0] == '\0' ? "127.0.0.1" : address->host;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    dial->count = 0;
    int result = EAI_AGAIN;
    bool may = atomic_fetch_add(&resolving, 1) < DIAL_RESOLVING_MAX;
    if (may)
        result = getaddrinfo(host, NULL, &hints, &list);
    (void)atomic_fetch_sub(&resolving, 1);
    if (!may)
        return ERROR_FULL;
    if (result != 0)
        return result == EAI_MEMORY ? ERROR_NO_MEMORY : ERROR_NOT_FOUND;
    struct host_list found = {.first_family = 0};
    for (const struct addrinfo *item = list; item != NULL; item = item->ai_next)
        sort_in(&found, item);
    freeaddrinfo(list);
    interleave(dial, &found);
    return dial->count > 0 ? OK : ERROR_NOT_FOUND;
}

/* Begins with the latest address, or with the one after it. With the mutex. */
static void rotate(struct dial *dial)
{
    size_t first = 0;
    for (size_t i = 0; i < dial->count; i++)
        if (strcmp(dial->hosts[i], dial->latest) == 0)
            first = dial->elsewhere ? (i + 1) % dial->count : i;
    dial->elsewhere = false;
    char hosts[DIAL_ADDRESSES_MAX][HOST_SIZE];
    memcpy(hosts, dial->hosts, sizeof hosts);
    for (size_t i = 0; i < dial->count; i++)
        memcpy(dial->hosts[i], hosts[(first + i) % dial->count], HOST_SIZE);
}

/* ---- dialling, on the thread, with the mutex ---- */

static enum error create_dialer(const struct dial *dial, const char *host, nng_dialer *out,
                                struct error_text *why)
{
    struct address address = dial->options.address;
    if (host != NULL)
        (void)snprintf(address.host, sizeof address.host, "%s", host);
    char url[ADDRESS_TEXT_SIZE];
    address_dial_url(&address, url);
    int result = nng_dialer_create(out, dial->options.socket, url);
    if (result != 0)
        return error_set(why, transport_error(result), "connect to %s: %s", url,
                         transport_problem(result));
    if (!address.tls)
        return OK;
    enum error error = transport_tls_dialer(*out, dial->options.tls, why);
    if (error != OK)
        (void)nng_dialer_close(*out);
    return error;
}

static void note_failure(struct dial *dial, enum error error)
{
    dial->failed++;
    if (dial->error == OK || error != ERROR_REFUSED)
        dial->error = error;
}

static void begin_next(struct dial *dial)
{
    nng_dialer *dialer = &dial->dialers[dial->begun];
    *dialer = (nng_dialer)NNG_DIALER_INITIALIZER;
    const char *host = dial->hosts[dial->begun++];
    dial->began_ms = clock_monotonic_ms();
    enum error error = create_dialer(dial, host, dialer, NULL);
    if (error == OK)
        error = transport_error(nng_dialer_start(*dialer, NNG_FLAG_NONBLOCK));
    if (error != OK)
        note_failure(dial, error);
}

/* All but that of the connection. Releases the mutex, because nng may be about to report a
 * connection. */
static void close_dialers(struct dial *dial)
{
    uint32_t used = dial->was_connected ? dial->dialer : 0;
    bool is_kept = dial->pipe != 0;
    (void)pthread_mutex_unlock(&dial->mutex);
    for (size_t i = 0; i < dial->begun; i++) {
        nng_dialer *dialer = &dial->dialers[i];
        if (dialer->id == 0)
            continue;
        if (dialer->id == used)
            memcpy(dial->latest, dial->hosts[i], sizeof dial->latest);
        if (dialer->id == used && is_kept)
            continue;
        (void)nng_dialer_close(*dialer);
        dialer->id = 0;
    }
    (void)pthread_mutex_lock(&dial->mutex);
}

/* OK: there is a connection, or the thread is not to wait on. */
static enum error dial_all(struct dial *dial)
{
    dial->error = OK;
    while (!dial->was_connected && !is_disturbed(dial)) {
        uint64_t now_ms = clock_monotonic_ms();
        bool has_more = dial->begun < dial->count;
        if (has_more && (dial->failed == dial->begun || now_ms >= dial->began_ms + DIAL_NEXT_MS)) {
            begin_next(dial);
            continue;
        }
        if (!has_more && dial->failed >= dial->begun)
            return dial->error;
        if (now_ms >= dial->began_ms + DIAL_TIMEOUT_MS)
            return ERROR_TIMEOUT;
        wait_until(dial, dial->began_ms + (has_more ? DIAL_NEXT_MS : DIAL_TIMEOUT_MS));
    }
    return OK;
}

static void rest(struct dial *dial, uint32_t below_ms)
{
    uint64_t until_ms = clock_monotonic_ms() + (below_ms == 0 ? 0 : nng_random() % below_ms);
    while (!is_disturbed(dial) && clock_monotonic_ms() < until_ms)
        wait_until(dial, until_ms);
}

/* One dial, and the life of the connection that it makes. With the mutex. */
static enum error dial_once(struct dial *dial)
{
    dial->was_connected = false;
    dial->began_ms = clock_monotonic_ms();
    dial->begun = 0;
    dial->failed = 0;
    (void)pthread_mutex_unlock(&dial->mutex);
    enum error error = resolve(dial);
    (void)pthread_mutex_lock(&dial->mutex);
    dial->hurried = false; /* or a slow resolver would be asked for ever */
    if (dial->stopped)
        return OK;
    dial->addresses = dial->count;
    rotate(dial);
    if (error == OK)
        error = dial_all(dial);
    if (!dial->stopped)
        close_dialers(dial);
    while (dial->pipe != 0 && !dial->stopped)
        (void)pthread_cond_wait(&dial->changed, &dial->mutex);
    if (!dial->stopped) {
        close_dialers(dial);
        dial->begun = 0;
    }
    return error;
}

/* If the peer accepts and soon ends the connection, for example because it is full, the dial counts
 * as failed. With the mutex. */
static bool has_succeeded(const struct dial *dial, enum error error)
{
    bool is_brief = dial->was_connected && !dial->elsewhere &&
                    clock_monotonic_ms() - dial->connected_ms < DIAL_BRIEF_MS;
    return error == OK && !is_brief;
}

/* nng leaks the descriptor of a connection whose handshake moves on in the moment in which its socket is
 * closed, and gives up a handshake itself after 10 s. With the mutex. */
static void wait_for_handshakes(struct dial *dial)
{
    uint64_t until_ms = dial->began_ms + DIAL_END_MS;
    while (!dial->was_connected && dial->failed < dial->begun && clock_monotonic_ms() < until_ms)
        wait_until(dial, until_ms);
}

/* After `closed` the thread uses no data of the owner. */
static void close_socket(struct dial *dial)
{
    const struct dial_options *options = &dial->options;
    dial_failures_forget(&dial->watch);
    if (connections_close(options->connections, options->socket, options->address.tls))
        options->closed(options->context);
}

static void *run(void *argument)
{
    struct dial *dial = argument;
    const struct dial_options *options = &dial->options;
    uint32_t pause_ms = options->pause_min_ms;
    (void)pthread_mutex_lock(&dial->mutex);
    while (!dial->stopped) {
        enum error error = dial_once(dial);
        if (dial->stopped)
            break;
        if (error != OK && options->failed != NULL)
            options->failed(options->context, error);
        bool is_success = has_succeeded(dial, error);
        pause_ms = is_success ? options->pause_min_ms : pause_ms;
        rest(dial, pause_ms);
        if (!is_success)
            pause_ms = pause_ms < options->pause_max_ms / 2 ? pause_ms * 2 : options->pause_max_ms;
    }
    wait_for_handshakes(dial);
    (void)pthread_mutex_unlock(&dial->mutex);
    close_socket(dial);
    release(dial);
    return NULL;
}

/* ---- on nng's threads ---- */

static void on_failed(void *context, enum error error)
{
    struct dial *dial = context;
    (void)pthread_mutex_lock(&dial->mutex);
    note_failure(dial, error);
    (void)pthread_cond_broadcast(&dial->changed);
    (void)pthread_mutex_unlock(&dial->mutex);
}

bool dial_connected(struct dial *dial, nng_pipe pipe)
{
    (void)pthread_mutex_lock(&dial->mutex);
    bool is_first = dial->pipe == 0 && !dial->stopped;
    dial->was_connected = true;
    if (is_first) {
        dial->pipe = nng_pipe_id(pipe);
        dial->dialer = nng_pipe_dialer(pipe).id;
        dial->connected_ms = clock_monotonic_ms();
    }
    (void)pthread_cond_broadcast(&dial->changed);
    (void)pthread_mutex_unlock(&dial->mutex);
    return is_first;
}

void dial_lost(struct dial *dial, nng_pipe pipe)
{
    (void)pthread_mutex_lock(&dial->mutex);
    if (dial->pipe == nng_pipe_id(pipe))
        dial->pipe = 0;
    (void)pthread_cond_broadcast(&dial->changed);
    (void)pthread_mutex_unlock(&dial->mutex);
}

/* ---- the owner's thread ---- */

/* Errors of the address or the certificate are returned at once. */
static enum error check(struct dial *dial, struct error_text *why)
{
    nng_dialer dialer;
    int result =
        nng_socket_set_ms(dial->options.socket, NNG_OPT_RECONNMINT, (nng_duration)NEVER_MS);
    if (result == 0)
        result = nng_socket_set_ms(dial->options.socket, NNG_OPT_RECONNMAXT, NEVER_MS);
    if (result != 0)
        return error_set(why, transport_error(result), "dial: %s", transport_problem(result));
    enum error error = create_dialer(dial, NULL, &dialer, why);
    if (error == OK)
        (void)nng_dialer_close(dialer);
    return error;
}

enum error dial_start(struct dial **out, const struct dial_options *options, struct error_text *why)
{
    struct dial *dial = calloc(1, sizeof *dial);
    if (dial == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    dial->options = *options;
    atomic_init(&dial->references, 2);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&dial->mutex, NULL);
    (void)pthread_cond_init(&dial->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    *out = dial; /* callbacks of connections use it from the thread's start on */
    enum error error = check(dial, why);
    dial->watch = (struct dial_watch){
        .socket = (uint32_t)nng_socket_id(options->socket), .context = dial, .failed = on_failed};
    dial_failures_watch(&dial->watch);
    if (error == OK && !transport_start_thread(run, dial))
        error = error_set(why, ERROR_FULL, "no thread to dial from");
    if (error == OK)
        return OK;
    *out = NULL;
    dial_failures_forget(&dial->watch);
    release(dial);
    release(dial);
    return error;
}

void dial_stop(struct dial *dial)
{
    (void)pthread_mutex_lock(&dial->mutex);
    dial->stopped = true;
    (void)pthread_cond_broadcast(&dial->changed);
    (void)pthread_mutex_unlock(&dial->mutex);
}

void dial_free(struct dial *dial)
{
    if (dial != NULL)
        release(dial);
}

void dial_elsewhere(struct dial *dial)
{
    (void)pthread_mutex_lock(&dial->mutex);
    dial->elsewhere = true;
    (void)pthread_mutex_unlock(&dial->mutex);
}

size_t dial_addresses(struct dial *dial)
{
    (void)pthread_mutex_lock(&dial->mutex);
    size_t addresses = dial->addresses;
    (void)pthread_mutex_unlock(&dial->mutex);
    return addresses;
}

void dial_now(struct dial *dial)
{
    (void)pthread_mutex_lock(&dial->mutex);
    if (dial->pipe == 0 && clock_monotonic_ms() - dial->began_ms >= AGAIN_MS)
        dial->hurried = true;
    (void)pthread_cond_broadcast(&dial->changed);
    (void)pthread_mutex_unlock(&dial->mutex);
}
