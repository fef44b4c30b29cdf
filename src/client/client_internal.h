/* SPDX-License-Identifier: MIT */
/* client_internal.h - what the files of the client library share. See client.h.
 *
 * All files: one thread, the owner's. A file calls only files below it:
 *
 *     client.c            making and driving a client
 *     sender.c            sending requests, sending them again, and their answers
 *     session.c           logging in and out, heartbeats, losing the session
 *     stream.c            the stream of events
 *     queue.c             the queue of requests, from asking to finishing
 *     health.c            noticing that the server in use is silent
 *     server_selection.c  the state machine: which server is used
 *     server_choice.c     which of the connected servers is the best one
 *     report.c            the owner's status line
 *     connection.c        a connection to one server, and asking it for Info
 *     persist.c           what outlives the process, in state_file.c
 *     replay_buffer.c     answered requests that may have to be sent again
 *     call.c              the table of calls, and what each sends
 *     response.c          the table of statuses, and what the client does about each
 *     request.c, cursor.c, and the modules with a header of their own
 *
 * server_selection.c calls client->on_selected, which client.c sets. */
#ifndef JACKDAW_CLIENT_CLIENT_INTERNAL_H
#define JACKDAW_CLIENT_CLIENT_INTERNAL_H

#include "base/histogram.h"
#include "base/task_queue.h"
#include "client/backoff.h"
#include "client/client.h"
#include "client/dedup.h"
#include "client/server_selection.h"
#include "client/servers.h"
#include "proto/convert.h"
#include "rpc/channel.h"

#define CLIENT_TOKEN_BYTES 32
#define CLIENT_NONCE_BYTES 16
#define CLIENT_CONNECTIONS_MAX 16u   /* connections at once while looking for a server */
#define CLIENT_STAGGER_MS 20u        /* between opening two of them, the first time */
#define CLIENT_OPEN_AGAIN_MS 1000u   /* after one that could not even be opened */
#define CLIENT_HANDSHAKE_MS 60u      /* rpc_channel_close waits for younger connections */
#define CLIENT_RECONNECT_MIN_MS 10u  /* first pause before a lost connection is tried again */
#define CLIENT_RECONNECT_MAX_MS 500u /* ... and the longest */
#define CLIENT_CONNECT_MS 1000u    /* a connection that is not up by then makes room for another */
#define CLIENT_ANY_SERVER_MS 1000u /* without a master for so long, any server will do */
/* ... also one that lacks what the session has seen: by then a minority of a quorum serves nobody, and
 * behind a partition the other side goes on. */
#define CLIENT_GO_BACK_MS 10000u
#define CLIENT_LONE_MS \
    300u /* so long others are waited for where one knows fewer than were given */
#define CLIENT_CLUSTER_BYTES 16u
#define CLIENT_ASK_AGAIN_PART 16u   /* a server that is not master is asked again after this part */
#define CLIENT_ASK_AGAIN_MIN_MS 20u /* of the time since the search began, within these bounds, */
#define CLIENT_ASK_AGAIN_MAX_MS 500u    /* of which half is left to chance */
#define CLIENT_SESSION_UNKNOWN_MS 5000u /* a server that is new may not know the session so long */
#define CLIENT_WINDOW_LEAST 8u /* requests under way, however short of something a server is */
#define CLIENT_REPLAY_MAX \
    256u /* answered requests that can be sent again; servers remember so many */
#define CLIENT_REPLAY_BYTES (5u * 1024u * 1024u) /* enough for as many messages of 16 KiB */
#define CLIENT_CURSOR_HISTORY_MAX 16u /* earlier epochs of which the last position is known */
#define CLIENT_ACTIVE_MS 30000u /* after anything was sent or told, silence is noticed faster: */
#define CLIENT_PROBE_ACTIVE_MS 500u
#define CLIENT_PROBE_MS 2000u /* silent so long with a slow call under way: ask for Info */

/* ---- the cursor: up to where events were received ---- */

