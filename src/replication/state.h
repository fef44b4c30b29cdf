/* SPDX-License-Identifier: MIT */
/* state.h - what a replica holds. Every file of src/replication reads it; each struct names the file that
 * changes it. All times are of replica_event.now_ms, in milliseconds; 0: never, if a field says so. */
#ifndef JACKDAW_REPLICATION_STATE_H
#define JACKDAW_REPLICATION_STATE_H

#include "replication/replica.h"
#include "replication/silence.h"

#define RESEND_MS 100           /* after which a request without an answer is repeated */
#define POLL_MS 40              /* between two LEADER_QUERYs to one node */
#define FRESH_MS 400            /* age up to which a LEADER_INFO counts */
#define LEADER_INFO_WAIT_MS 120 /* for the nodes that do not answer a LEADER_QUERY */
#define TURN_MS 250             /* for each candidate with a smaller address */
#define PROMISE_WAIT_MS 150     /* for the nodes that do not answer a PREPARE */
#define RECOVERY_WAIT_MS 1000   /* without progress, until a candidate gives up its epoch */
#define ANNOUNCE_MS 200         /* between two ANNOUNCEs to one node */
#define PROBE_MS 400            /* between two searches for lost members */
#define LOCATION_MS 1000        /* age up to which an answer proves an address */
#define GOSSIP_MS 2000          /* age up to which a LEADER_INFO passes an address on */
#define LISTEN_MS 1000          /* least wait before founding, if all seeds are without data */
#define QUIET_MS 1000           /* silence of a node with data after a rejection */
#define PAUSE_MS 250 /* time between two events from which on this process counts as suspended */
#define LAG_MS \
    10 /* that a TICK may come late; more was no silence, because this process was late */

/* The volatile knowledge of another member. */
struct peer {
    uint16_t id; /* 0: the place is free */
    /* Changed by contact.c and locations.c: */
    uint64_t last_seen_ms;            /* or since when this node waits for the peer */
    uint64_t spoke_ms;                /* of its last message; 0: none has come */
    uint64_t disconnected_ms;         /* 0: not known to be down */
    struct silence silence;           /* as this node's master; changed by role.c */
    char told[ADDRESS_TEXT_SIZE];     /* the internal address that it names; "": as listed */
    char answered[ADDRESS_TEXT_SIZE]; /* where it answered last; "": unknown */
    uint64_t answered_there_ms;
    /* On the master, changed by commit.c, join.c and heal.c: */
    bool follows; /* its log is a prefix of this node's */
    struct log_position acked;
    uint64_t progress_ms;     /* since when it owes an ack, or when it last acked a new position */
    uint64_t orphan_transfer; /* its orphans up to this number are merged, */
    uint64_t orphan_transfer_seq; /* into entries up to here */
    /* Of a poll and an election, changed by election.c and role.c: */
    uint64_t answered_ms; /* of its LEADER_INFO; 0: none in this poll */
    enum replica_role role;
    bool unhealthy;
    bool has_data;
    bool sees_master; /* another node than this one */
    bool promised;
    struct log_position promised_position; /* the end of its log when it promised */
};

struct members {                                      /* members.c */
    struct replica_member items[REPLICA_MEMBERS_MAX]; /* by internal address, numerically */
    size_t count;
};

struct leader {  /* role.c */
    uint16_t id; /* 0: none */
    uint64_t epoch;
    uint64_t last_seen_ms; /* less the time in which this process could hear nothing */
    uint64_t heard_ms;     /* of its last message */
    char address[ADDRESS_TEXT_SIZE];
};

/* The search for a cluster before this node founds one. */
struct founding {                         /* founding.c */
    bool is_due;                          /* this node founds a cluster if it finds none */
    uint64_t since_ms;                    /* 0: not begun */
    uint64_t empty_ms[REPLICA_SEEDS_MAX]; /* when a node without data answered there; 0: none has */
    uint64_t other_ms;                    /* when a founder with a smaller id was heard; 0: never */
};

