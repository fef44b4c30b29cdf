/* SPDX-License-Identifier: MIT */
/* The promises, each as a check that ends the run when it is broken. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is known of the log ---- */

struct log_fact {
    struct log_position position;
    uint8_t digest[LOG_DIGEST_BYTES];
};

static struct {
    struct log_fact *facts; /* hash by position */
    size_t capacity;
    size_t count;
    uint64_t *committed; /* by seq: the epoch, 0: unknown */
    size_t committed_capacity;
} known;

void check_reset(void)
{
    free(known.facts);
    free(known.committed);
    memset(&known, 0, sizeof known);
}

static struct log_fact *location_of(struct log_fact *facts, size_t capacity,
                                    struct log_position position)
{
    size_t place =
        (size_t)(position.seq * UINT64_C(0x9e3779b97f4a7c15) ^ position.epoch) % capacity;
    while (facts[place].position.seq != 0 && (facts[place].position.seq != position.seq ||
                                              facts[place].position.epoch != position.epoch))
        place = (place + 1) % capacity;
    return &facts[place];
}

static void grow_facts(void)
{
    size_t capacity = known.capacity == 0 ? 1024 : known.capacity * 2;
    struct log_fact *facts = calloc(capacity, sizeof *facts);
    ASSERT(facts != NULL);
    for (size_t i = 0; i < known.capacity; i++)
        if (known.facts[i].position.seq != 0)
            *location_of(facts, capacity, known.facts[i].position) = known.facts[i];
    free(known.facts);
    known.facts = facts;
    known.capacity = capacity;
}

/* Logs that agree at a position agree before it (Raft, section 5.3, Log Matching): the digest runs over
 * everything before. So there is one master per epoch, too. */
static void check_log_matching(const struct server *server)
{
    const struct core *core = &server->core;
    if (!commit_log_is_free(core->commit_log) || commit_log_is_open(core->commit_log))
        return;
    struct log_fact fact = {.position = store_position(core->store)};
    if (fact.position.seq == 0)
        return;
    store_digest(core->store, fact.digest);
    if (known.count * 2 >= known.capacity)
        grow_facts();
    struct log_fact *place = location_of(known.facts, known.capacity, fact.position);
    if (place->position.seq == 0) {
        *place = fact;
        known.count++;
    } else if (memcmp(place->digest, fact.digest, sizeof fact.digest) != 0) {
        broken("log_matching", "server %u has another log up to %llx.%llu", server->number + 1,
               (unsigned long long)fact.position.epoch, (unsigned long long)fact.position.seq);
    }
}

static bool has_durably(const struct server *master, const struct server *other, uint64_t seq)
{
    if (!other->is_up || other->was_emptied)
        return true;
    const struct replica *there = cluster_replica(other->core.cluster);
    return replica_promised(there) > replica_epoch(cluster_replica(master->core.cluster)) ||
           replica_durable(there).seq >= seq;
}

static bool is_majority(unsigned having, unsigned voters)
{
    return __builtin_popcount(having & voters) * 2 > __builtin_popcount(voters);
}

/* Committed means on the disk where the policy says (Raft, section 5.3; Kafka's in-sync replicas). A server
 * that is down, or has gone on to a later epoch, had it when it acked. A list of members decides from its own
 * entry on (Raft, section 6), so the master may have committed by the one before. */
static void check_durable(struct server *server, uint64_t seq)
{
    const struct replica_member *members;
    size_t count = replica_members(cluster_replica(server->core.cluster), &members);
    unsigned voters = 0;
    unsigned having = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned bit = 1u << members[i].id;
        bool has = has_durably(server, &world.servers[members[i].id - 1], seq);
        having |= has ? bit : 0;
        voters |= members[i].voter && !members[i].left ? bit : 0;
        if (world.options.policy == REPLICA_ALL && members[i].in_sync && !members[i].left && !has)
            broken("committed_is_durable", "server %u commits %llu, not on server %u",
                   server->number + 1, (unsigned long long)seq, members[i].id);
    }
    if (world.options.policy == REPLICA_QUORUM && !is_majority(having, voters) &&
        !is_majority(having, server->voters))
        broken("committed_is_durable", "server %u commits %llu on %#x of %#x", server->number + 1,
               (unsigned long long)seq, having, voters);
    server->voters = voters;
}

