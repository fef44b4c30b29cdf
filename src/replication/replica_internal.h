/* SPDX-License-Identifier: MIT */
/* replica_internal.h - what the files of src/replication share. */
#ifndef JACKDAW_REPLICATION_REPLICA_INTERNAL_H
#define JACKDAW_REPLICATION_REPLICA_INTERNAL_H

#include "replication/replica.h"

#define RESEND_MS 100           /* a request that was not answered is sent again */
#define POLL_MS 40              /* how often others are asked whether they hear a master */
#define FRESH_MS 400            /* how long such an answer counts */
#define LEADER_INFO_WAIT_MS 120 /* how long one who suspects waits for those who do not answer */
#define TURN_MS 250             /* how long each smaller address is waited for */
#define PROMISE_WAIT_MS 150
#define RECOVERY_WAIT_MS 1000 /* without progress; then somebody else may try */
#define ANNOUNCE_MS 200
#define PROBE_MS 400     /* how often lost members are asked for where they may be */
#define LOCATION_MS 1000 /* how long an address counts as certain after an answer from there */
#define GOSSIP_MS 2000   /* how long others are told where a member was heard */
#define LISTEN_MS 1000   /* the least to wait with founding where all seeds are without data */
#define QUIET_MS 1000    /* how long a node with data keeps silent after it was refused */
#define PAUSE_MS \
    250 /* no event for so long: this process was stopped; others' silence proves nothing */

/* What is known of another member; nothing of it is durable. */
struct peer {
    uint16_t id;                      /* 0: free */
    uint64_t last_seen_ms;            /* or since when it is waited for */
    uint64_t spoke_ms;                /* when it really was heard; 0: never */
    uint64_t disconnected_ms;         /* 0: not known to be down */
    char told[ADDRESS_TEXT_SIZE];     /* the internal address that it names; "": as listed */
    char answered[ADDRESS_TEXT_SIZE]; /* where it answered; "": nowhere yet, or not any more */
    uint64_t answered_there_ms;
    /* As its master: */
    bool follows; /* its log is a beginning of ours */
    struct log_position acked;
    uint64_t progress_ms; /* when it last acked more, or had nothing to ack */
    uint64_t
        orphan_transfer; /* last merged orphan of it, in the entries up to orphan_transfer_seq */
    uint64_t orphan_transfer_seq;
    /* As its voter or candidate: */
    uint64_t answered_ms; /* 0: not answered */
    enum replica_role role;
    bool unhealthy;
    bool has_data;
    bool sees_master; /* a master */
    bool promised;
    bool refused;
    struct log_position promised_position;
};

struct members {
    struct replica_member items[REPLICA_MEMBERS_MAX]; /* by internal address, numerically */
    size_t count;
};

struct leader {
    uint16_t id; /* 0: none */
    uint64_t epoch;
    uint64_t last_seen_ms;
    char address[ADDRESS_TEXT_SIZE];
};

/* Looking for a cluster before founding one. */
struct founding {
    bool is_due;                          /* it is to be founded unless there is one */
    uint64_t since_ms;                    /* 0: it has not begun */
    uint64_t empty_ms[REPLICA_SEEDS_MAX]; /* when a node without data answered there; 0: none has */
    uint64_t other_ms; /* when another founder, which goes first, was heard; 0: never */
};

/* Looking for a master, or for agreement that there is none. */
struct poll {
    uint64_t since_ms;
    uint64_t next_ms;
    uint64_t elect_after_ms; /* before it, everybody must have answered */
    uint64_t turn_since_ms;  /* since when the way to an election is free; 0: it is not */
    bool needs_all;          /* LOOKING at start: a refused connection is no answer */
    uint16_t suspect;        /* who is not asked */
    struct replica_in_sync_set in_sync; /* the newest one of the answers */
};

/* Fetching a log: the master's (JOINING, SLAVE) or the best one's (RECOVERING_LOG). */
struct catch_up {
    uint16_t source; /* 0: none */
    bool fetching;   /* FETCH or SNAPSHOT_REQUEST was sent */
    bool snapshot;
    bool is_whole; /* all of the snapshot is here: INSTALL was said */
    uint64_t asked_ms;
    uint64_t progress_ms;
    struct log_position want;
    struct log_position common;
    uint64_t snapshot_id;
    uint64_t offset;
};

struct replica {
    struct replica_options options;
    char internal[ADDRESS_TEXT_SIZE];
    char client[ADDRESS_TEXT_SIZE];
    char seeds[REPLICA_SEEDS_MAX][ADDRESS_TEXT_SIZE];
    size_t seeds_count;
    char caller[ADDRESS_TEXT_SIZE]; /* a node of the cluster that this one would join; "": none */

    enum replica_role role;
    uint64_t now_ms;
    uint64_t role_since_ms;

    uint8_t cluster[REPLICA_CLUSTER_BYTES];
    uint64_t promised;
    uint64_t highest; /* epoch ever heard of */

