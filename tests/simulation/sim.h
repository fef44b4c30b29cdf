/* SPDX-License-Identifier: MIT */
/* sim.h - a whole cluster in one process on a virtual clock: real replicas, real chat over real
 * stores in memory; network, disks, crashes and clients from one seed. The same seed and options
 * give the same run, event by event.
 *
 * Everything that travels (messages, batches, texts) lives in the world's arena until the run ends,
 * so that a copy is a pointer. One thread. */
#ifndef JACKDAW_TESTS_SIMULATION_SIM_H
#define JACKDAW_TESTS_SIMULATION_SIM_H

#include "base/arena.h"
#include "chat/chat.h"
#include "replication/replica.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODES_MAX 7
#define CLIENTS_MAX 4
#define ROOMS 2
#define WINDOW 256 /* requests that a client can send again */
#define PIPELINE 3
#define TRAIL 16 /* positions that a client remembers, one of each epoch */
#define SETUP_REQUESTS ROOMS
#define GUESTS 4
#define GUEST_ACTS 12  /* the kinds of delta */
#define DELTA_KINDS 32 /* Jackdaw__Delta__ChangeCase is less */
#define MS 1000u       /* virtual time counts in microseconds */
#define SECOND 1000000u

enum fault_bits {
    FAULT_CRASH = 1,      /* processes die, with or without what was not synced, and come back */
    FAULT_LOSS = 2,       /* messages are lost, late, doubled, out of order; the feed drops */
    FAULT_PARTITION = 4,  /* groups of nodes and clients cannot reach each other, also one way */
    FAULT_PAUSE = 8,      /* processes stop and go on */
    FAULT_DISK = 16,      /* disks stall, fill up, fail */
    FAULT_LEAVE = 32,     /* a node leaves for good */
    FAULT_CHECK = 128,    /* a snapshot is looked at for a while first, and may be no good */
    FAULT_MOVE = 256,     /* nodes come back at other addresses, also at each other's */
    FAULT_STRANGER = 512, /* at a dead node's address another cluster answers, or an empty node */
    FAULT_EMPTY = 1024,   /* nodes come back without data, also told to found a cluster */
    FAULT_GUESTS = 2048,  /* no fault: guests do whatever a delta can be about (guest.c) */
};

struct options {
    uint64_t seed;
    uint64_t steps;
    unsigned nodes;
    enum replica_policy policy;
    unsigned faults; /* fault_bits */
    bool trace;
};

/* A batch in a node's log. digest is the running one of the simulator. */
struct row {
    enum log_entry_kind kind;
    uint64_t epoch;
    uint64_t first_seq;
    uint64_t last_seq;
    const uint8_t *bytes;
    size_t size;
    uint64_t digest;
};

struct rows {
    struct row *items;
    size_t count;
    size_t capacity;
};

struct orphan {
    uint64_t id;
    struct row row;
};

/* An answer that waits until seq is committed. */
struct commit_waiter {
    struct commit_waiter *next;
    uint64_t seq;
    struct packet *reply;
};

/* Why the next delta is the first one that a store and a chat get. */
enum fresh { NOT_FRESH, FRESH_START, FRESH_SNAPSHOT, FRESH_ROLLBACK, FRESH_COUNT };

struct node {
    uint16_t id;
    char internal[32];
    char client[32];
    bool alive;
    bool left;
    uint64_t life; /* counts its processes */
    uint64_t started_at;
    uint64_t emptied_at; /* 0: never */
    bool is_recovering;  /* it was not in sync since */
    uint64_t incarnation;
    uint64_t paused_until;
    uint64_t busy_until;

    /* The disk: outlives a crash. */
    struct store *store;
    uint8_t cluster[16];
    uint64_t promised;
    struct orphan *orphans;
    size_t orphans_count;
    size_t orphans_capacity;
    uint64_t next_orphan;