/* A promise is never taken back (Paxos; Raft's currentTerm): also not by a crash. */
static void check_promise(struct server *server)
{
    uint64_t promised = replica_promised(cluster_replica(server->core.cluster));
    if (promised < server->promised)
        broken("promise_grows", "server %u promised %llx, now %llx", server->number + 1,
               (unsigned long long)server->promised, (unsigned long long)promised);
    if (promised != server->promised)
        trace("s%u has promised %llx", server->number + 1, (unsigned long long)promised);
    server->promised = promised;
}

/* A start cuts a torn tail, and no entry that was durable: if a bit of the log is wrong, the server sets the
 * log aside and begins without one (Alagappan et al., FAST 2018). */
void check_start(struct server *server)
{
    uint64_t seq = store_position(server->core.store).seq;
    world.stats.repairs += server->core.is_repaired;
    if (seq < server->proven && !server->core.is_repaired)
        broken("damage_is_not_cut", "server %u starts with a log up to %llu, and %llu was durable",
               server->number + 1, (unsigned long long)seq, (unsigned long long)server->proven);
    server->is_flipped = false;
    server->proven = 0;
}

/* Nothing is committed twice differently, and what is committed is not taken back. */
static void check_committed(struct server *server)
{
    struct log_position committed = commit_log_committed(server->core.commit_log);
    if (committed.seq == server->committed.seq)
        return;
    server->committed = committed;
    if (server->core.role == REPLICA_MASTER)
        check_durable(server, committed.seq);
    if (!world.is_strict || committed.seq == 0)
        return;
    if (committed.seq >= known.committed_capacity) {
        size_t capacity = (size_t)committed.seq * 2 + 1024;
        known.committed = realloc(known.committed, capacity * sizeof *known.committed);
        ASSERT(known.committed != NULL);
        memset(known.committed + known.committed_capacity, 0,
               (capacity - known.committed_capacity) * sizeof *known.committed);
        known.committed_capacity = capacity;
    }
    uint64_t *epoch = &known.committed[committed.seq];
    if (*epoch != 0 && *epoch != committed.epoch)
        broken("committed_once", "server %u commits %llx.%llu, and %llx was committed there",
               server->number + 1, (unsigned long long)committed.epoch,
               (unsigned long long)committed.seq, (unsigned long long)*epoch);
    *epoch = committed.epoch;
}

/* What was acknowledged is in every later master's log. Requests of a session are in the log without
 * holes, so the last one tells. A deposed master that does not know it yet commits nothing. */
static void check_new_master(const struct server *server)
{
    if (!world.is_strict || !world.is_set_up)
        return;
    uint64_t epoch = replica_epoch(cluster_replica(server->core.cluster));
    for (unsigned i = 0; i < world.options.servers; i++)
        if (world.servers[i].is_up &&
            replica_promised(cluster_replica(world.servers[i].core.cluster)) > epoch)
            return;
    for (unsigned i = 0; i < PEOPLE_MAX; i++) {
        const struct person *person = &world.people[i];
        for (size_t k = person->sent_count; k > 0; k--) {
            const struct request_record *sent = person->sent[k - 1];
            if (!sent->is_acked)
                continue;
            const struct chat_session *session =
                chat_find_session(server->core.chat, sent->session);
            if (session == NULL || chat_session_last_request(session) < sent->request)
                broken("acked_is_kept", "master %u lacks request %llu of person %u",
                       server->number + 1, (unsigned long long)sent->request, i);
            break;
        }
    }
}

static void count_news(struct server *server)
{
    const struct store *store = server->core.store;
    uint64_t orphans = store == NULL ? 0 : store_orphan_count(store);
    if (server->store != NULL && server->store != store) {
        world.stats.snapshots++;
        trace("s%u has installed a snapshot", server->number + 1);
    }
    if (orphans > server->orphans)
        world.stats.orphans += orphans - server->orphans;
    server->store = store;
    server->orphans = orphans;
    if (server->core.reads.taken > server->reads)
        world.stats.reads += server->core.reads.taken - server->reads;
    server->reads = server->core.reads.taken;
}

