/* SPDX-License-Identifier: MIT */
/* client.h - a chat client without a screen: one session on a cluster of servers.
 *
 * A client knows many servers and keeps one connection to the master. If the master dies, falls
 * silent or redirects the client, the client finds the next master and continues the same session.
 * The client sends unacknowledged requests again under the same numbers, and reads on from its
 * cursor. So no message is lost or doubled. The owner drives the client:
 *
 *     client_new(&client, &options, &why);
 *     client_ask(client, &(struct client_request){.call = CLIENT_LOGIN, .name = "ann",
 *                .password = "..."}, on_login, context, &why);
 *     for (;;) {
 *         struct pollfd entry = {.fd = client_descriptor(client), .events = POLLIN};
 *         poll(&entry, 1, client_timeout_ms(client));
 *         client_process(client);
 *     }
 *
 * All requests stand in one queue, and the client sends them in order. Requests that change state
 * are pipelined, at most CLIENT_WINDOW of them. Login, logout and the deletion of the account wait
 * for all earlier requests and hold back all later ones. A request ends exactly once, in its
 * callback: executed, refused by a server, or cancelled by client_give_up. While no server answers,
 * requests wait. (Exception: CLIENT_STATUS goes to the server in use at once, and fails if the
 * server does not answer within CLIENT_STATUS_MS.)
 *
 * Threads: one, the owner's; all callbacks run on it, inside client_process (those of
 * client_give_up and client_free inside these). A callback may call everything here but
 * client_process and client_free. Time and random numbers come through the options, so that tests
 * control them.
 *
 * Replies and events are the generated types of proto/spec.proto, borrowed for the callback. */
#ifndef JACKDAW_CLIENT_CLIENT_H
#define JACKDAW_CLIENT_CLIENT_H

#include "base/address.h"
#include "base/error.h"
#include "base/status.h"
#include "spec.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_WINDOW 128            /* requests under way at once; servers remember 256 */
#define CLIENT_QUEUE_REQUESTS 10000u /* default bounds of what waits */
#define CLIENT_QUEUE_BYTES (8u * 1024u * 1024u)
#define CLIENT_HEARTBEAT_MS 15000u   /* how often the session is kept alive */
#define CLIENT_ANSWER_MS 5000u       /* a server that takes longer to answer is left */
#define CLIENT_SLOW_ANSWER_MS 30000u /* the same, where a password has to be hashed */
#define CLIENT_SUSPECT_MIN_MS 160u   /* ... and after this the others are asked who is master, */
#define CLIENT_SUSPECT_MS 300u       /* or up to this, if recent answers took a quarter of it */
#define CLIENT_STATUS_MS 1000u       /* CLIENT_STATUS is answered within this, or fails */
#define CLIENT_QUIET_MS 300u         /* an interruption shorter than this is not reported */
#define CLIENT_QUIET_SUSPECT_MS 500u /* the same, where it is there and does not answer */
#define CLIENT_RETRY_MIN_MS 20u      /* pauses between attempts grow from this */
#define CLIENT_RETRY_MAX_MS 500u     /* to this */

struct client;
struct client_request;
struct client_result;

/* A request has ended. */
typedef void client_done(void *context, const struct client_result *result);

/* ---- making one ---- */

/* Called by client_process. Any may be NULL. */
struct client_observer {
    /* An event of the account: in order, each message once. */
    void (*event)(void *context, const Jackdaw__Event *event);
    /* The connection: server is the address of the one that answers, or NULL while none does; text
     * is a sentence for a status line. Called on changes, but not for interruptions under
     * CLIENT_QUIET_MS. */
    void (*status)(void *context, const char *server, const char *text);
    /* client_restore has read a request that has not ended. *done and *done_context may be set: they
     * are called when it ends, as those of client_ask. */
    void (*restored)(void *context, const struct client_request *request, client_done **done,
                     void **done_context);
    /* The state file can no longer be used: the client sends no more requests. text: for the
     * user. */
    void (*state_failed)(void *context, const char *text);
    /* The session has ended without being asked to, and is not coming back: a new login is needed.
     * Requests that waited have failed. */
    void (*session_ended)(void *context, enum status status, const char *text);
};

struct client_options {
    const struct address *addresses; /* servers to begin with: at least one */
    size_t address_count;
    const char *tls_authority; /* PEM file to check servers against; NULL where none speaks TLS */
    const char *program;       /* name and version, for servers' logs; NULL: "jackdaw" */
    const char *device;        /* shown to the user among their sessions; NULL: "" */
    size_t queue_requests_max; /* 0: CLIENT_QUEUE_REQUESTS */
    size_t queue_bytes_max;    /* 0: CLIENT_QUEUE_BYTES */
    const struct client_observer *observer; /* borrowed, must outlive the client; may be NULL */
    void *context;                          /* for the observer */
    /* For tests; NULL: the monotonic clock, and libsodium. The clock must be the monotonic one plus
     * something that never decreases. */
    uint64_t (*clock_us)(void *context);
    void (*random)(void *context, void *bytes, size_t size);
    void *source; /* context of these two */
};