struct cursor {
    struct log_position at;
    /* Where the cursor was when it left each earlier epoch, newest first. */
    struct log_position history[CLIENT_CURSOR_HISTORY_MAX];
    size_t history_count;
};

/* The cursor as a message has it. */
struct read_position {
    Jackdaw__Position after;
    Jackdaw__Position cursor_history[CLIENT_CURSOR_HISTORY_MAX];
    Jackdaw__Position *list[CLIENT_CURSOR_HISTORY_MAX];
    size_t count;
};

/* A connection to one server. */
struct connection {
    struct rpc_result info_result; /* first: the result for the closure of Info */
    struct client *client;
    const struct connection_events *events; /* borrowed, static */
    struct rpc_channel *channel;
    struct address address;
    char text[ADDRESS_TEXT_SIZE];
    bool connected;
    bool asking;      /* Info is under way */
    bool has_problem; /* the latest attempt to connect reached the server and failed there */
    /* The latest answer to Info: */
    bool answered; /* there is one, of this connection */
    bool master;   /* takes every request: it is the master, or forwards to the master */
    bool forwards; /* it is not the master itself */
    uint64_t server_id;
    uint8_t cluster[CLIENT_CLUSTER_BYTES]; /* all zero: not known */
    uint64_t epoch;
    size_t servers_count; /* that the server knows, itself included */
    uint64_t round_trip_us;
    uint64_t opened_us;
    uint64_t asked_us;  /* when Info was last sent */
    uint64_t ask_at_us; /* when it is due again, if the client looks for a server */
};

/* The functions that a connection calls, all on the owner's thread. */
struct connection_events {
    /* The connection is lost; the channel connects again by itself. */
    void (*lost)(struct connection *connection);
    /* An attempt to connect has failed. problem: why, if the server was reached; else NULL. */
    void (*failed)(struct connection *connection, enum error error, const char *problem);
    /* Info was answered with an error: connection->info_result. */
    void (*info_failed)(struct connection *connection);
    /* Info was answered. was_master: the answer before said so. reply: borrowed. */
    void (*info)(struct connection *connection, const Jackdaw__InfoReply *reply, bool was_master);
};

/* Where a request stands. Always waiting first; under way and waiting alternate. */
enum request_state { REQUEST_WAITING, REQUEST_UNDER_WAY };

struct request {
    struct rpc_result result; /* first: the result for the closure */
    struct request *prev, *next;
    struct client *client;
    struct client_request asked; /* its strings are in `strings`, never NULL */
    client_done *done;
    void *context;
    size_t strings_size;
    uint8_t secret[CLIENT_TOKEN_BYTES]; /* CLIENT_LOGIN: the token */
    uint8_t nonce[CLIENT_NONCE_BYTES];  /* CLIENT_LOGIN: of making the account */
    uint64_t id;                        /* in the state file; 0: it is not there */
    bool registered;                    /* CLIENT_LOGIN: that part is done */
    bool created;

    enum request_state state;
    bool ignored;     /* the closure that is about to run means nothing */
    bool answered;    /* its end was reported: it is in the replay buffer, or is sent again */
    uint64_t session; /* with number, the uid; 0: none yet */
    uint64_t number;
    uint64_t call_id; /* the channel's, while under way */
    uint32_t attempts;
    uint32_t unanswered; /* of the attempts: how many got no answer of a server */
    uint64_t asked_us;   /* when client_ask took it, */
    uint64_t first_us;   /* first sent, */
    uint64_t sent_us;    /* and last */
    char strings[];
};

struct session {
    bool active;
    uint64_t id;
    uint8_t token[CLIENT_TOKEN_BYTES];
    uint8_t cluster[CLIENT_CLUSTER_BYTES]; /* that it is of; all zero: not known */
    char *name;
    uint64_t next_number;
    bool unverified;    /* restored from the state file: to be compared with the servers' state, */
    uint64_t verify_us; /* next then */
    char *login_name;   /* kept to log in again; NULL: not to be */
    char *login_password;
};