/* Servers are late, and none fails: a new master is a false alarm. */
static void check_alarm(const struct server *server)
{
    bool is_fault_possible = (world.options.faults & ~(unsigned)FAULT_GUESTS) != FAULT_DELAY;
    if (world.is_set_up && !world.is_quiet && !is_fault_possible)
        broken("no_false_alarm", "server %u replaces a master while delays are up to %.1f ms",
               server->number + 1, (double)world.delay_us / 1000.0);
}

void check_server(struct server *server)
{
    count_news(server);
    if (!server_is_of_cluster(server)) {
        world.stats.blanks += server->core.role == REPLICA_MASTER && !server->was_master;
        server->was_master = server->core.role == REPLICA_MASTER;
        return;
    }
    check_promise(server);
    bool is_master = server->core.role == REPLICA_MASTER;
    const struct commit_log *log = server->core.commit_log;
    uint64_t last = replica_last(cluster_replica(server->core.cluster)).seq;
    bool has_applied = commit_log_applied(log).seq >= last;
    check_committed(server);
    check_log_matching(server);
    if (is_master && !server->was_master && has_applied) {
        world.stats.epoch_starts++;
        trace("s%u is the master", server->number + 1);
        check_new_master(server);
        check_alarm(server);
    }
    server->was_master = is_master && (server->was_master || has_applied);
}

/* ---- what clients see ---- */

static bool is_right_answer(const struct request_record *sent)
{
    switch (sent->kind) {
    case SENT_ROOM:
    case SENT_PERSON:
        return sent->status == STATUS_OK;
    case SENT_NOWHERE:
        return sent->status == STATUS_NOT_FOUND;
    case SENT_JOIN:
        return sent->status == STATUS_OK || sent->status == STATUS_PERMISSION_DENIED ||
               sent->status == STATUS_NOT_FOUND;
    default:
        return sent->status != STATUS_INTERNAL && sent->status != STATUS_DATA_LOSS &&
               sent->status != STATUS_ABORTED;
    }
}

void check_acked(struct request_record *sent)
{
    struct person *person = sent->person;
    if (!is_right_answer(sent))
        broken("right_answer", "person %u's request %llu: %s", person->number,
               (unsigned long long)sent->number, status_name(sent->status));
    if (sent->was_told_status && sent->told_status != sent->status && world.is_strict)
        broken("first_answer", "person %u's request %llu: %s, then %s", person->number,
               (unsigned long long)sent->number, status_name(sent->told_status),
               status_name(sent->status));
    bool is_again = sent->was_told_status;
    sent->was_told_status = true;
    sent->told_status = sent->status;
    if (sent->kind != SENT_ROOM || !world.is_strict)
        return;
    if (!is_again && sent->room_number <= sent->floor)
        broken("after_what_was_acked", "person %u's %llu is number %llu, but %llu was acked before",
               person->number, (unsigned long long)sent->number,
               (unsigned long long)sent->room_number, (unsigned long long)sent->floor);
    if (sent->room_number > world.acked_number[sent->target])
        world.acked_number[sent->target] = sent->room_number;
    if (sent->status == STATUS_OK)
        check_note_seen(person, sent->target, sent->room_number);
}

void check_note_seen(struct person *person, unsigned room, uint64_t number)
{
    if (number > person->seen_number[room])
        person->seen_number[room] = number;
}

/* A session sees its own writes and never goes back (Terry et al., "Session Guarantees for Weakly
 * Consistent Replicated Data", sections 3.1 and 3.2), whichever server answers. */
void check_history(struct request_record *sent, const Jackdaw__HistoryReply *reply)
{
    struct person *person = sent->person;
    uint64_t newest = reply->n_events == 0 ? 0 : reply->events[reply->n_events - 1]->number;
    world.stats.histories++;
    if (world.is_strict && newest < sent->floor)
        broken("never_goes_back", "person %u sees number %llu of %u, and %llu before",
               person->number, (unsigned long long)newest, sent->target,
               (unsigned long long)sent->floor);
    check_note_seen(person, sent->target, newest);
}