    struct log_position last;
    struct log_position durable;
    uint64_t first_seq;
    uint64_t committed;
    uint64_t needed;          /* as the master told last; see replica_needed_seq */
    uint64_t append_since_ms; /* since when the oldest append waits for the disk; 0: none does */
    uint64_t failed_ms;       /* when the disk failed last; 0: it works */
    struct epoch_start epochs[REPLICA_EPOCHS_MAX];
    size_t epochs_count;

    struct members members;
    struct log_position members_position;
    struct members next_members;
    bool members_changed;
    uint8_t members_bytes[REPLICA_MEMBERS_BYTES_MAX];
    struct peer peers[REPLICA_MEMBERS_MAX];

    struct leader master;
    bool follows; /* our log is a beginning of the master's */
    uint64_t ping_ms;
    uint64_t epoch_first_seq; /* MASTER: the first entry of the epoch */
    uint64_t announce_ms;
    uint64_t probe_ms;
    struct founding founding;
    bool is_blank;        /* the log has nothing of a chat */
    uint64_t refused_ms;  /* when the master refused this node, which has data; 0: it has not */
    uint16_t join_target; /* whom the last JOIN went to, and when */
    uint64_t join_ms;

    struct poll poll;
    uint64_t epoch; /* CANDIDATE, RECOVERING_LOG, MASTER: ours */
    struct catch_up catch_up;

    struct log_position avoid; /* see replica_state */
    uint64_t last_orphan;      /* 0: there are none */
    uint64_t merged_orphan;    /* the master has merged orphans up to this one, by merged_seq */
    uint64_t merged_seq;       /* 0: none, or they were dropped */
    uint64_t orphan_transfer_ms;
    bool wants_to_leave;
    uint64_t leave_ms;

    struct replica_location locations[REPLICA_MEMBERS_MAX]; /* of the LEADER_INFO being sent */
    struct replica_actions *out;
};

/* ---- replica.c: actions and roles ---- */
struct replica_action *act(struct replica *r, enum replica_action_kind kind);
void become(struct replica *r, enum replica_role role);
bool is_following(const struct replica *r); /* JOINING, SLAVE, SUSPECTING */
bool is_unhealthy(const struct replica *r);
void promise(struct replica *r, uint64_t epoch); /* raises the promise, durably */
void persist(struct replica *r);
void step_down(struct replica *r);
/* Starts an election above the promise of a member, which can follow no lower epoch. A master whose
 * disk hangs steps down instead: it cannot make a promise durable, and would replace the master that
 * was elected meanwhile. */
void renew_epoch(struct replica *r);
void suspect(struct replica *r);
void peer_lost(struct replica *r, struct peer *peer);
bool is_refused(const struct replica *r);
void tell_role(struct replica *r);

/* ---- log.c ---- */
void log_load(struct replica *r, const struct replica_state *state);
struct epoch_history log_epochs(const struct replica *r);
bool log_has(const struct replica *r, struct log_position position);
bool log_is_next(const struct replica *r, const struct log_entry *batch);
enum error log_append(struct replica *r, const struct log_entry *batch);

/* ---- members.c ---- */
const struct replica_member *member_find(const struct replica *r, uint16_t id);
struct peer *peer_of(struct replica *r, uint16_t id); /* NULL: no such member */
bool member_is_in_sync(const struct replica *r, uint16_t id);
bool is_member(const struct replica *r); /* this node, and it has not left */
size_t voters_count(const struct replica *r);
enum error members_load(struct replica *r, const uint8_t *bytes, size_t size,
                        struct log_position position);
size_t members_pack(const struct members *members, uint8_t *bytes);
struct replica_member *members_edit(struct replica *r, uint16_t id); /* of the next list; NULL */
struct replica_member *members_add(struct replica *r, uint16_t id, const char *internal,
                                   const char *client);
void members_flush(struct replica *r); /* appends the next list if it was changed */
/* Replaces set by other if the list of other is newer. */
void in_sync_set_update(struct replica_in_sync_set *set, const struct replica_in_sync_set *other);
struct replica_in_sync_set in_sync_set_own(const struct replica *r);
bool in_sync_set_has(const struct replica_in_sync_set *set, uint16_t id);

/* ---- locations.c: who is where ---- */
bool has_cluster(const uint8_t cluster[static REPLICA_CLUSTER_BYTES]);
const char *location_of(const struct replica *r, uint16_t id); /* of a member; NULL */
const char *named_by(const struct replica *r, uint16_t id);    /* as it names itself; NULL */
bool peer_is_alive(const struct replica *r, const struct peer *peer);
/* A message of the peer has come. False: of another process with its id, while it is alive. */
bool location_note(struct replica *r, struct peer *peer, const struct replica_message *message,
                   const char *address);