struct heartbeat {
    struct rpc_result result; /* first: the result for the closure */
    struct client *client;
    bool under_way;
    uint64_t call_id;
    uint64_t sent_us;
    uint64_t due_us;
    struct log_position cursor; /* at the last answer that told of undelivered messages */
    bool stuck;                 /* ... if it did */
};

struct stream {
    struct rpc_result result; /* first: the result for the closure */
    struct client *client;
    bool open;
    bool ignored; /* the closure that is about to run means nothing */
    uint64_t call_id;
    uint64_t refused_session; /* that a server does not know, until session_tick; 0: none */
    struct error_text refusal;
    struct cursor cursor;
    bool cursor_reset; /* at least once in this session */
    uint32_t pages;    /* since credits were last given */
    struct backoff backoff;
    uint64_t opened_us, open_at_us;
    struct dedup dedup;
};

/* The state file, and its contents that the client keeps nowhere else. */
struct persist {
    struct state_file *file; /* NULL: there is none */
    bool failed;             /* no record is added, and no request is sent */
    bool unsynced;           /* a record must be on the disk before the next request */
    uint64_t last_id;
    uint64_t tag;
    char *note;
    char *login_name;      /* a login with this token may be under way; NULL: none is */
    bool login_unanswered; /* an earlier process may have sent it, and got no answer */
    uint8_t token[CLIENT_TOKEN_BYTES];
    uint8_t nonce[CLIENT_NONCE_BYTES];
};

struct client {
    struct client_observer observer;
    void *context;
    char *tls_authority, *program, *device;
    size_t requests_max, bytes_max;
    uint64_t (*clock_us)(void *source);
    void (*random)(void *source, void *bytes, size_t size);
    void *source;
    struct task_queue *queue;
    uint64_t now_us;
    uint64_t gap_since_us; /* since when servers miss more of the session than can be sent again */
    uint64_t wake_us;      /* when there is something to do */

    struct servers servers;
    struct connection *connections[CLIENT_CONNECTIONS_MAX];
    size_t connection_count;
    struct server_selection selection;
    /* Another server is in use (is_new), or the one in use has become the master. */
    void (*on_selected)(struct client *client, bool is_new);
    bool reported_lost;      /* the owner knows that no server answers, */
    bool reported_no_reason; /* and not why */
    uint64_t active_us;      /* time of the last message or ended request */

    struct request *requests; /* in order; doubly linked */
    size_t count, bytes, under_way;
    uint64_t finished;             /* how many have ended so far */
    struct request *replay_buffer; /* answered, of this session, by number; doubly linked */
    size_t replay_count, replay_bytes;
    struct backoff retry;
    uint64_t retry_set_us, resend_us;
    size_t window; /* how many may be under way: less than CLIENT_WINDOW while a server is short */
    size_t accepted; /* answered since the window last changed */

    struct persist persist;
    struct session session;
    struct heartbeat heartbeat;
    struct stream stream;
    uint32_t message_bytes;
    uint64_t highest_epoch;
    struct log_position sent;
    /* The latest state that an answer to the session has shown: no later answer may be from an earlier
     * one. */
    struct log_position seen;

    struct client_stats stats; /* but for what is computed */
    struct histogram latency;
    uint64_t first_sent_us, last_acknowledged_us;
};

/* The table's row of a call. */
struct call_kind {
    const char *method;
    bool session;  /* needs one */
    bool numbered; /* changes something */
    bool barrier;  /* alone: after everything before, and before everything after */
    bool slow;     /* a password is hashed */
    bool once;     /* not tried again, and not kept waiting */
};

/* The action of the client after an answer, by its status. */
enum response_action {
    RESPONSE_FAIL,     /* refused for good: the request ends. The default */
    RESPONSE_ACCEPT,   /* the request is carried out */
    RESPONSE_RETRY,    /* the request is sent again */
    RESPONSE_REDIRECT, /* the same; the server is not the master: PROBING */
    RESPONSE_RESEND,   /* the same; the server misses an earlier request of the session, which goes
                             first */
    RESPONSE_END_SESSION, /* the server does not know the session */
};

/* ---- time and chance ---- */

