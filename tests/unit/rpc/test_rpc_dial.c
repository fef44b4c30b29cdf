/* SPDX-License-Identifier: MIT */
/* Names with several addresses, and addresses where nobody answers. The resolver is the test's. */
#include "base/clock.h"
#include "base/log.h"
#include "probe.h"
#include "rpc/dial.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME "several.test"
#define SILENT_SOCKETS 8

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static const char *const *answers; /* to NAME, in order; NULL-terminated; NULL: no such name */
static bool is_blocked;
static unsigned asked; /* for NAME */
static unsigned inside;

static void answer_with(const char *const *addresses)
{
    (void)pthread_mutex_lock(&mutex);
    answers = addresses;
    (void)pthread_mutex_unlock(&mutex);
}

static void block(bool on)
{
    (void)pthread_mutex_lock(&mutex);
    is_blocked = on;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
}

static unsigned counted(const unsigned *counter)
{
    (void)pthread_mutex_lock(&mutex);
    unsigned value = *counter;
    (void)pthread_mutex_unlock(&mutex);
    return value;
}

int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out)
{
    if (node == NULL || strcmp(node, NAME) != 0)
        return __real_getaddrinfo(node, service, hints, out);
    (void)pthread_mutex_lock(&mutex);
    asked++;
    inside++;
    while (is_blocked)
        (void)pthread_cond_wait(&changed, &mutex);
    inside--;
    const char *const *addresses = answers;
    (void)pthread_mutex_unlock(&mutex);
    struct addrinfo **end = out;
    *out = NULL;
    for (size_t i = 0; addresses != NULL && addresses[i] != NULL; i++) {
        int result = __real_getaddrinfo(addresses[i], service, hints, end);
        assert_int_equal(result, 0);
        while (*end != NULL)
            end = &(*end)->ai_next;
    }
    return *out == NULL ? EAI_NONAME : 0;
}

struct fixture {
    struct client client; /* first: what callbacks get */
    unsigned refused;
    enum error error;
};

static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct fixture *fixture = context;
    (void)channel;
    fixture->refused++;
    fixture->error = error;
}

static void open_channel(struct fixture *fixture, const char *host, uint16_t port)
{
    struct address address = {.port = port};
    (void)strcpy(address.host, host);
    *fixture = (struct fixture){.refused = 0};
    client_open(&fixture->client, &address,
                &(struct rpc_channel_options){
                    .reconnect_min_ms = 10, .reconnect_max_ms = 20, .refused = on_refused});
}

static struct probe *start_at(const char *host, uint16_t port)
{
    struct rpc_server_options options = {.address = {.port = port}};
    (void)strcpy(options.address.host, host);
    return probe_start(&options);
}

/* A listener that is full: what is sent to it is dropped, as by a machine that is gone. */
struct silent {
    int listener;
    int filling[SILENT_SOCKETS];
};

