/* SPDX-License-Identifier: MIT */
/* fake_chat.h - servers for tests of clients: real rpc, a chat just large enough, and misbehaviour
 * on demand. All servers of a cluster share one memory, as if replication were perfect; a test
 * kills them, brings them back, makes another master, loses answers and pages. One thread: the
 * test's, which runs the cluster's task queue with fake_cluster_turn. */
#ifndef JACKDAW_TESTS_FAKE_CHAT_H
#define JACKDAW_TESTS_FAKE_CHAT_H

#include "base/task_queue.h"
#include "rpc/server.h"
#include "spec.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_MESSAGES_MAX 20000
#define FAKE_ACCOUNTS_MAX 8
#define FAKE_SESSIONS_MAX 8
#define FAKE_OUTCOMES 256
#define FAKE_STREAMS_MAX 8
#define FAKE_HELD_MAX 1024
#define FAKE_TEXT_SIZE 64
#define FAKE_CURSOR_HISTORY_MAX 16

struct fake_server;

/* What is done with a request. */
enum fake_action {
    FAKE_OBEY,
    FAKE_FAIL,        /* answered with fail_* of the server; not carried out */
    FAKE_LOSE,        /* never answered, not carried out */
    FAKE_LOSE_ANSWER, /* carried out, never answered */
};

/* The action of the server on requests that match. */
struct fake_order {
    enum fake_action action;
    const char *method;         /* NULL: any */
    uint64_t number;            /* 0: any */
    struct fake_server *server; /* NULL: any */
    enum status fail_status;    /* OK: that of the server */
    bool once;                  /* the order ends once a server followed it */
};

struct fake_message {
    Jackdaw__Event__Kind kind;
    uint64_t epoch, seq, number, session, request;
    char room[FAKE_TEXT_SIZE];
    char from[FAKE_TEXT_SIZE];
    char text[FAKE_TEXT_SIZE]; /* cut */
};

struct fake_outcome {
    enum status status;
    size_t message; /* index, for Send */
};

struct fake_session {
    uint64_t id;
    uint8_t token[32];
    char name[FAKE_TEXT_SIZE];
    bool ended;
    uint64_t last_request;
    uint64_t received_seq; /* by heartbeats */
    struct fake_outcome outcomes[FAKE_OUTCOMES];
};

struct fake_account {
    char name[FAKE_TEXT_SIZE];
    char password[FAKE_TEXT_SIZE];
    uint8_t nonce[16];
};

struct fake_cluster {
    struct task_queue *queue;
    uint64_t epoch;
    uint64_t seq;
    uint64_t said; /* by fake_say: for uids */
    struct fake_message *messages;
    size_t message_count;
    struct fake_account accounts[FAKE_ACCOUNTS_MAX];
    size_t account_count;
    struct fake_session sessions[FAKE_SESSIONS_MAX];
    size_t session_count;
    uint8_t id[16];     /* the cluster's; all zero: none */
    size_t locations;   /* sessions that there may be; 0: any number */
    size_t page_events; /* most in one page */
    uint32_t message_bytes;
    char servers[4][ADDRESS_TEXT_SIZE]; /* what Info lists */
    size_t server_count;
    struct fake_order order; /* followed while judge is NULL */
    /* Decides about a request, if set. number is 0 where the call has none. */
    enum fake_action (*judge)(void *context, struct fake_server *server, const char *method,
                              uint64_t number);
    void *context;
    /* Seen so far. */
    size_t sends_seen, sends_done, infos_seen, receives_seen, heartbeats_seen, skips_seen;
    size_t statuses_seen, leaves_seen;
    size_t rooms_left;  /* LeaveRooms that name a room */
    size_t resent_seen; /* Sends that say that they were sent before without an answer */
    size_t logins_resent_seen;
    struct {
        uint64_t epoch, seq;
    } cursor_history[FAKE_CURSOR_HISTORY_MAX]; /* of the last Receive or Heartbeat */
    size_t cursor_history_count;
    uint64_t numbers_most_ahead; /* highest number seen minus last one carried out */
};

struct fake_stream {
    struct rpc_call *call;
    struct fake_server *server;
    struct fake_session *session;
    uint64_t seq;
    uint64_t epoch;
};

struct fake_server {
    Jackdaw__Chat_Service service; /* first */
    Jackdaw__Operator_Service operator_service;
    struct fake_cluster *cluster;
    struct rpc_server *rpc; /* NULL while dead */
    struct address address;
    bool dying;
    bool master;
    uint8_t cluster_id;   /* each byte of what Info tells; 0: that of the cluster */
    bool is_lone;         /* Info lists itself only */
    bool is_past;         /* Info tells an epoch before that of the cluster */
    bool is_new;          /* Info tells epoch 0, as after a start */
    const char *redirect; /* where it sends clients while it is not master; NULL: it says nothing */
    enum status fail_status;
    uint32_t fail_retry_ms;
    struct fake_stream streams[FAKE_STREAMS_MAX];
    struct rpc_call *held[FAKE_HELD_MAX]; /* never answered */
    size_t held_count;
    size_t lose_pages;   /* so many pages are sent to nobody */
    bool long_poll;      /* ends Receive after a page */
    uint64_t rewind_seq; /* the next stream starts there, rewound; 0: not */
};

void fake_cluster_init(struct fake_cluster *cluster);
void fake_cluster_release(struct fake_cluster *cluster);

/* Runs what arrived, feeds streams, flushes. servers: those of the test, dead ones included. */
void fake_cluster_turn(struct fake_cluster *cluster, struct fake_server *servers, size_t count);

/* Starts to listen: at server->address if its port is set, else where the kernel likes. */
void fake_server_start(struct fake_server *server, struct fake_cluster *cluster);
/* Ends at once, and all its connections. Its address stays. NULL-safe on a dead one. */
void fake_server_kill(struct fake_server *server);

/* Replaces the order: the servers treat every request of the method like this. FAKE_OBEY: no request is
 * treated specially. */
void fake_order(struct fake_cluster *cluster, const char *method, enum fake_action action);

/* Somebody else says something. */
void fake_say(struct fake_cluster *cluster, const char *room, const char *from, const char *text);
/* Somebody else does something that is kept, in "lobby". */
void fake_happen(struct fake_cluster *cluster, Jackdaw__Event__Kind kind, const char *from);
/* Another half of the cluster takes over that never heard of what came after the first `messages`
 * messages, nor of the session's requests after `request`. A new epoch begins. */
void fake_forget(struct fake_cluster *cluster, size_t messages, size_t session, uint64_t request);
/* As fake_say, with a uid of choice: to repeat what was said. */
void fake_repeat(struct fake_cluster *cluster, const struct fake_message *message);

#endif