/* The client wakes then, or before. */
static inline void client_wake_at(struct client *client, uint64_t at_us)
{
    if (at_us < client->wake_us)
        client->wake_us = at_us;
}

/* Returns whether `ms` have passed since since_us. If not, the client wakes when they have. */
static inline bool client_is_over(struct client *client, uint64_t since_us, uint32_t ms)
{
    uint64_t end_us = since_us + (uint64_t)ms * 1000;
    if (client->now_us < end_us)
        client_wake_at(client, end_us);
    return client->now_us >= end_us;
}

static inline uint32_t client_random32(struct client *client)
{
    uint32_t value;
    client->random(client->source, &value, sizeof value);
    return value;
}

/* ---- cursor.c ---- */
/* Moves the cursor forward. An earlier epoch is added to its history, of which the oldest may go. */
void cursor_move(struct cursor *cursor, struct log_position to);
/* Moves the cursor back: the log has no changes after `to` any more. */
void cursor_reset(struct cursor *cursor, struct log_position to);
/* Fills *out, which points into itself. */
void cursor_write(const struct cursor *cursor, struct read_position *out);

/* ---- response.c ---- */
/* Notes the position of the state that an answer has shown, also of a refusal. In a newer epoch the server
 * has yet to show that it knows the session. Before server_selection_may_learn_session. */
void response_note_position(struct client *client, struct log_position position);
/* Returns the action for an answer. */
enum response_action response_action(const struct rpc_result *result);
/* Returns whether a server sent the answer. If not, the call ended with its connection or its deadline,
 * and the server may or may not have carried it out. */
bool response_is_from_server(const struct rpc_result *result);

/* ---- call.c ---- */
/* Returns the method and the rules of a call; the row is static. */
const struct call_kind *call_kind_of(enum client_call call);
/* Makes the call of `request` on stub; closure may run at once. */
void call_invoke(struct request *request, struct rpc_stub *stub, ProtobufCClosure closure);
/* Makes a call that no request stands for. */
void call_method(struct rpc_stub *stub, const char *method, const ProtobufCMessage *message,
                 ProtobufCClosure closure, void *result);

/* ---- connection.c ---- */
/* Opens a connection; see rpc_channel_open for the errors. */
enum error connection_open(struct client *client, const struct address *address,
                           const struct connection_events *events, struct error_text *why);
/* Returns whether there is a connection to address. context: the client. For servers_next. */
bool connection_is_open(void *context, const struct address *address);
/* Ends its calls with CANCELLED and frees it. The caller does not use its server any more. */
void connection_close(struct connection *connection);
/* Asks for Info, unless that is under way. */
void connection_ask(struct connection *connection);

/* ---- report.c: what the observer's `status` is called with; an observer without it is valid ---- */
/* Reports that the client uses the current server, for the first time or after another one. */
void report_found(struct client *client);
/* Reports that an outage has ended. No effect if report_lost has not reported it. */
void report_back(struct client *client);
/* Reports an outage that has lasted for CLIENT_QUIET_MS (CLIENT_QUIET_SUSPECT_MS while the server in use
 * is suspected), once. */
void report_lost(struct client *client);
/* The outage is reported again if it was reported without a reason. */
void report_new_reason(struct client *client);

/* ---- server_choice.c ---- */
/* The server that the client should use instead of the one in use, if any; NULL: none. */
struct connection *server_choice_best(struct client *client);
/* Returns whether a server is not chosen only because it may be alone, for CLIENT_LONE_MS. */
bool server_choice_is_waiting(struct client *client);
/* Returns whether it is the master that the server in use named. */
bool server_choice_is_redirect(const struct client *client, const struct connection *connection);
/* Returns whether the server belongs to another cluster than the session. */
bool server_choice_is_foreign(const struct client *client, const struct connection *connection);

/* ---- health.c ---- */
/* Suspects the server in use, or leaves it, if it is silent. Once a turn. */
void health_check(struct client *client);

/* ---- request.c ---- */
/* A request with copies of the strings of asked, on no list; ended with request_dispose. NULL: out of
 * memory. */