/* Makes a client and begins to connect. *out: ended with client_free. options: borrowed for the
 * call. ERROR_INVALID (no address, a bad certificate file), ERROR_NO_MEMORY, ERROR_FULL (no
 * descriptors left), ERROR_INTERNAL (no random source): sentence in why. */
enum error client_new(struct client **out, const struct client_options *options,
                      struct error_text *why);

/* Ends every request with CANCELLED, disconnects and frees. The session lives on on the servers
 * for a while unless CLIENT_LOGOUT was asked before. NULL is allowed. */
void client_free(struct client *client);

/* Stores this client's state in a file, which is created if needed, and resumes from it. The client
 * continues the session, the open requests and the events of the last client with this file, no
 * matter when that client was killed. Call it right after client_new.
 *
 * A request that changes state is in the file when client_ask has returned and client_process has
 * run, and on the disk before it is sent. The end of a request is in the file after its callback
 * has returned. The observer gets events before the file notes them. So after a kill no request is
 * executed twice and no event is missing, but a few ends and events are reported again. The file
 * holds no passwords; the client repeats an unanswered login with the same token. If the servers
 * have seen requests of the session that the file lacks (truncated, or an old copy), the client
 * calls state_failed.
 *
 * Errors: as state_file_open, with a sentence; then the client can only be freed. */
enum error client_restore(struct client *client, const char *path, struct error_text *why);

/* Stores a number and a text for the owner, which client_inspect returns; the highest number counts,
 * tags of requests too. Without a state file the call does nothing. */
void client_note(struct client *client, uint64_t tag, const char *text);

/* For an owner that could not pass on the last events: freezes the state file, so that the next
 * client reports them again. The client sends no more requests. Without a state file the call does
 * nothing. */
void client_stop_keeping(struct client *client);

/* ---- driving it ---- */

/* A descriptor to poll for reading; it stays the client's. */
int client_descriptor(const struct client *client);

/* How long to wait on it at most, for poll: -1 for ever, 0 not at all. */
int client_timeout_ms(struct client *client);

/* Does all that is due. Cheap when nothing is. */
void client_process(struct client *client);

/* Makes a waiting poll return. Any thread, and signal handlers. */
void client_wake(struct client *client);

/* ---- asking ---- */

/*              purpose                            fields it uses, [optional]   reply
 *              ---------------------------------- ---------------------------- ----- */
enum client_call {
    CLIENT_INFO,      /* the server and its limits                              info */
    CLIENT_LOGIN,     /* start a session           name password manner [again] [replaces] login */
    CLIENT_LOGOUT,    /* end it                                                 none */
    CLIENT_DELETE,    /* delete the account        password                     delete_account */
    CLIENT_ACCOUNTS,  /* list accounts             [name: a pattern] [after]    accounts */
    CLIENT_HEARTBEAT, /* list undelivered                                       heartbeat */
    CLIENT_JOIN,      /* join or make a room       room [private_room]          join */
    CLIENT_LEAVE,     /*                           room                         none */
    CLIENT_ROOMS,     /* list rooms                [name: a pattern] [after] [joined] rooms */
    CLIENT_MEMBERS,   /* list a room's members     room [after]                 members */
    CLIENT_TOPIC,     /* set it                    room text                    none */
    CLIENT_INVITE,    /*                           room name                    none */
    CLIENT_KICK,      /* remove a member           room name [ban]              none */
    CLIENT_SEND,      /* a message                 room (or "@name") text       send */
    CLIENT_HISTORY,   /* older messages            room [before] [limit]        history */
    CLIENT_TYPING,    /* tell others               room active                  none */
    CLIENT_STATUS,    /* how the cluster is        (asked once, and at once)    status */
};

/* The action of CLIENT_LOGIN if the account does not exist. */
enum client_manner {
    CLIENT_ACCOUNT_EXISTS,  /* refuses */
    CLIENT_ACCOUNT_NEW,     /* makes it first; refuses when there is one already */
    CLIENT_ACCOUNT_ENSURED, /* makes it first if it is not there */
};

/* All strings: NUL-terminated UTF-8, borrowed for the call; NULL is "". */
struct client_request {
    enum client_call call;
    const char *room;
    const char *name;
    const char *text;
    const char *password;
    const char *after; /* lists: the last name of the page before */
    enum client_manner manner;
    bool again;   /* keep the password in memory and log in again when a server ends the session */
    uint64_t tag; /* the owner's, see client_note */
    bool first;   /* login: before all that waits */
    uint64_t replaces; /* login: the session of the account that makes room; 0: none */
    bool private_room;
    bool joined; /* only rooms the caller is in */
    bool ban;
    bool active;
    uint64_t before; /* history: older than the message of this number; 0: the newest */
    uint32_t limit;  /* entries of a page; 0: the server's choice */
};