static void silence(struct silent *silent, const char *host, uint16_t *port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t size = sizeof name;
    assert_int_equal(inet_pton(AF_INET, host, &name.sin_addr), 1);
    silent->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    (void)setsockopt(silent->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(silent->listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(silent->listener, 0), 0);
    assert_int_equal(getsockname(silent->listener, (struct sockaddr *)&name, &size), 0);
    *port = ntohs(name.sin_port);
    for (size_t i = 0; i < SILENT_SOCKETS; i++) {
        silent->filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(silent->filling[i], (struct sockaddr *)&name, size);
    }
}

static void unsilence(struct silent *silent)
{
    (void)close(silent->listener);
    for (size_t i = 0; i < SILENT_SOCKETS; i++)
        (void)close(silent->filling[i]);
}

/* The kernel alone would try for two minutes, and less and less often. */
TEST(test_dial__ends_where_nobody_answers)
{
    struct fixture fixture;
    struct silent silent;
    uint16_t port = 0;
    silence(&silent, "127.0.0.1", &port);
    uint64_t began_ms = clock_monotonic_ms();
    open_channel(&fixture, "127.0.0.1", port);
    WAIT_UNTIL(&fixture.client, fixture.refused >= 1);
    assert_int_equal(fixture.error, ERROR_TIMEOUT);
    assert_true(clock_monotonic_ms() - began_ms >= DIAL_TIMEOUT_MS);
    unsilence(&silent);
    struct probe *probe = start_at("127.0.0.1", port);
    client_expect_service(&fixture.client);
    client_close(&fixture.client);
    probe_stop(probe);
}

TEST(test_name__second_address)
{
    static const char *const second[] = {"127.0.0.3", "127.0.0.2", NULL};
    static const char *const second_family[] = {"::1", "127.0.0.2", NULL};
    struct probe *probe = start_at("127.0.0.2", 0);
    for (int i = 0; i < (probe_have_ipv6() ? 2 : 1); i++) {
        struct fixture fixture;
        answer_with(i == 0 ? second : second_family);
        open_channel(&fixture, NAME, probe_address(probe)->port);
        client_expect_service(&fixture.client);
        assert_int_equal(fixture.refused, 0); /* only when all have failed */
        client_close(&fixture.client);
    }
    probe_stop(probe);
}

/* The next address does not wait until the first has failed. */
TEST(test_name__first_address_is_silent)
{
    static const char *const both[] = {"127.0.0.3", "127.0.0.2", NULL};
    struct fixture fixture;
    struct silent silent;
    struct probe *probe = start_at("127.0.0.2", 0);
    uint16_t port = probe_address(probe)->port;
    silence(&silent, "127.0.0.3", &port);
    answer_with(both);
    size_t descriptors = count_descriptors();
    open_channel(&fixture, NAME, port);
    client_expect_service(&fixture.client);
    assert_int_equal(fixture.refused, 0);
    client_close(&fixture.client);
    WAIT_UNTIL(NULL, count_descriptors() <= descriptors);
    unsilence(&silent);
    probe_stop(probe);
}

TEST(test_name__resolved_anew)
{
    static const char *const before[] = {"127.0.0.3", NULL};
    static const char *const after[] = {"127.0.0.2", NULL};
    struct fixture fixture;
    struct probe *probe = start_at("127.0.0.2", 0);
    answer_with(NULL);
    open_channel(&fixture, NAME, probe_address(probe)->port);
    WAIT_UNTIL(&fixture.client, fixture.refused >= 2);
    assert_int_equal(fixture.error, ERROR_NOT_FOUND);
    answer_with(before);
    WAIT_UNTIL(&fixture.client, fixture.error == ERROR_REFUSED);
    answer_with(after);
    client_expect_service(&fixture.client);
    client_close(&fixture.client);
    probe_stop(probe);
}

/* One name for two servers: whoever throws away the connection to one gets to the other. */
TEST(test_name__of_two_servers)
{
    static const char *const both[] = {"127.0.0.2", "127.0.0.3", NULL};
    struct fixture fixture;
    struct probe *probes[2] = {start_at("127.0.0.2", 0)};
    probes[1] = start_at("127.0.0.3", probe_address(probes[0])->port);
    answer_with(both);
    open_channel(&fixture, NAME, probe_address(probes[0])->port);
    for (unsigned i = 0; i < 6; i++) {
        size_t before = probe_counters(probes[i % 2])->echoed;
        WAIT_UNTIL(&fixture.client, fixture.client.connected == i + 1);
        client_expect_service(&fixture.client);
        assert_int_equal(probe_counters(probes[i % 2])->echoed, before + 1);
        rpc_channel_reconnect(fixture.client.channel);
    }
    client_close(&fixture.client);
    probe_stop(probes[0]);
    probe_stop(probes[1]);
}

/* A resolver that hangs holds up neither the owner nor other channels, and there is a bound. */
TEST(test_name__resolver_that_hangs)
{
    static const char *const one[] = {"127.0.0.2", NULL};
    static struct fixture fixtures[DIAL_RESOLVING_MAX + 2];
    struct probe *probe = start_at("127.0.0.2", 0);
    answer_with(one);
    block(true);
    for (size_t i = 0; i < DIAL_RESOLVING_MAX; i++)
        open_channel(&fixtures[i], NAME, probe_address(probe)->port);
    WAIT_UNTIL(NULL, counted(&inside) == DIAL_RESOLVING_MAX);
    struct fixture *late = &fixtures[DIAL_RESOLVING_MAX];
    open_channel(late, NAME, probe_address(probe)->port);
    WAIT_UNTIL(&late->client, late->refused >= 1);
    assert_int_equal(late->error, ERROR_FULL);
    for (size_t i = 1; i < DIAL_RESOLVING_MAX; i++)
        client_close(&fixtures[i].client);
    assert_int_equal(counted(&inside), DIAL_RESOLVING_MAX);
    block(false);
    client_expect_service(&fixtures[0].client);
    client_expect_service(&late->client);
    client_close(&fixtures[0].client);
    client_close(&late->client);
    probe_stop(probe);
}

/* An owner that asks for a new dial more often than the resolver answers gets its connection all the
 * same: the answer that comes is new enough. */
TEST(test_name__hurried_while_it_is_resolved)
{
    static const char *const one[] = {"127.0.0.2", NULL};
    struct fixture fixture;
    struct probe *probe = start_at("127.0.0.2", 0);
    answer_with(one);
    block(true);
    unsigned before = counted(&asked);
    open_channel(&fixture, NAME, probe_address(probe)->port);
    WAIT_UNTIL(&fixture.client, counted(&inside) == 1);
    uint64_t until_ms = clock_monotonic_ms() + 260; /* dial_now leaves a younger dial alone */
    while (clock_monotonic_ms() < until_ms)
        client_turn(&fixture.client, 10);
    rpc_channel_reconnect(fixture.client.channel);
    block(false);
    client_expect_service(&fixture.client);
    assert_int_equal(counted(&asked), before + 1);
    client_close(&fixture.client);
    probe_stop(probe);
}

/* The certificate is checked against the name that was given, not against what it resolves to. */
TEST(test_name__in_the_certificate)
{
    static const char *const one[] = {"127.0.0.1", NULL};
    struct rpc_server_options options = {
        .address = {.host = "127.0.0.1", .tls = true},
        .tls_certificate = TLS_FILES "/server.pem", /* for localhost and 127.0.0.1 */
        .tls_key = TLS_FILES "/server.key",
    };
    struct probe *probe = probe_start(&options);
    struct fixture fixture = {.refused = 0};
    struct address address = *probe_address(probe);
    (void)strcpy(address.host, NAME);
    answer_with(one);
    client_open(&fixture.client, &address,
                &(struct rpc_channel_options){.tls_authority = TLS_FILES "/authority.pem",
                                              .reconnect_min_ms = 10,
                                              .reconnect_max_ms = 20,
                                              .refused = on_refused});
    WAIT_UNTIL(&fixture.client, fixture.refused >= 2);
    assert_int_equal(fixture.client.connected, 0);
    client_close(&fixture.client);
    probe_stop(probe);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
