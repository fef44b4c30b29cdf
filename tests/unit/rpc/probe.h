/* SPDX-License-Identifier: MIT */
/* probe.h - what the tests of src/rpc share: a server of the service Probe in a thread of its own,
 * and a client whose owner is the test's thread.
 *
 * The server's thread runs its queue, ticks and flushes as a real owner does. The test looks at it
 * through counters, which any thread may read, and changes it with probe_do, which runs a function
 * on the server's thread and waits for it. */
#ifndef JACKDAW_TESTS_PROBE_H
#define JACKDAW_TESTS_PROBE_H

#include "base/clock.h"
#include "harness/sp_peer.h"
#include "probe.pb-c.h"
#include "rpc/channel.h"
#include "rpc/server.h"
#include "spec.pb-c.h"
#include "support/test.h"

#include <semaphore.h>
#include <stdatomic.h>

#define PATIENCE_MS 60000

/* Runs the client's turns (NULL: just waits) until condition holds; fails the test when it does not
 * within PATIENCE_MS. */
#define WAIT_UNTIL(client, condition)                                \
    do {                                                             \
        uint64_t wait_until_ms = clock_monotonic_ms() + PATIENCE_MS; \
        while (!(condition)) {                                       \
            if (clock_monotonic_ms() > wait_until_ms)                \
                fail_msg("waited in vain for: %s", #condition);      \
            client_turn((client), 10);                               \
        }                                                            \
    } while (0)

/* Open descriptors of this process. */
size_t count_descriptors(void);

/* Bytes of its memory that are resident. */
size_t resident_bytes(void);

struct probe;

/* What the handler of Hold and Flow does when a call of its is cancelled. */
enum probe_on_cancel {
    PROBE_END_IT,  /* ends that call */
    PROBE_END_ALL, /* ends every call it holds, that one last */
    PROBE_KEEP_IT, /* does nothing: the test ends it later */
};

struct probe_counters {
    atomic_size_t echoed;
    atomic_size_t out_of_order; /* Echo and Hold: a number that is not one more than the last */
    atomic_size_t held;         /* calls of Hold and Flow that are open now */
    atomic_size_t held_ever;
    atomic_size_t cancelled;
    atomic_size_t credited;
    atomic_size_t pages;   /* sent by Flow */
    atomic_size_t working; /* calls of Work that a worker holds now */
    atomic_size_t worked;
};

/* options: address.port 0 for one from the kernel; queue is set by the probe. NULL: loopback and
 * defaults. Aborts when it cannot start. */
struct probe *probe_start(const struct rpc_server_options *options);

/* As above, but returns NULL when it cannot listen. */
struct probe *probe_try_start(const struct rpc_server_options *options, struct error_text *why);

/* Certificates for localhost, 127.0.0.1 and the like, and who signed them. TLS_FILES: from CMake. */
#define AUTHORITY TLS_FILES "/authority.pem"
#define OTHER_AUTHORITY TLS_FILES "/other_authority.pem"
#define CERTIFICATE TLS_FILES "/server.pem"
#define KEY TLS_FILES "/server.key"

/* Starts one with TLS, at an address such as tls+tcp://127.0.0.1:0. */
struct probe *probe_start_tls(const char *address);

/* Cancels what is open, frees the server, ends the thread. */
void probe_stop(struct probe *probe);

const struct address *probe_address(const struct probe *probe);
struct probe_counters *probe_counters(struct probe *probe);
struct rpc_server_stats probe_stats(struct probe *probe);
/* Reads the same counters on the caller's thread, while the owner is paused. */
struct rpc_server_stats probe_paused_stats(const struct probe *probe);
void probe_on_cancel(struct probe *probe, enum probe_on_cancel what);

/* Ends the `count` oldest calls of Hold with their text, or, with_status not OK, that way. */
void probe_release(struct probe *probe, size_t count, enum status with_status);

/* Runs function on the server's thread and waits for it. */
void probe_do(struct probe *probe, void (*function)(struct probe *probe, void *argument),
              void *argument);

/* The same without waiting: it runs after what is in the queue now. */
void probe_post(struct probe *probe, void (*function)(struct probe *probe, void *argument),
                void *argument);

/* For what probe_do and probe_post run: the server itself. */
struct rpc_server *probe_server(struct probe *probe);
struct task_queue *probe_queue(struct probe *probe);

/* Stops the server's thread until probe_resume: what arrives waits in its queue. */
void probe_pause(struct probe *probe);
void probe_resume(struct probe *probe);

/* Keeps the workers of Work from answering until they are let go. */
void probe_block_workers(struct probe *probe, bool block);

/* Starts to refuse calls, as a server that shuts down does. */
void probe_drain(struct probe *probe);

/* Frees the rpc_server alone, on its thread, with calls still open if on_cancel keeps them; the
 * thread goes on running its queue. */
void probe_free_server(struct probe *probe);

/* Whether this machine has IPv6, on loopback at least. */
bool probe_have_ipv6(void);

struct client {
    struct task_queue *queue;
    struct rpc_channel *channel;
    struct rpc_stub stub; /* bound to the channel */
    unsigned connected;   /* times */
    unsigned disconnected;
};

/* What a call came to. Pass &outcome.result as closure_data to the generated functions. */
struct outcome {
    struct rpc_result result; /* first */
    char message[256];        /* copies of what is borrowed during the closure */
    char master[64];
    unsigned replies; /* closures run */
    bool ended;
    uint64_t number;  /* of the last reply */
    uint64_t gaps;    /* Flow: pages that did not follow the one before */
    char text[128];   /* its beginning */
    size_t text_size; /* all of it */
    uint8_t token[64];
    size_t token_size;
    void *context; /* the test's */
    void (*then)(struct outcome *outcome);
};

/* Opens a channel to address; options NULL for defaults (queue and callbacks are the client's). */
void client_open(struct client *client, const struct address *address,
                 const struct rpc_channel_options *options);
void client_close(struct client *client);

/* Moves the clock of the probe's server to so far ahead of the real one, and returns when the server has acted on
 * it. The clock never goes back: a later call needs a longer timeout, or none. */
void probe_pass(struct probe *probe, uint64_t ahead_ms);

/* One turn of the owner: flush, wait up to timeout_ms, run, tick. */
void client_turn(struct client *client, int timeout_ms);

void client_echo(struct client *client, const char *text, uint64_t number, struct outcome *outcome);
void client_hold(struct client *client, const char *text, struct outcome *outcome);
void client_work(struct client *client, const char *text, struct outcome *outcome);
void client_flow(struct client *client, uint64_t pages, uint32_t page_bytes, uint32_t credits,
                 struct outcome *outcome);

/* The closures, for calls with other requests. */
void on_text(const Probe__Text *reply, void *outcome);
void on_page(const Probe__Page *reply, void *outcome);

/* Calls Echo and waits until the call has ended; returns what it came to. */
struct outcome client_ask(struct client *client, const char *text, uint64_t number);

/* Calls Echo, which replies with the client's address as the server sees it. Asserts that the reply is
 * an address whose text begins with peer. */
void client_expect_peer(struct client *client, const char *peer);

/* Calls Echo and waits for its success. */
void client_expect_service(struct client *client);

/* The same with a client of its own. authority: see tls_authority of rpc_channel_options. */
void client_expect_service_at(const struct address *address, const char *authority);

/* The same as client_expect_service, but calls again where the connection is lost meanwhile. */
void client_await_service(struct client *client);

/* Each of the calls must end with this status. */
void client_expect_all(struct client *client, const struct outcome *outcomes, size_t count,
                       enum status status);

/* A connection that the test makes by hand: with its handshake, or without. */
struct sp_peer probe_open_peer(const struct probe *probe);
struct sp_peer probe_connect_peer(const struct probe *probe, int receive_buffer_bytes);

/* A request to the probe. */
Jackdaw__Envelope probe_request(const char *method, uint64_t call);

/* The frame of some envelopes: malloc, the caller's. */
ProtobufCBinaryData probe_frame(const Jackdaw__Envelope *envelopes, size_t count);

/* The next frame that comes; the caller frees it with jackdaw__frame__free_unpacked. */
Jackdaw__Frame *probe_receive_frame(struct sp_peer *peer);

/* A listener that is full: the kernel drops what is sent to it, as if the machine had gone. */
struct silent {
    int listener;
    int filling[8];
    struct address address;
};

/* port: 0 for one from the kernel. */
void silent_open(struct silent *silent, const char *host, uint16_t port);
void silent_close(struct silent *silent);

/* Returns the address of a valid text. */
struct address parsed(const char *text);

/* Returns an address at which no server listens. */
struct address probe_free_address(void);

/* What most tests work with: a probe, and a client that is connected to it. */
struct probe_fixture {
    struct probe *probe;
    struct probe_counters *counters;
    struct client client;
    struct rpc_stub one_way; /* for notes of the client */
    struct sp_peer peer;     /* that a test may open; closed at the end */
    struct outcome *outcomes;
    size_t outcome_count; /* that probe_fixture_take gave out */
};

/* Meanwhile nothing is logged. options: of the server, or NULL. */
void probe_fixture_start(struct probe_fixture *f, const struct rpc_server_options *options);
void probe_fixture_begin(struct probe_fixture *f);
void probe_fixture_end(struct probe_fixture *f);

/* Further outcomes, all zeros; they live as long as the fixture. */
struct outcome *probe_fixture_take(struct probe_fixture *f, size_t count);

#define PROBE_TEST_ON(name, begin) TEST_ON(name, struct probe_fixture, begin, probe_fixture_end)
#define PROBE_TEST(name) PROBE_TEST_ON(name, probe_fixture_begin)

/* A test whose f is a probe with TLS. */
#define PROBE_TLS_TEST(name) \
    TEST_OPEN(name, struct probe, probe_start_tls("tls+tcp://127.0.0.1:0"), probe_stop)

#endif