static int room_of(const char *name)
{
    return strcmp(name, "lobby") == 0 ? 0 : strcmp(name, "attic") == 0 ? 1 : -1;
}

static struct request_record *sent_of(const char *text)
{
    unsigned number;
    unsigned long long index;
    if (sscanf(text, "%u:%llu", &number, &index) != 2 || number >= PEOPLE_MAX || index == 0 ||
        index > world.people[number].sent_count)
        return NULL;
    return world.people[number].sent[index - 1];
}

/* Each message is told once, in one order for all, without holes. */
void check_event(struct person *person, const Jackdaw__Event *event)
{
    world.stats.events++;
    if (event->kind != JACKDAW__EVENT__KIND__MESSAGE)
        return;
    struct request_record *sent = sent_of(event->text);
    int room = room_of(event->room);
    if (sent == NULL && strcmp(event->text, GUEST_TEXT) == 0)
        return;
    if (sent == NULL)
        broken("right_text", "person %u is told \"%s\"", person->number, event->text);
    unsigned bit = 1u << person->number;
    /* Where halves may meet, a killed client may be told again what has come to another place since. */
    bool may_repeat = person->may_repeat || (person->was_killed && !world.is_strict);
    if ((sent->told & bit) != 0 && !may_repeat)
        broken("told_once", "person %u is told %s again", person->number, event->text);
    if ((sent->told & bit) == 0)
        person->may_repeat = false; /* the end of what a killed client is told again */
    sent->told |= bit;
    if (room < 0)
        return;
    uint64_t *last = &person->last_number[room];
    if (world.is_strict && *last != 0 && event->number != *last + 1 && !may_repeat)
        broken("no_holes", "person %u is told number %llu of %s after %llu", person->number,
               (unsigned long long)event->number, event->room, (unsigned long long)*last);
    *last = event->number;
    check_note_seen(person, (unsigned)room, event->number);
}

/* Whether everybody who kept their state was told everything that was said in the rooms. */
bool check_everything_told(void)
{
    unsigned whole = 0;
    for (unsigned i = 0; i < PEOPLE_MAX; i++)
        whole |= world.people[i].was_blank ? 0 : 1u << i;
    for (unsigned i = 0; i < PEOPLE_MAX; i++)
        for (size_t k = 0; k < world.people[i].sent_count; k++) {
            const struct request_record *sent = world.people[i].sent[k];
            if (sent->kind == SENT_ROOM && sent->is_acked && (sent->told & whole) != whole)
                return false;
        }
    return true;
}

/* ---- at the end ---- */

static bool set_why(const char **why, const char *text)
{
    *why = text;
    return false;
}

bool check_converged(const char **why)
{
    const struct replica *master = NULL;
    uint16_t master_id = 0;
    for (unsigned i = 0; i < world.options.servers; i++) {
        const struct server *server = &world.servers[i];
        if (server->has_left)
            continue;
        if (!server->is_up)
            return set_why(why, "a server is down");
        if (store_orphan_count(server->core.store) != 0)
            return set_why(why, "orphans wait");
        if (!commit_log_is_free(server->core.commit_log) ||
            commit_log_is_open(server->core.commit_log))
            return set_why(why, "a disk works");
        if (server->core.role != REPLICA_MASTER)
            continue;
        if (master != NULL)
            return set_why(why, "two masters");
        master = cluster_replica(server->core.cluster);
        master_id = (uint16_t)(i + 1);
    }
    if (master == NULL)
        return set_why(why, "no master");
    struct log_position last = replica_last(master);
    for (unsigned i = 0; i < world.options.servers; i++) {
        const struct server *server = &world.servers[i];
        if (server->has_left)
            continue;
        const struct replica *replica = cluster_replica(server->core.cluster);
        if (i + 1 != master_id && replica_role(replica) != REPLICA_SLAVE)
            return set_why(why, "not all follow");
        if (replica_master(replica) != master_id)
            return set_why(why, "another master is followed");
        if (log_position_compare(replica_durable(replica), last) != 0 ||
            replica_committed(replica) != last.seq)
            return set_why(why, "logs differ");
    }
    return true;
}