/* The search for a master, or for agreement that there is none. */
struct poll { /* role.c, election.c */
    uint64_t since_ms;
    uint64_t next_ms;
    uint64_t elect_after_ms; /* an earlier election needs an answer of every member */
    uint64_t turn_since_ms;  /* since when this node may begin an election; 0: it may not */
    bool needs_all;          /* a refused connection is no answer */
    uint16_t suspect;        /* the lost master, whose answer is not needed */
    bool is_silence;         /* the suspect is silent, and may be alive */
    struct replica_in_sync_set in_sync; /* the newest one of the answers */
};

/* The fetching of a log: the master's (JOINING, SLAVE) or the best one's (RECOVERING_LOG). */
struct catch_up {    /* join.c, stream.c */
    uint16_t source; /* 0: none */
    bool fetching;   /* FETCH or SNAPSHOT_REQUEST was sent */
    bool snapshot;
    bool is_whole; /* all of the snapshot has come: INSTALL was returned */
    uint64_t asked_ms;
    uint64_t progress_ms;
    struct log_position want;
    struct log_position common;
    uint64_t snapshot_id;
    uint64_t offset; /* bytes */
};

struct replica {
    struct replica_options options;
    char internal[ADDRESS_TEXT_SIZE];
    char client[ADDRESS_TEXT_SIZE];
    char seeds[REPLICA_SEEDS_MAX][ADDRESS_TEXT_SIZE];
    size_t seeds_count;
    struct silence_bounds master_bounds; /* of a master's silence, */
    struct silence_bounds disk_bounds;   /* and of an append */
    char caller[ADDRESS_TEXT_SIZE]; /* a node of the cluster that this node would join; "": none */

    enum replica_role role; /* role.c */
    uint64_t now_ms;
    uint64_t role_since_ms;

    uint8_t cluster[REPLICA_CLUSTER_BYTES];
    uint64_t promised; /* actions.c */
    uint64_t highest;  /* epoch that any message named */

    struct log_position last; /* log.c */
    struct log_position durable;
    uint64_t first_seq;
    uint64_t committed;       /* commit.c */
    uint64_t needed;          /* from the last PONG; see replica_needed_seq */
    uint64_t append_since_ms; /* since when the oldest append waits for the disk; 0: none waits */
    uint64_t failed_ms;       /* of the last failure of the disk; 0: none */
    struct silence disk;      /* the times that appends take */
    struct silence lag;       /* by how much this process comes late to a TICK as a slave */
    bool has_persisted;       /* the last step made this process wait for its disk */
    struct epoch_start epochs[REPLICA_EPOCHS_MAX];
    size_t epochs_count;

    struct members members;
    struct log_position members_position;
    struct members next_members; /* the list that log.c appends at the end of the step, */
    bool members_changed;        /* if this is set */
    uint8_t members_bytes[REPLICA_MEMBERS_BYTES_MAX];
    struct peer peers[REPLICA_MEMBERS_MAX];

    struct leader master;
    bool follows; /* this log is a prefix of the master's */
    uint64_t ping_ms;
    uint64_t epoch_first_seq; /* MASTER: the first entry of its epoch */
    uint64_t announce_ms;
    uint64_t probe_ms;
    struct founding founding;
    bool is_blank;        /* the log has no chat entry, and there are no orphans */
    uint64_t refused_ms;  /* when the master rejected this node, which has data; 0: never */
    uint16_t join_target; /* of the last JOIN, */
    uint64_t join_ms;     /* and when it was sent */

    struct poll poll;
    uint64_t epoch; /* CANDIDATE, RECOVERING_LOG, MASTER: its own */
    struct catch_up catch_up;

    struct log_position avoid;   /* see replica_state */
    uint64_t last_orphan;        /* 0: there are none */
    uint64_t merged_orphan;      /* the master has merged the orphans up to this number, */
    uint64_t merged_seq;         /* into entries up to here; 0: none, or they are dropped */
    uint64_t orphan_transfer_ms; /* of the next offer */
    bool wants_to_leave;
    uint64_t leave_ms;

    struct replica_location locations[REPLICA_MEMBERS_MAX]; /* of the LEADER_INFO of this step */
    struct replica_actions *out;
};

/* Returns whether the node follows a master: JOINING, SLAVE or SUSPECTING. */
static inline bool replica_is_following(const struct replica *r)
{
    return r->role == REPLICA_JOINING || r->role == REPLICA_SLAVE || r->role == REPLICA_SUSPECTING;
}

#endif
