/* SPDX-License-Identifier: MIT */
/* client_internal.h - what the files of the client library share. See client.h.
 *
 *     client.c    making, driving, looking
 *     connection.c      connections to servers
 *     server_selection.c      finding the server to use
 *     health.c    noticing when to leave it
 *     request.c   the queue of requests, from asking to finishing
 *     replay_buffer.c      those that were answered and may have to be sent again
 *     calls.c     the table of calls, and what each sends
 *     sender.c    sending, sending again, answers
 *     persist.c   what outlives the process, in state_file.c
 *     session.c   logging in and out, heartbeats, losing the session
 *     stream.c    the stream of events */
#ifndef JACKDAW_CLIENT_CLIENT_INTERNAL_H
#define JACKDAW_CLIENT_CLIENT_INTERNAL_H

#include "base/task_queue.h"
#include "client/backoff.h"
#include "client/client.h"
#include "client/dedup.h"
#include "client/histogram.h"
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

/* A connection to one server. */
struct connection {
    struct rpc_result info_result; /* first: the result for the closure of Info */
    struct client *client;
    struct rpc_channel *channel;
    struct address address;
    char text[ADDRESS_TEXT_SIZE];
    bool connected;
    bool asking;   /* Info is under way */
    bool answered; /* ... and was answered since it connected; master and epoch tell what */
    bool master;
    bool refused; /* it answered that it cannot help; and nothing else since */
    bool
        has_problem; /* its latest connection failed in the handshake, and the client knows the reason */
    uint64_t server_id;
    uint8_t cluster[CLIENT_CLUSTER_BYTES]; /* all zero: not known */
    uint64_t epoch;
    size_t servers_count; /* that it knows, itself included */
    uint64_t opened_us;
    uint64_t asked_us, round_trip_us;
    uint64_t ask_at_us;
};

/* Where a request stands. Always waiting first; under way and waiting alternate. */
enum request_state { REQUEST_WAITING, REQUEST_UNDER_WAY };

struct request {
    struct rpc_result result; /* first: the result for the closure */
    struct request *prev, *next;
    struct client *client;
    enum client_call call;
    client_done *done;
    void *context;
    char *room, *name, *text, *password, *after; /* into strings */
    size_t strings_size;
    enum client_manner manner;
    bool again, private_room, joined, ban, active;
    uint64_t before;
    uint64_t replaces;
    uint32_t limit;
    uint8_t secret[CLIENT_TOKEN_BYTES]; /* CLIENT_LOGIN: the token */
    uint8_t nonce[CLIENT_NONCE_BYTES];  /* CLIENT_LOGIN: of making the account */
    uint64_t id;                        /* in the state file; 0: it is not there */
    uint64_t tag;
    bool registered; /* CLIENT_LOGIN: that part is done */
    bool created;

    enum request_state state;
    bool ignored;     /* the closure that is about to run means nothing */
    bool answered;    /* its end was reported: it is in the replay buffer, or is sent again */
    uint64_t session; /* with number, the uid; 0: none yet */
    uint64_t number;
    uint64_t call_id; /* the channel's, while under way */
    uint32_t attempts;
    uint32_t
        unanswered; /* of these, those that ended with the connection, or the time, or elsewhere */
    uint64_t asked_us; /* when it was taken, */
    uint64_t first_us; /* first sent, */
    uint64_t sent_us;  /* and last */
    char strings[];
};

struct session {
    bool active;
    bool confirmed;      /* by the server in use, in its epoch */
    uint64_t unknown_us; /* since when one says that it does not know it; 0: none does */
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
    struct log_position cursor;
    /* Where the cursor was when it left each earlier epoch, newest first. */
    struct log_position cursor_history[CLIENT_CURSOR_HISTORY_MAX];
    size_t cursor_history_count;
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
    struct connection *current; /* one of links: the server in use */
    struct address latest;      /* of the last server in use */
    bool had_server;
    bool suspecting;         /* current may not be the one to use: others are asked */
    bool told;               /* the owner knows that no server answers, */
    bool reported_no_reason; /* and nothing of why */
    bool redirected;         /* a server named another one as master: */
    struct address redirect;
    uint64_t last_seen_us;    /* when current last said anything */
    uint64_t active_us;       /* time of the last message or ended request */
    uint64_t search_us;       /* since when there is none that serves, or doubt; 0: all is well */
    uint64_t selecting_us;    /* since when there is no current */
    uint64_t silent_us;       /* while doubting: since when an answer is missing */
    uint64_t first_answer_us; /* since then, when a server first answered; 0: none has */
    uint64_t open_next_us;
    struct error_text problem; /* last error while connecting */

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

    struct client_stats stats; /* but for what is computed */
    struct histogram latency;
    uint64_t first_sent_us, last_acknowledged_us;
};