    /* The log as appended; of it `applied` rows are in the store, `durable` of them committed. */
    struct rows rows;
    size_t applied;
    size_t durable;
    bool disk_busy;
    uint64_t disk_stalled_until;
    uint64_t disk_fails_until;
    uint64_t pruned_before; /* rows that end before it are not served, as if they were pruned */

    struct chat *chat;
    enum fresh fresh;
    struct replica *replica;
    struct replica_actions actions;
    uint64_t tick_at;
    bool handling;
    const struct packet *answering; /* what is sent to its sender now is the answer */

    /* As master: */
    struct packet *queue; /* requests that wait for the disk */
    struct packet **queue_tail;
    struct commit_waiter *commit_waiters;
    struct commit_waiter **commit_waiters_tail;
    uint64_t committed;
    bool proposing;
    bool refused;
    struct packet *pending_merges;
    struct packet **pending_merges_tail;

    /* Snapshots: being sent, being received. */
    uint64_t snapshot_id;
    struct row *snapshot;
    size_t snapshot_count;
    struct rows kept;
    uint64_t kept_pruned_before;
    uint64_t kept_id;     /* counts those that were begun */
    uint64_t checking_id; /* being looked at; 0: none */
    uint64_t checked_id;
};

/* What travels: between replicas, or between a client and a node. */
enum packet_kind { PACKET_REPLICA, PACKET_SEND, PACKET_READ, PACKET_REPLY, PACKET_PAGE };
struct packet {
    struct packet *next;
    enum packet_kind kind;
    int from; /* node id, or -1 - client */
    int to;
    struct replica_message message;
    const char *dialled; /* between nodes: the address that was asked */
    bool is_answer;
    uint64_t life; /* of the one that asked: its connection ends with it */
    /* SEND and its REPLY; READ and its ENTRIES */
    uint64_t request;
    const char *room;
    const char *text;
    bool is_join;
    bool is_private;
    enum status status;
    uint64_t number;
    struct log_position position;
    uint64_t expected; /* REPLY to a request that skips: what must come first */
    uint16_t master;   /* REPLY, ENTRIES: a redirect; 0: none known */
    bool redirect;
    bool cursor_reset;
    uint64_t after_seq; /* ENTRIES: where it really starts */
    struct log_position
        cursor_history[TRAIL]; /* READ: position and what came before, newest first */
    size_t cursor_history_count;
    struct message_record *seen;
    size_t seen_count;
    uint64_t read_id;
};

struct message_record {
    uint64_t room;
    uint64_t number;
    uint64_t session;
    uint64_t request;
    uint64_t seq;
};

enum request_kind {
    SENT_ROOM,    /* to a room of the set-up: number `target` */
    SENT_NOWHERE, /* to one that does not exist */
    SENT_PERSON,  /* to the client of this number */
    SENT_JOIN,    /* joins or makes the room "extra<target>", private if target is even */
    SENT_EXTRA,   /* to that room; a private one may have got another name since */
};
struct request_record {
    uint64_t request;
    enum request_kind kind;
    unsigned target;
    bool acked;
    bool was_sent;    /* an answer said that it was carried out */
    bool was_refused; /* an answer said that it was not */
    unsigned found;   /* at the end, on one node */
    enum status status;
    uint64_t number;
    uint64_t seq;
    uint64_t floor; /* the highest acked number of its room when it was first sent */
};

struct client {
    int index;
    uint64_t session;
    uint64_t account;
    uint8_t token[CHAT_TOKEN_BYTES];
    uint64_t next;               /* request */
    uint64_t base;               /* the first not acked */
    uint64_t first;              /* of the requests that the run sent */
    struct request_record *sent; /* of request `first` on */
    size_t sent_capacity;
    uint16_t target;
    uint64_t resend_at;
    uint64_t resend_from;
    uint64_t heard_at;
    /* Reading: */
    struct log_position cursor;
    struct log_position cursor_history[TRAIL];
    size_t cursor_history_count;
    uint64_t read_id;
    uint64_t read_at;
    uint64_t last_number[ROOMS];
    uint64_t answers; /* for good, also to what was sent again */
    unsigned extra;   /* the last room that it asked to join; 0: none */
};

