/* SPDX-License-Identifier: MIT */
/* Names with several addresses, and addresses where nobody answers. The resolver is the test's. */
#include "base/log.h"
#include "probe.h"
#include "rpc/dial.h"

#include <netdb.h>
#include <pthread.h>
#include <string.h>

#define NAME "several.test"

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
    struct probe *probe;
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

static struct probe *start_at(const char *host, uint16_t port)
{
    struct rpc_server_options options = {.address = {.port = port}};
    (void)strcpy(options.address.host, host);
    return probe_start(&options);
}

static void begin(struct fixture *f)
{
    f->probe = start_at("127.0.0.2", 0);
}

static void open_channel(struct fixture *f, const char *host, uint16_t port)
{
    struct address address = {.port = port};
    (void)strcpy(address.host, host);
    client_open(&f->client, &address,
                &(struct rpc_channel_options){
                    .reconnect_min_ms = 10, .reconnect_max_ms = 20, .refused = on_refused});
}

/* To the probe's port of NAME, which has these addresses. */
static void dial_name(struct fixture *f, const char *const *addresses)
{
    answer_with(addresses);
    open_channel(f, NAME, probe_address(f->probe)->port);
}

static void end(struct fixture *f)
{
    if (f->client.queue != NULL)
        client_close(&f->client);
    probe_stop(f->probe);
}

/* The kernel alone would try for two minutes, and less and less often. */
TEST_F(test_dial__ends_where_nobody_answers)
{
    struct silent silent;
    silent_open(&silent, "127.0.0.1", 0);
    uint64_t began_ms = clock_monotonic_ms();
    open_channel(f, "127.0.0.1", silent.address.port);
    WAIT_UNTIL(&f->client, f->refused >= 1);
    assert_int_equal(f->error, ERROR_TIMEOUT);
    assert_true(clock_monotonic_ms() - began_ms >= DIAL_TIMEOUT_MS);
    silent_close(&silent);
    struct probe *probe = start_at("127.0.0.1", silent.address.port);
    client_expect_service(&f->client);
    probe_stop(probe);
}

TEST_F(test_name__second_address)
{
    static const char *const second[] = {"127.0.0.3", "127.0.0.2", NULL};
    dial_name(f, second);
    client_expect_service(&f->client);
    assert_int_equal(f->refused, 0); /* only when all have failed */
}

TEST_F(test_name__second_address_is_of_another_family)
{
    static const char *const second_family[] = {"::1", "127.0.0.2", NULL};
    if (!probe_have_ipv6())
        skip();
    dial_name(f, second_family);
    client_expect_service(&f->client);
    assert_int_equal(f->refused, 0);
}

/* The next address does not wait until the first has failed. */
TEST_F(test_name__first_address_is_silent)
{
    static const char *const both[] = {"127.0.0.3", "127.0.0.2", NULL};
    struct silent silent;
    silent_open(&silent, "127.0.0.3", probe_address(f->probe)->port);
    size_t descriptors = count_descriptors();
    dial_name(f, both);
    client_expect_service(&f->client);
    assert_int_equal(f->refused, 0);
    client_close(&f->client);
    WAIT_UNTIL(NULL, count_descriptors() <= descriptors);
    silent_close(&silent);
}

TEST_F(test_name__resolved_anew)
{
    static const char *const before[] = {"127.0.0.3", NULL};
    static const char *const after[] = {"127.0.0.2", NULL};
    dial_name(f, NULL);
    WAIT_UNTIL(&f->client, f->refused >= 2);
    assert_int_equal(f->error, ERROR_NOT_FOUND);
    answer_with(before);
    WAIT_UNTIL(&f->client, f->error == ERROR_REFUSED);
    answer_with(after);
    client_expect_service(&f->client);
}

/* One name for two servers: whoever throws away the connection to one gets to the other. */
TEST_F(test_name__of_two_servers)
{
    static const char *const both[] = {"127.0.0.2", "127.0.0.3", NULL};
    struct probe *other = start_at("127.0.0.3", probe_address(f->probe)->port);
    dial_name(f, both);
    for (unsigned i = 0; i < 6; i++) {
        const struct probe_counters *counters = probe_counters(i % 2 == 0 ? f->probe : other);
        size_t before = counters->echoed;
        WAIT_UNTIL(&f->client, f->client.connected == i + 1);
        client_expect_service(&f->client);
        assert_int_equal(counters->echoed, before + 1);
        rpc_channel_reconnect(f->client.channel);
    }
    probe_stop(other);
}

/* A resolver that hangs holds up neither the owner nor other channels, and there is a bound. */
TEST_F(test_name__resolver_that_hangs)
{
    static const char *const one[] = {"127.0.0.2", NULL};
    static struct fixture fixtures[DIAL_RESOLVING_MAX];
    block(true);
    for (size_t i = 0; i < DIAL_RESOLVING_MAX; i++) {
        fixtures[i].probe = f->probe;
        dial_name(&fixtures[i], one);
    }
    WAIT_UNTIL(NULL, counted(&inside) == DIAL_RESOLVING_MAX);
    struct fixture *late = f;
    dial_name(late, one);
    WAIT_UNTIL(&late->client, late->refused >= 1);
    assert_int_equal(late->error, ERROR_FULL);
    for (size_t i = 1; i < DIAL_RESOLVING_MAX; i++)
        client_close(&fixtures[i].client);
    assert_int_equal(counted(&inside), DIAL_RESOLVING_MAX);
    block(false);
    client_expect_service(&fixtures[0].client);
    client_expect_service(&late->client);
    client_close(&fixtures[0].client);
}

/* An owner that asks for a new dial more often than the resolver answers gets its connection all the
 * same: the answer that comes is new enough. */
TEST_F(test_name__hurried_while_it_is_resolved)
{
    static const char *const one[] = {"127.0.0.2", NULL};
    block(true);
    unsigned before = counted(&asked);
    dial_name(f, one);
    WAIT_UNTIL(&f->client, counted(&inside) == 1);
    uint64_t until_ms = clock_monotonic_ms() + 260; /* dial_now leaves a younger dial alone */
    WAIT_UNTIL(&f->client, clock_monotonic_ms() >= until_ms);
    rpc_channel_reconnect(f->client.channel);
    block(false);
    client_expect_service(&f->client);
    assert_int_equal(counted(&asked), before + 1);
}

/* The certificate is checked against the name that was given, not against what it resolves to. */
TEST_F(test_name__in_the_certificate)
{
    static const char *const one[] = {"127.0.0.1", NULL};
    struct probe *probe = probe_start_tls("tls+tcp://127.0.0.1:0");
    struct address address = *probe_address(probe);
    (void)strcpy(address.host, NAME);
    answer_with(one);
    client_open(&f->client, &address,
                &(struct rpc_channel_options){.tls_authority = AUTHORITY,
                                              .reconnect_min_ms = 10,
                                              .reconnect_max_ms = 20,
                                              .refused = on_refused});
    WAIT_UNTIL(&f->client, f->refused >= 2);
    assert_int_equal(f->client.connected, 0);
    probe_stop(probe);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