struct request *request_copy(struct client *client, const struct client_request *asked);
/* Erases and frees it. */
void request_dispose(struct request *request);
/* Returns the size of the request in bytes. */
size_t request_cost(const struct request *request);

/* ---- queue.c ---- */
/* Ends a request: its callback is called, and the replay buffer may keep it. */
void queue_finish(struct request *request, enum status status, const char *error,
                  const void *reply);
/* Makes the channel forget the call of a request that is under way: it waits again. */
void queue_abandon(struct request *request);
/* Puts a request in front of all others. ERROR_NO_MEMORY. */
enum error queue_put_first(struct client *client, const struct client_request *asked,
                           client_done *done, void *context);

/* ---- replay_buffer.c ---- */
/* Takes a request that has ended and is on no list. done: it was carried out; otherwise only its
 * number is of use. */
void replay_buffer_add(struct request *request, bool done);
/* Servers miss the request `from`, which may have been answered before: it and all after it wait in
 * front of the queue again. False: it is not kept any longer. */
bool replay_buffer_resend(struct client *client, uint64_t from);
/* Frees all requests of the buffer. */
void replay_buffer_clear(struct client *client);

/* ---- persist.c: without a state file no function has an effect ---- */
/* Records a request that the client has accepted, before it has a number. */
void persist_request(struct request *request);
/* Records the number of a request, which is new or has changed. */
void persist_number(struct request *request);
/* Records that the request has ended. done: a server carried it out; false and unanswered: refused. */
void persist_end(struct request *request, bool done);
/* Records name, token and nonce of a login. If the file has an unanswered login of the same name, gives the
 * request the token and nonce of that one. */
void persist_login(struct request *request);
/* Records that the session has begun or ended. */
void persist_session(struct client *client);
/* Records the cluster of the session, which the client has learned after its begin. */
void persist_cluster(struct client *client);
/* Writes the cursor to the file at once. */
void persist_read_position(struct client *client);
/* Writes all records to the file, without waiting for the disk, and shortens a long file. Once a turn. */
void persist_flush(struct client *client);
/* Waits until the disk has all records. Returns false if it has not: the client must not send. */
bool persist_sync(struct client *client);
/* Reports to the owner, once, that the state file has failed. text: the reason. persist_sync fails from now on. */
void persist_fail(struct client *client, const char *text);
/* The same for a file that ends before last_request, which the servers have seen. */
void persist_refuse(struct client *client, uint64_t last_request);
/* Closes the file and frees what persist.c holds. Requests that end later stay open in the file. */
void persist_close(struct client *client);

/* ---- sender.c ---- */
/* Sends the waiting requests that may go out now. Ends a request that cannot be sent, which runs its callback. */
void sender_pump(struct client *client);

/* ---- session.c ---- */
/* A login was answered: the session begins, or goes on. */
void session_began(struct client *client, const struct request *request,
                   const Jackdaw__LoginReply *reply);
/* Takes the cluster of the server in use for the session's, if that is unknown and the server knows the session. */
void session_learn_cluster(struct client *client);
/* Ends the session as the owner asked: with its token, password, stream and replay buffer. */
void session_over(struct client *client);
/* The servers have ended it: the client logs in again, or tells the owner. */
void session_lost(struct client *client, enum status status, const char *text);
/* Erases and frees the session, when the client ends. */
void session_release(struct client *client);
/* Sends the heartbeat that is due, and ends a session that the stream has found to be unknown. Once a
 * turn. */
void session_tick(struct client *client);

/* ---- stream.c ---- */
/* Reads from `from`, in a new session. */
void stream_start(struct client *client, struct log_position from);
/* Closes the stream and clears the cursor. */
void stream_stop(struct client *client);
/* Opens the stream now, if that is due later. */
void stream_hurry(struct client *client);
/* Reads on from the cursor, in a new stream. */
void stream_restart(struct client *client);
/* Opens the stream if it is due. Once a turn. */
void client_stream_tick(struct client *client);

#endif