/* Somebody who comes and goes. */
struct guest {
    uint64_t session; /* the last one that was begun; 0: none */
};

/* Everything that was acknowledged as message: room, number and who. */
struct fact {
    uint64_t session;
    uint64_t request;
};

struct log_fact {
    uint64_t epoch, seq, digest;
};

struct entry {
    uint64_t at;
    uint64_t order;
    int kind;
    int who;
    uint64_t incarnation;
    void *pointer;
};

struct world {
    struct options options;
    bool is_strict; /* promises hold at any time, not only after healing */
    bool is_gentle; /* somebody who has everything stays alive */
    uint64_t random;
    uint64_t now;
    uint64_t steps;
    uint64_t order;
    struct entry *heap;
    size_t heap_count;
    size_t heap_capacity;
    struct arena arena;
    struct arena scratch;
    struct node nodes[NODES_MAX];
    unsigned nodes_count;
    struct client clients[CLIENTS_MAX];
    unsigned clients_count;
    struct guest guests[GUESTS];
    uint64_t guest_random;
    bool is_set_up;
    uint64_t fault_every; /* on average; how rough the run is */
    bool may_prune;
    bool may_leave;
    bool is_quiet;     /* faults have stopped */
    bool is_degraded;  /* faults have stopped, but somebody stays dead */
    bool is_finishing; /* clients begin nothing new */
    uint64_t rooms[ROOMS];
    /* [from][to]; clients come after the nodes. */
    bool cut[NODES_MAX + CLIENTS_MAX + 1][NODES_MAX + CLIENTS_MAX + 1];
    uint64_t healed_at;
    uint64_t next_snapshot;
    unsigned hosts; /* addresses that were given out beyond the first ones */
    /* By node: what answers at its address while it is dead. */
    enum stranger { NO_STRANGER, EMPTY_STRANGER, OTHER_STRANGER } strangers[NODES_MAX];
    /* What the checks remember. */
    struct log_fact *log_facts;
    size_t log_facts_capacity;
    size_t log_facts_count;
    uint64_t *committed_digest; /* by seq */
    size_t committed_capacity;
    struct fact *told[ROOMS]; /* by number */
    size_t told_capacity[ROOMS];
    uint64_t acked_number[ROOMS];
    /* What happened, for the summary. */
    unsigned clusters; /* founded after the first one */
    uint64_t elections, crashes, snapshots, orphans, acks, reads;
    uint64_t firsts[FRESH_COUNT][DELTA_KINDS]; /* by kind: how often it came first */
};

