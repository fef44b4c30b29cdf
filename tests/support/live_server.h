/* SPDX-License-Identifier: MIT */
/* live_server.h - a whole server in a thread of the test, on loopback ports that the kernel picks,
 * and devices that ask it over the wire.
 *
 *     struct live_server *live = live_server_start(folder, (const char *[]){"--rate_limit=5", NULL});
 *     struct device ann;
 *     device_open(&ann, live);
 *     struct answer answer;
 *     ASK(&ann, &answer, "Login", Login, LOGIN, (r.name = (char *)"ann", ...));
 *     assert_int_equal(answer.status, STATUS_OK);
 *     answer_clear(&answer);
 *
 * All waiting is bounded. One thread of the test's uses devices. */
#ifndef JACKDAW_TESTS_LIVE_SERVER_H
#define JACKDAW_TESTS_LIVE_SERVER_H

#include "chat/chat.h"
#include "rpc/channel.h"
#include "spec.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

#define LIVE_SERVER_PATIENCE_MS 60000

/* Options of servers in one cluster: a peer without a processor on a busy machine does not look like a silent
 * one. A server that failed waits as long before it serves alone. */
#define LIVE_SERVER_PATIENT "--ping_timeout=60000", "--ack_timeout=60000", "--disk_timeout=60000"

struct live_server;

/* options: more of the command line, ends with NULL; NULL: none. Fails the test when it cannot
 * start; live_server_try returns NULL and the sentence. */
struct live_server *live_server_start(const char *folder, const char *const *options);
struct live_server *live_server_try(const char *folder, const char *const *options,
                                    struct error_text *why);

const struct address *live_server_address(const struct live_server *live);
const struct address *live_server_internal_address(const struct live_server *live);

/* As a signal does; live_server_stop also waits for the end and frees. */
void live_server_ask_to_stop(struct live_server *live);
void live_server_stop(struct live_server *live);

/* Keeps the thread that reads history from all tasks that it gets later, or the core's, until
 * live_server_release or live_server_stop. At most one of them, and once, per server. */
void live_server_hold_reader(struct live_server *live);
void live_server_hold_core(struct live_server *live);
void live_server_release(struct live_server *live);

struct device {
    struct task_queue *queue;
    struct rpc_channel *channel;
    uint8_t token[CHAT_TOKEN_BYTES];
    size_t token_size; /* 0: not logged in */
    uint64_t request;  /* the last number used */
    uint32_t resent;   /* what each request tells of earlier attempts, */
    const char *peer;  /* and of the client for which it is forwarded; NULL: it is not */
    uint64_t session;
    uint32_t timeout_ms;
    struct log_position position; /* of the latest state that `ask` has shown; requests name it */
};

void device_open(struct device *device, const struct live_server *live);
/* The same at any other place. */
void device_open_at(struct device *device, const struct address *address);
void device_close(struct device *device);
/* Connects anew, to the same or another server, with the same session. */
void device_reopen(struct device *device, const struct live_server *live);
void device_turn(struct device *device, int timeout_ms);

/* What a call came to. */
struct answer {
    struct rpc_result result; /* first: the channel fills it */
    enum status status;       /* of the end */
    char message[256];
    uint32_t retry_ms;
    bool ended;
    unsigned replies;
    ProtobufCMessage *reply; /* the last one, a copy */
    uint64_t call;
    void *context;
    void (*each)(struct answer *answer, const ProtobufCMessage *reply); /* may be NULL */
};

/* Starts a call; the next device_turn flushes it. The answer stays where it is until ended. */
void ask_start(struct device *device, struct answer *answer, const char *method,
               const ProtobufCMessage *request, uint32_t credits);
/* And waits for its end. */
void ask(struct device *device, struct answer *answer, const char *method,
         const ProtobufCMessage *request);
void answer_wait(struct device *device, struct answer *answer);
void answer_clear(struct answer *answer);

/* Asks with a request of the type; set is an expression that assigns to fields of r. */
#define ASK(device, answer, method, type, constant, set)                  \
    do {                                                                  \
        Jackdaw__##type##Request r = JACKDAW__##constant##_REQUEST__INIT; \
        (void)(set);                                                      \
        ask((device), (answer), (method), &r.base);                       \
    } while (0)

/* Waits, turning the device, until condition holds. */
#define DEVICE_WAIT(device, condition)                                           \
    do {                                                                         \
        uint64_t wait_until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS; \
        while (!(condition)) {                                                   \
            if (clock_monotonic_ms() > wait_until_ms)                            \
                fail_msg("waited in vain for: %s", #condition);                  \
            device_turn((device), 10);                                           \
        }                                                                        \
    } while (0)

/* Opens the device, registers and logs in; joins the room (NULL: none). Fails the test if a call is refused. */
void device_enter(struct device *device, const struct live_server *live, const char *name,
                  const char *room);
/* Each call returns its status. */
enum status device_register(struct device *device, const char *name);
enum status device_login(struct device *device, const char *name); /* with a fresh token */
enum status device_login_as_class(struct device *device, const char *name, uint8_t session_class);
enum status device_join(struct device *device, const char *room);
enum status device_leave(struct device *device, const char *room);
enum status device_send(struct device *device, const char *to, const char *text);

#define DEVICE_PASSWORD "correct horse"

#endif