struct scan {
    const struct server *server;
    const struct room_row *room;
    uint64_t number;
    uint64_t last[PEOPLE_MAX];
    uint64_t last_session[PEOPLE_MAX];
};

static bool is_right_room(const struct request_record *sent, const struct room_row *room)
{
    char name[32];
    switch (sent->kind) {
    case SENT_ROOM:
        return room_of(room->name) == (int)sent->target;
    case SENT_PERSON:
        return room->name[0] == '\0';
    default:
        (void)snprintf(name, sizeof name, "extra%u", sent->target);
        return strncmp(room->name, name, strlen(name)) == 0;
    }
}

static enum error scan_event(void *context, const struct timeline_row *row)
{
    struct scan *scan = context;
    if (row->kind != JACKDAW__EVENT__KIND__MESSAGE)
        return OK;
    if (row->number != ++scan->number)
        broken("no_holes", "server %u, %s: number %llu follows %llu", scan->server->number + 1,
               scan->room->name, (unsigned long long)row->number,
               (unsigned long long)scan->number - 1);
    struct request_record *sent = sent_of(row->text);
    if (sent == NULL && strcmp(row->text, GUEST_TEXT) == 0)
        return OK;
    if (sent == NULL || !is_right_room(sent, scan->room))
        broken("right_room", "server %u: %s is in \"%s\"", scan->server->number + 1, row->text,
               scan->room->name);
    unsigned from = sent->person->number;
    if (sent->number <= scan->last[from] && row->session == scan->last_session[from])
        broken("senders_order", "server %u, %s: %s after %llu", scan->server->number + 1,
               scan->room->name, row->text, (unsigned long long)scan->last[from]);
    scan->last[from] = sent->number;
    scan->last_session[from] = row->session;
    sent->found++;
    return OK;
}

static enum error scan_room(void *context, const struct room_row *room)
{
    const struct server *server = context;
    struct scan scan = {.server = server, .room = room};
    return store_events_after(server->core.store, room->id, 0, UINT64_MAX >> 1, 1u << 30,
                              scan_event, &scan);
}

static enum error count_deltas(void *context, const struct log_entry *entry)
{
    (void)context;
    if (entry->kind != LOG_ENTRY_CHAT)
        return OK;
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, entry->size, entry->bytes);
    ASSERT(batch != NULL);
    for (size_t i = 0; i < batch->n_deltas; i++)
        world.stats.deltas[batch->deltas[i]->change_case]++;
    jackdaw__batch__free_unpacked(batch, NULL);
    return OK;
}

/* Every acknowledged message is there exactly once, where it was sent to, in its sender's order. */
static void check_server_at_the_end(struct server *server)
{
    server->process.effects_left = 0; /* nothing dies of being looked at */
    process_enter(&server->process);
    if (store_each_room(server->core.store, scan_room, server) != OK)
        broken("harness", "scan: %s", store_last_problem(server->core.store));
    process_leave(&server->process);
    for (unsigned i = 0; i < PEOPLE_MAX; i++)
        for (size_t k = 0; k < world.people[i].sent_count; k++) {
            struct request_record *sent = world.people[i].sent[k];
            if (sent->found > 1 || (sent->is_acked && sent->found == 0))
                broken("acked_exactly_once", "server %u: message %llu of person %u: %u times",
                       server->number + 1, (unsigned long long)sent->number, i, sent->found);
            sent->found = 0;
        }
}

void check_final(void)
{
    uint8_t first[LOG_DIGEST_BYTES];
    const struct server *with = NULL;
    for (unsigned i = 0; i < world.options.servers; i++) {
        struct server *server = &world.servers[i];
        if (server->has_left)
            continue;
        uint8_t digest[LOG_DIGEST_BYTES];
        store_digest(server->core.store, digest);
        if (with != NULL && memcmp(first, digest, sizeof first) != 0)
            broken("digests_agree", "servers %u and %u", with->number + 1, i + 1);
        memcpy(first, digest, sizeof first);
        if (with == NULL)
            (void)store_log_read(server->core.store, store_log_first(server->core.store),
                                 count_deltas, NULL);
        with = server;
        check_server_at_the_end(server);
    }
}