/* Somebody else says that it is there. */
void location_learn(struct replica *r, uint16_t id, const char *address);
/* Whoever was at address is not there: `by` (0: nobody) answers instead. */
void location_lost(struct replica *r, const char *address, uint16_t by);
/* The list has changed, which knows better where a member is that is not heard; another that catches up
 * reads old lists. */
void location_listed(struct replica *r, const struct replica_member *before,
                     const struct replica_member *now);
bool is_listed_location(const struct replica *r, const char *address); /* of any member */
/* Fills r->locations with the members that were heard, except one. Returns how many. */
size_t locations_list(struct replica *r, uint16_t except);
void ask_everywhere(struct replica *r);
void receive_stranger(struct replica *r, const struct replica_message *message,
                      const char *address);
struct replica_action *tell_news(struct replica *r, enum replica_news news,
                                 const struct replica_message *message, const char *address);

/* ---- messages.c ---- */
struct replica_message *message_to(struct replica *r, enum replica_message_kind kind, uint16_t to);
/* A message that another action than SEND carries. */
struct replica_message *message_with(struct replica *r, enum replica_action_kind action,
                                     enum replica_message_kind kind, uint16_t to);
struct replica_leader message_own_leader(const struct replica *r); /* the one that it follows */
bool address_is_sound(const char *text);                           /* NULL is not */
bool message_is_sound(const struct replica *r, const struct replica_message *message);

/* ---- commit.c ---- */
void commit_advance(struct replica *r);
void commit_learn(struct replica *r, uint64_t seq);
void receive_ack(struct replica *r, const struct replica_message *message); /* or a PING */
void commit_tick(struct replica *r);
bool may_change_voters(const struct replica *r);
void in_sync_leave(struct replica *r, uint16_t id);

/* ---- stream.c ---- */
enum error propose(struct replica *r, const struct replica_event *event);
void append_own(struct replica *r, enum log_entry_kind kind, const uint8_t *bytes, size_t size,
                uint64_t count);
bool master_is_seen(const struct replica *r);
void send_ack(struct replica *r);
void send_ping(struct replica *r);
void send_fetch(struct replica *r);
void receive_append(struct replica *r, const struct replica_message *message);
void receive_fetch(struct replica *r, const struct replica_message *message);
void receive_entries(struct replica *r, const struct replica_message *message);
void receive_ping(struct replica *r, const struct replica_message *message);
void receive_pong(struct replica *r, const struct replica_message *message);
void stream_tick(struct replica *r);
void update_follower_role(struct replica *r); /* JOINING or SLAVE, by what the log says */

/* ---- founding.c ---- */
void found(struct replica *r);
void found_tick(struct replica *r);
void found_note(struct replica *r, const struct replica_message *message, const char *address);
/* Whether this node's cluster was given up for the sender's. */
bool found_yield(struct replica *r, const struct replica_message *message, const char *address);

/* ---- join.c ---- */
void ask_to_join(struct replica *r, uint16_t id, const char *address, bool now);
void recover_log_from(struct replica *r, uint16_t id, struct log_position want);
void receive_join(struct replica *r, const struct replica_message *message);
void receive_join_reply(struct replica *r, const struct replica_message *message);
void refused(struct replica *r, const struct replica_message *message);
void receive_join_rejected(struct replica *r, const struct replica_message *message);
void receive_snapshot_request(struct replica *r, const struct replica_message *message);
void receive_snapshot_chunk(struct replica *r, const struct replica_message *message);
void checked(struct replica *r);
void installed(struct replica *r, const struct replica_state *state);
void caught_up(struct replica *r);
void join_tick(struct replica *r);

/* ---- election.c ---- */
void poll_begin(struct replica *r, uint64_t wait_ms, bool needs_all, uint16_t suspect);
void poll_tick(struct replica *r);
void poll_evaluate(struct replica *r);
void receive_leader_query(struct replica *r, const struct replica_message *message);
/* Answers any message as if it asked for the master. */
void send_leader_info(struct replica *r, const struct replica_message *message, uint16_t suspect);
void receive_leader_info(struct replica *r, const struct replica_message *message);
void start_election(struct replica *r);
void receive_prepare(struct replica *r, const struct replica_message *message);
void receive_promise(struct replica *r, const struct replica_message *message);
void election_tick(struct replica *r);
void election_check(struct replica *r);
void log_recovered(struct replica *r);
void become_master(struct replica *r);
uint64_t next_epoch(const struct replica *r);

/* ---- heal.c ---- */
void heal_tick(struct replica *r);
void announce_to(struct replica *r, uint16_t id);
void receive_announce(struct replica *r, const struct replica_message *message);
void receive_orphan_transfer(struct replica *r, const struct replica_message *message);
void receive_orphan_transfer_done(struct replica *r, const struct replica_message *message);
void orphans_merged(struct replica *r, const struct replica_event *event);
enum error leave_node(struct replica *r, uint16_t node);
void receive_leave(struct replica *r, const struct replica_message *message);
void leave_tick(struct replica *r);

#endif