/* ---- world.c ---- */
uint64_t draw(struct world *world);
uint64_t below(struct world *world, uint64_t bound); /* 0 .. bound - 1 */
bool chance(struct world *world, unsigned per_mille);
void *keep(struct world *world, const void *bytes, size_t size);
void *make(struct world *world, size_t size); /* zeroed */
const char *keep_text(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void trace(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void print_replay(const struct options *options);
/* Ends the process: prints what broke and how to replay it. */
_Noreturn void broken(struct world *world, const char *invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

enum entry_kind {
    AT_TICK,
    AT_PACKET,
    AT_DISK,
    AT_CHECKED,
    AT_CLIENT,
    AT_FAULT,
    AT_DISCONNECTED,
    AT_REFUSED, /* a node without data ends */
    AT_RESTART,
    AT_HEAL,
    AT_GO_ON
};
void at(struct world *world, uint64_t time, enum entry_kind kind, int who, uint64_t incarnation,
        void *pointer);
bool next_entry(struct world *world, struct entry *out);

void transmit(struct world *world, struct packet *packet, uint64_t delay, bool is_feed);
/* from is told that nobody listens at address, or not any more. */
void refuse_link(struct world *world, const struct node *from, const char *address, uint64_t after);
const char *keep_address(struct world *world, const char *address);
bool is_cut(const struct world *world, int from, int to);
struct node *node_of(struct world *world, int id);

/* ---- node.c ---- */
void node_start(struct world *world, struct node *node, bool is_first);
/* Takes a dead node's data away. */
void node_empty(struct world *world, struct node *node);
/* Whether it is in a cluster that was founded beside the first one. */
bool node_is_elsewhere(const struct node *node);
void node_crash(struct world *world, struct node *node, bool with_unsynced);
void node_step(struct world *world, struct node *node, const struct replica_event *event);
void node_prune(struct world *world, struct node *node);
/* The first orphan after the one with the id `after`, and how many of them to hand over at once. */
size_t node_orphans_after(const struct node *node, uint64_t after, size_t *count);
void node_tick(struct world *world, struct node *node);
void node_receive(struct world *world, struct node *node, struct packet *packet);
void node_disk_done(struct world *world, struct node *node);
void node_checked(struct world *world, struct node *node);
void node_pump(struct world *world, struct node *node);
void node_close(struct node *node);
void rows_add(struct rows *rows, const struct row *row);
struct log_position rows_end(const struct rows *rows, size_t count);
/* Appends a row to the log in memory; digest is computed. */
void node_push_row(struct world *world, struct node *node, struct row row);
enum error node_log_row(struct node *node, const struct row *row);
void node_fail(struct world *world, struct node *node);
/* Counts the delta that is about to be applied where it is the first. */
void node_note_delta(struct world *world, struct node *node, const Jackdaw__Delta *delta);

/* ---- disk.c ---- */
/* Opens the node's database anew, as a process does that has just started. */
void disk_reopen(struct world *world, struct node *node);

/* ---- guest.c ---- */
/* Whether some guest asks for something now: call->delta is to be applied. */
bool guest_acts(struct world *world, struct node *node, struct chat_call *call);

/* ---- serve.c ---- */
void serve_packet(struct world *world, struct node *node, struct packet *packet);
void serve_pump(struct world *world,
                struct node *node); /* a batch of what waits, if the disk is free */
void serve_committed(struct world *world, struct node *node, uint64_t seq);
void serve_lost(struct world *world, struct node *node); /* no longer master */
void serve_merge_orphans(struct world *world, struct node *node,
                         const struct replica_message *message, uint64_t after);

/* ---- client.c ---- */
void clients_begin(struct world *world);
void client_wake(struct world *world, struct client *client);
void client_receive(struct world *world, struct client *client, struct packet *packet);
bool clients_done(const struct world *world);
uint64_t token_word(int client, size_t index);

/* ---- fault.c ---- */
void fault_next(struct world *world);
void fault_stranger_calls(struct world *world, struct node *node);
void fault_happens(struct world *world, bool is_regular);
void faults_end(struct world *world);
/* Whether nothing that anybody was promised is lost with the data of this dead node. */
bool fault_may_empty(const struct world *world, const struct node *node);

/* ---- check.c: the invariants ---- */
void check_log_matching(struct world *world, const struct node *node, const struct row *row);
void check_promise(struct world *world, const struct node *node, uint64_t promised);
void check_sent(struct world *world, const struct node *node,
                const struct replica_message *message);
void check_committed(struct world *world, const struct node *node, uint64_t seq);
/* Nobody founds a cluster beside one that it could find. */
void check_founded(struct world *world, const struct node *node);
void check_new_master(struct world *world, const struct node *node);
/* Notes what was in a row that could not be handed over. */
/* Notes what the delta says is lost. */
void check_orphan(struct world *world, const struct node *node, const Jackdaw__Delta *late);
void check_ack(struct world *world, struct client *client, const struct packet *reply);
void check_page(struct world *world, struct client *client, const struct packet *page);
void check_final(struct world *world);
bool is_converged(struct world *world);

#endif