/* Cursor and trail as a message has them. */
struct read_position {
    Jackdaw__Position after;
    Jackdaw__Position cursor_history[CLIENT_CURSOR_HISTORY_MAX];
    Jackdaw__Position *list[CLIENT_CURSOR_HISTORY_MAX];
    size_t count;
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

/* ---- client.c ---- */
void client_wake_at(struct client *client, uint64_t at_us);
/* Whether so long has passed; otherwise the client wakes when it has. */
bool client_is_over(struct client *client, uint64_t since_us, uint32_t ms);
uint32_t client_random32(struct client *client);
void client_init_stub(struct client *client, struct rpc_stub *stub, uint32_t timeout_ms);

/* ---- calls.c ---- */
const struct call_kind *call_kind_of(enum client_call call);
/* Makes the call of `request` on stub; closure may run at once. */
void call_invoke(struct request *request, struct rpc_stub *stub, ProtobufCClosure closure);
/* Makes a call that no request stands for. */
void call_method(struct rpc_stub *stub, const char *method, const ProtobufCMessage *message,
                 ProtobufCClosure closure, void *result);

/* ---- connection.c ---- */
enum error connection_open(struct client *client, const struct address *address,
                           struct error_text *why);
/* For servers_next. */
bool connection_is_open(void *context, const struct address *address);
void connection_close(struct connection *connection);
/* All but current, unless that would take time. */
void connection_close_others(struct client *client);
void connection_close_all(struct client *client);
/* Asks for Info, unless that is under way. */
void connection_ask(struct connection *connection);

/* ---- server_selection.c ---- */
/* Whether it is of another cluster than the session. */
bool server_selection_is_foreign(const struct client *client, const struct connection *connection);
enum error server_selection_start(struct client *client, struct error_text *why);
void server_selection_begin(struct client *client);
void server_selection_tick(struct client *client);
/* The current server answered as a server in charge does, or has become it. */
void connection_confirm(struct client *client);
void connection_confirm_master(struct client *client);
/* The server answered that it cannot help. */
void connection_reject(struct client *client, const struct rpc_result *why);
/* since_us: when it should have answered. */
void connection_suspect(struct client *client, uint64_t since_us);

/* ---- health.c ---- */
void health_check(struct client *client);

/* ---- request.c ---- */
void request_finish(struct request *request, enum status status, const char *error,
                    const void *reply);
/* Makes the channel forget the call of a request that is under way: it waits again. */
void request_abandon(struct request *request);
/* Puts a request in front of all others. ERROR_NO_MEMORY. */
enum error request_put_first(struct client *client, const struct client_request *asked,
                             client_done *done, void *context);

size_t request_cost(const struct request *request);
void request_dispose(struct request *request);

/* ---- replay_buffer.c ---- */
/* Takes a request that has ended and is on no list. done: it was carried out; otherwise only its
 * number is of use. */
void replay_buffer_add(struct request *request, bool done);
/* Servers miss the request `from`, which may have been answered before: it and all after it wait in
 * front of the queue again. False: it is not kept any longer. */
bool replay_buffer_resend(struct client *client, uint64_t from);
void replay_buffer_clear(struct client *client);

/* A request with the texts of asked, on no list. NULL: out of memory. */
struct request *request_copy(struct client *client, const struct client_request *asked);

/* ---- persist.c: nothing happens where there is no state file ---- */
void persist_request(struct request *request); /* was taken */
void persist_number(struct request *request);  /* its number has changed */
void persist_end(struct request *request, bool done);
void persist_login(struct request *request); /* its token is chosen, or was before */
void persist_session(struct client *client); /* has begun, or is over */
void persist_read_position(struct client *client);
/* Writes what has to outlive the process. */
void persist_flush(struct client *client);
/* Before requests are sent: false, they must not be. */
bool persist_sync(struct client *client);
void persist_fail(struct client *client, const char *text);
/* The servers know of more requests than the file. */
void persist_refuse(struct client *client, uint64_t last_request);
void persist_close(struct client *client);

/* ---- sender.c ---- */
void sender_pump(struct client *client);

/* ---- session.c ---- */
void session_began(struct client *client, const struct request *request,
                   const Jackdaw__LoginReply *reply);
void session_over(struct client *client);
void session_lost(struct client *client, enum status status, const char *text);
void session_release(struct client *client);
void session_is_new_to_server(struct client *client);
void session_confirm(struct client *client);
/* The server in use does not know the session. Returns whether the server may still learn of it:
 * after a partition the sides take some time to merge. */
bool session_may_be_late(struct client *client);
void heartbeat_tick(struct client *client);

/* ---- stream.c ---- */
void stream_start(struct client *client, struct log_position cursor);
void stream_stop(struct client *client);
/* Opens it now, if it is due later. */
void stream_hurry(struct client *client);
/* Reads on from the cursor, in a new stream. */
void stream_restart(struct client *client);
void client_stream_tick(struct client *client);
void stream_read_position(const struct client *client, struct read_position *read_position);

#endif