/* How a request ended. All pointers are borrowed for the callback. */
struct client_result {
    enum client_call call;
    enum status status;
    const char *error; /* a sentence for people; "" when status is STATUS_OK */
    const char *room;  /* as asked */
    const char *name;
    const char *text;
    const char *password;
    uint32_t
        retry_ms; /* status is not OK: the same request may succeed after this long; 0: never */
    Jackdaw__Device *const
        *devices; /* CLIENT_LOGIN with RESOURCE_EXHAUSTED: they have the places */
    size_t device_count;
    uint64_t session; /* with request, the uid; both 0 where it never got one */
    uint64_t request;
    uint32_t attempts;   /* how often it was sent; 0: never */
    uint64_t latency_us; /* from client_ask to the answer; 0: it was never sent */
    bool created;        /* CLIENT_LOGIN made the account */
    union {              /* where status is STATUS_OK, by call; NULL where the table says none */
        const void *any;
        const Jackdaw__InfoReply *info;
        const Jackdaw__LoginReply *login;
        const Jackdaw__DeleteAccountReply *delete_account;
        const Jackdaw__ListAccountsReply *accounts;
        const Jackdaw__HeartbeatReply *heartbeat;
        const Jackdaw__JoinRoomReply *join;
        const Jackdaw__ListRoomsReply *rooms;
        const Jackdaw__ListMembersReply *members;
        const Jackdaw__SendReply *send;
        const Jackdaw__HistoryReply *history;
        const Jackdaw__StatusReply *status;
    } reply;
};

/* Queues a request. done (may be NULL) is called once, later, with context. ERROR_FULL: as much
 * waits as may; ask again when client_has_room. ERROR_INVALID: text that is not UTF-8, or empty
 * where it must not be. ERROR_NO_MEMORY. Sentence in why; done is then not called. */
enum error client_ask(struct client *client, const struct client_request *request,
                      client_done *done, void *context, struct error_text *why);

/* Whether a request with so many bytes of text would be taken. */
bool client_has_room(const struct client *client, size_t text_bytes);

/* Requests that have not ended. */
size_t client_unfinished(const struct client *client);

/* Ends every request now, those under way too, with a status and a sentence. The servers may have
 * executed sent requests all the same. */
void client_give_up(struct client *client, enum status status, const char *text);

/* ---- looking at it ---- */

struct client_view {
    const char *server;            /* address of the server in use; NULL: none answers */
    bool starting;                 /* it is not known yet whether one answers */
    const char *name;              /* name of the logged-in account; NULL: none */
    uint64_t session;              /* 0: none */
    uint64_t epoch, seq;           /* the cursor: all events up to here were reported */
    uint64_t sent_epoch, sent_seq; /* position of the last message acknowledged */
    uint64_t highest_epoch;        /* seen so far */
    uint32_t message_bytes;        /* the server's limit; 0: not known yet */
    uint64_t server_id;            /* number of the server in use; 0: none, or not known */
    uint64_t round_trip_us;        /* to it, when it was last asked for Info */
    size_t servers;                /* known */
    uint64_t tag;                  /* client_note: the highest; 0: none */
    const char *note;              /* ... and the text; NULL: none */
    const char *account;           /* whose requests wait: name, or the one before; NULL: none */
    size_t waiting;                /* requests not sent yet, or to be sent again */
    size_t under_way;
};
/* Strings are valid until the next call of anything else. */
void client_inspect(const struct client *client, struct client_view *view);

/* Address i of the servers known, in text form. False when there are not so many. */
bool client_server(const struct client *client, size_t i, char text[static ADDRESS_TEXT_SIZE]);

struct client_stats {
    uint64_t sent;           /* messages acknowledged */
    uint64_t received;       /* messages told as events, own ones too */
    uint64_t failed;         /* messages refused or given up */
    uint64_t retries;        /* times a request was sent again */
    uint64_t reconnects;     /* times a server was found again or another one taken */
    uint64_t failovers;      /* ... another one than before */
    uint64_t longest_gap_us; /* longest that no server was in use, or none of the waiting messages
                                acknowledged */
    uint64_t gaps;           /* times the stream was started again because a page was missing */
    uint64_t duplicates;     /* messages that came twice and were reported once */
    double sent_per_second;  /* sent, from the first attempt to the last acknowledgement */
    uint64_t p50_us, p99_us, max_us; /* client_ask to acknowledgement; see base/histogram.h */
};
void client_stats(const struct client *client, struct client_stats *out);

#endif
