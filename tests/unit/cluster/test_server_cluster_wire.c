/* SPDX-License-Identifier: MIT */
/* Replication messages to the wire and back: nothing is lost, and nothing out of range comes in. */
#include "cluster/cluster_wire.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t some_bytes[] = {0, 1, 2, 0xff};

static void fill_batches(struct log_entry *batches, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        batches[i] = (struct log_entry){
            .kind = i % 2 == 0 ? LOG_ENTRY_CHAT : LOG_ENTRY_MEMBERS,
            .epoch = 65537 + i,
            .first_seq = 10 + 2 * i,
            .last_seq = 10 + 2 * i + (i % 2 == 0),
            .bytes = some_bytes,
            .size = sizeof some_bytes - i % 4,
        };
        memset(batches[i].digest, (int)i + 1, sizeof batches[i].digest);
    }
}

static struct replica_in_sync_set full_in_sync(void)
{
    struct replica_in_sync_set set = {.position = {65540, 15}, .count = REPLICA_MEMBERS_MAX};
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        set.ids[i] = (uint16_t)(UINT16_MAX - i);
    return set;
}

static const struct replica_location locations[] = {{65535, "10.0.0.9:1"}, {1, "b:2"}};

static struct epoch_history full_epochs(void)
{
    static struct epoch_start starts[REPLICA_EPOCHS_MAX];
    for (size_t i = 0; i < REPLICA_EPOCHS_MAX; i++)
        starts[i] = (struct epoch_start){.epoch = 65536 + i, .first_seq = 100 + i};
    return (struct epoch_history){starts, REPLICA_EPOCHS_MAX};
}

/* Every field has a value of its own. */
static struct replica_message full_message(enum replica_message_kind kind,
                                           const struct log_entry *entries, size_t count)
{
    const struct log_position one = {65537, 7}, two = {65538, 8}, three = {65539, 9};
    const struct replica_leader leader = {.id = 13, .epoch = 14, .address = "10.0.0.13:1"};
    const struct replica_in_sync_set in_sync = full_in_sync();
    const struct replica_message bodies[REPLICA_MESSAGE_KINDS] = {
        [REPLICA_PING] = {.ping = {one}},
        [REPLICA_ACK] = {.ack = {one}},
        [REPLICA_PONG] = {.pong = {REPLICA_REMOVED, one, 10, 11, UINT32_MAX, leader}},
        [REPLICA_APPEND] = {.append = {one, two, 10, entries}},
        [REPLICA_FETCH] = {.fetch = {true, one}},
        [REPLICA_ENTRIES] = {.entries = {true, REPLICA_DIVERGED, one, two, 10, entries, count}},
        [REPLICA_JOIN] = {.join = {true, 65534, "tls+tcp://chat.example:3", one, two,
                                   full_epochs()}},
        [REPLICA_JOIN_REPLY] = {.join_reply = {true, REPLICA_DIVERGED, one, two, three, 10,
                                               leader}},
        [REPLICA_JOIN_REJECTED] = {.join_rejected = {REPLICA_REJECTED_FULL, true, in_sync}},
        [REPLICA_SNAPSHOT_REQUEST] = {.snapshot_request = {true, UINT64_MAX, 16, one, two}},
        [REPLICA_SNAPSHOT_CHUNK] = {.snapshot_chunk = {true, UINT64_MAX, 16, 17, one, two, three,
                                                       some_bytes, sizeof some_bytes}},
        [REPLICA_LEADER_QUERY] = {.leader_query = {12, true, in_sync}},
        [REPLICA_LEADER_INFO] = {.leader_info = {REPLICA_REMOVED, true, one, leader, in_sync,
                                                 locations, 2}},
        [REPLICA_PROMISE] = {.promise = {true, one, in_sync, leader}},
        [REPLICA_ORPHAN_TRANSFER] = {.orphan_transfer = {18, entries, count}},
        [REPLICA_ORPHAN_TRANSFER_DONE] = {.orphan_transfer_done = {18, one}},
        [REPLICA_LEAVE] = {.leave = {12}},
        [REPLICA_COMMITTED] = {.committed = {UINT64_MAX}},
    };
    struct replica_message message = bodies[kind];
    message.kind = kind;
    message.from = 65535;
    message.to = 2;
    message.blank = true;
    message.founding = kind % 2 == 0;
    message.internal = "[2001:db8::1]:2";
    message.epoch = 65537;
    message.promised = 131075;
    for (size_t i = 0; i < REPLICA_CLUSTER_BYTES; i++)
        message.cluster[i] = (uint8_t)i;
    return message;
}

static void assert_same_position(struct log_position left, struct log_position right)
{
    assert_int_equal(left.epoch, right.epoch);
    assert_int_equal(left.seq, right.seq);
}

static void assert_same_text(const char *left, const char *right)
{
    assert_int_equal(left == NULL, right == NULL);
    if (left != NULL)
        assert_string_equal(left, right);
}

static void assert_same_leader(const struct replica_leader *left,
                               const struct replica_leader *right)
{
    assert_int_equal(left->id, right->id);
    assert_int_equal(left->epoch, right->epoch);
    assert_same_text(left->address, right->address);
}

static void assert_same_in_sync(const struct replica_in_sync_set *left,
                                const struct replica_in_sync_set *right)
{
    assert_same_position(left->position, right->position);
    assert_int_equal(left->count, right->count);
    assert_memory_equal(left->ids, right->ids, sizeof left->ids);
}

static void assert_same_entries(const struct log_entry *left, size_t count,
                                const struct log_entry *right, size_t right_count)
{
    assert_int_equal(count, right_count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(left[i].kind, right[i].kind);
        assert_int_equal(left[i].epoch, right[i].epoch);
        assert_int_equal(left[i].first_seq, right[i].first_seq);
        assert_int_equal(left[i].last_seq, right[i].last_seq);
        assert_int_equal(left[i].size, right[i].size);
        if (left[i].size > 0)
            assert_memory_equal(left[i].bytes, right[i].bytes, left[i].size);
        assert_memory_equal(left[i].digest, right[i].digest, sizeof left[i].digest);
    }
}

static void assert_same_join(const struct replica_join *left, const struct replica_join *right)
{
    assert_int_equal(left->recovering_log, right->recovering_log);
    assert_int_equal(left->level, right->level);
    assert_same_text(left->client, right->client);
    assert_same_position(left->last, right->last);
    assert_same_position(left->avoid, right->avoid);
    assert_int_equal(left->epochs.count, right->epochs.count);
    for (size_t i = 0; i < left->epochs.count; i++) {
        assert_int_equal(left->epochs.starts[i].epoch, right->epochs.starts[i].epoch);
        assert_int_equal(left->epochs.starts[i].first_seq, right->epochs.starts[i].first_seq);
    }
}

static void assert_same_chunk(const struct replica_snapshot_chunk *left,
                              const struct replica_snapshot_chunk *right)
{
    assert_int_equal(left->recovering_log, right->recovering_log);
    assert_int_equal(left->snapshot, right->snapshot);
    assert_int_equal(left->offset, right->offset);
    assert_int_equal(left->total, right->total);
    assert_same_position(left->common, right->common);
    assert_same_position(left->avoid, right->avoid);
    assert_same_position(left->last, right->last);
    assert_int_equal(left->size, right->size);
    if (left->size > 0)
        assert_memory_equal(left->bytes, right->bytes, left->size);
}

static void assert_same_info(const struct replica_leader_info *left,
                             const struct replica_leader_info *right)
{
    assert_int_equal(left->role, right->role);
    assert_int_equal(left->unhealthy, right->unhealthy);
    assert_same_position(left->durable, right->durable);
    assert_same_leader(&left->leader, &right->leader);
    assert_same_in_sync(&left->in_sync, &right->in_sync);
    assert_int_equal(left->locations_count, right->locations_count);
    for (size_t i = 0; i < left->locations_count; i++) {
        assert_int_equal(left->locations[i].id, right->locations[i].id);
        assert_same_text(left->locations[i].address, right->locations[i].address);
    }
}

static void assert_same_reply(const struct replica_join_reply *left,
                              const struct replica_join_reply *right)
{
    assert_int_equal(left->recovering_log, right->recovering_log);
    assert_int_equal(left->answer, right->answer);
    assert_same_position(left->asked, right->asked);
    assert_same_position(left->common, right->common);
    assert_same_position(left->last, right->last);
    assert_int_equal(left->committed, right->committed);
    assert_same_leader(&left->leader, &right->leader);
}

static void assert_same_body(const struct replica_message *left,
                             const struct replica_message *right)
{
    switch (left->kind) {
    case REPLICA_PING:
        assert_same_position(left->ping.durable, right->ping.durable);
        break;
    case REPLICA_ACK:
        assert_same_position(left->ack.durable, right->ack.durable);
        break;
    case REPLICA_PONG:
        assert_int_equal(left->pong.role, right->pong.role);
        assert_same_position(left->pong.last, right->pong.last);
        assert_int_equal(left->pong.committed, right->pong.committed);
        assert_int_equal(left->pong.needed, right->pong.needed);
        assert_int_equal(left->pong.disk_age_ms, right->pong.disk_age_ms);
        assert_same_leader(&left->pong.leader, &right->pong.leader);
        break;
    case REPLICA_APPEND:
        assert_same_position(left->append.before, right->append.before);
        assert_same_position(left->append.last, right->append.last);
        assert_int_equal(left->append.committed, right->append.committed);
        assert_same_entries(left->append.entry, 1, right->append.entry, 1);
        break;
    case REPLICA_FETCH:
        assert_int_equal(left->fetch.recovering_log, right->fetch.recovering_log);
        assert_same_position(left->fetch.after, right->fetch.after);
        break;
    case REPLICA_ENTRIES:
        assert_int_equal(left->entries.recovering_log, right->entries.recovering_log);
        assert_int_equal(left->entries.answer, right->entries.answer);
        assert_same_position(left->entries.after, right->entries.after);
        assert_same_position(left->entries.last, right->entries.last);
        assert_int_equal(left->entries.committed, right->entries.committed);
        assert_same_entries(left->entries.entries, left->entries.count, right->entries.entries,
                            right->entries.count);
        break;
    case REPLICA_JOIN:
        assert_same_join(&left->join, &right->join);
        break;
    case REPLICA_JOIN_REPLY:
        assert_same_reply(&left->join_reply, &right->join_reply);
        break;
    case REPLICA_JOIN_REJECTED:
        assert_int_equal(left->join_rejected.rejection, right->join_rejected.rejection);
        assert_int_equal(left->join_rejected.is_listed, right->join_rejected.is_listed);
        assert_same_in_sync(&left->join_rejected.in_sync, &right->join_rejected.in_sync);
        break;
    case REPLICA_SNAPSHOT_REQUEST:
        assert_int_equal(left->snapshot_request.recovering_log,
                         right->snapshot_request.recovering_log);
        assert_int_equal(left->snapshot_request.snapshot, right->snapshot_request.snapshot);
        assert_int_equal(left->snapshot_request.offset, right->snapshot_request.offset);
        assert_same_position(left->snapshot_request.common, right->snapshot_request.common);
        assert_same_position(left->snapshot_request.avoid, right->snapshot_request.avoid);
        break;
    case REPLICA_SNAPSHOT_CHUNK:
        assert_same_chunk(&left->snapshot_chunk, &right->snapshot_chunk);
        break;
    case REPLICA_LEADER_QUERY:
        assert_int_equal(left->leader_query.suspect, right->leader_query.suspect);
        assert_int_equal(left->leader_query.is_seed, right->leader_query.is_seed);
        assert_same_in_sync(&left->leader_query.in_sync, &right->leader_query.in_sync);
        break;
    case REPLICA_LEADER_INFO:
        assert_same_info(&left->leader_info, &right->leader_info);
        break;
    case REPLICA_PROMISE:
        assert_int_equal(left->promise.granted, right->promise.granted);
        assert_same_position(left->promise.durable, right->promise.durable);
        assert_same_in_sync(&left->promise.in_sync, &right->promise.in_sync);
        assert_same_leader(&left->promise.leader, &right->promise.leader);
        break;
    case REPLICA_ORPHAN_TRANSFER:
        assert_int_equal(left->orphan_transfer.orphan, right->orphan_transfer.orphan);
        assert_same_entries(left->orphan_transfer.entries, left->orphan_transfer.count,
                            right->orphan_transfer.entries, right->orphan_transfer.count);
        break;
    case REPLICA_ORPHAN_TRANSFER_DONE:
        assert_int_equal(left->orphan_transfer_done.orphan, right->orphan_transfer_done.orphan);
        assert_same_position(left->orphan_transfer_done.merged, right->orphan_transfer_done.merged);
        break;
    case REPLICA_LEAVE:
        assert_int_equal(left->leave.node, right->leave.node);
        break;
    case REPLICA_COMMITTED:
        assert_true(left->committed.seq == right->committed.seq);
        break;
    default: /* PREPARE, ANNOUNCE */
        break;
    }
}

static void assert_same(const struct replica_message *left, const struct replica_message *right)
{
    assert_int_equal(left->kind, right->kind);
    assert_int_equal(left->from, right->from);
    assert_int_equal(left->to, right->to);
    assert_int_equal(left->blank, right->blank);
    assert_int_equal(left->founding, right->founding);
    assert_same_text(left->internal, right->internal);
    assert_memory_equal(left->cluster, right->cluster, sizeof left->cluster);
    assert_int_equal(left->epoch, right->epoch);
    assert_int_equal(left->promised, right->promised);
    assert_same_body(left, right);
}

struct fixture {
    struct arena arena;
};

static void begin(struct fixture *f)
{
    arena_init(&f->arena, 8u << 20);
}

static void end(struct fixture *f)
{
    arena_clear(&f->arena);
}

static void go_round(struct fixture *f, const struct replica_message *message, const char *feed)
{
    ProtobufCBinaryData packed;
    assert_int_equal(cluster_wire_pack(message, feed, &f->arena, &packed), OK);
    struct replica_message back;
    const char *feed_back = "unchanged";
    assert_int_equal(cluster_wire_unpack(packed.data, packed.len, &f->arena, &back, &feed_back),
                     OK);
    assert_same(message, &back);
    assert_same_text(feed, feed_back);
    assert_null(back.address);
    arena_clear(&f->arena);
}

TEST_F(test_cluster_wire__every_field_of_every_kind_comes_back)
{
    struct log_entry batches[REPLICA_ENTRIES_MAX];
    fill_batches(batches, REPLICA_ENTRIES_MAX);
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct replica_message message =
            full_message((enum replica_message_kind)kind, batches, REPLICA_ENTRIES_MAX);
        go_round(f, &message, "10.0.0.1:2627");
    }
}

TEST_F(test_cluster_wire__what_is_not_there_stays_away)
{
    struct log_entry entry;
    fill_batches(&entry, 1);
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct replica_message message = {.kind = (enum replica_message_kind)kind, .from = 1};
        if (kind == REPLICA_JOIN) {
            message.internal = "a:1";
            message.join.client =
                ""; /* a server that knows only the address that clients dialled */
        }
        if (kind == REPLICA_APPEND)
            message.append.entry = &entry;
        if (kind == REPLICA_JOIN_REJECTED)
            message.join_rejected.rejection = REPLICA_REJECTED_CLUSTER;
        go_round(f, &message, NULL);
    }
    /* A node may see a master without knowing its address. */
    go_round(f,
             &(struct replica_message){.kind = REPLICA_LEADER_INFO,
                                       .from = 1,
                                       .leader_info.leader = {.id = 2, .address = ""}},
             NULL);
}

TEST(test_cluster_wire__kinds_are_one_more_on_the_wire)
{
    const ProtobufCEnumDescriptor *kinds = &jackdaw__cluster_message__kind__descriptor;
    /* Also UNKNOWN and NEWS, which are no messages of the replica. */
    assert_int_equal(kinds->n_values, REPLICA_MESSAGE_KINDS + 2);
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        const char *name = replica_message_name((enum replica_message_kind)kind);
        const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(kinds, kind + 1);
        assert_non_null(value);
        for (size_t i = 0; name[i] != '\0'; i++)
            assert_int_equal(name[i] & ~0x20, value->name[i] & ~0x20);
        assert_int_equal(strlen(name), strlen(value->name));
    }
}

TEST_F(test_cluster_wire__payloads_are_borrowed)
{
    struct log_entry batch;
    fill_batches(&batch, 1);
    struct replica_message message = full_message(REPLICA_APPEND, &batch, 1);
    Jackdaw__ClusterMessage *wire;
    assert_int_equal(cluster_wire_encode(&message, NULL, &f->arena, &wire), OK);
    assert_ptr_equal(wire->batches[0]->bytes.data, some_bytes);
    struct replica_message back;
    assert_int_equal(cluster_wire_decode(wire, &f->arena, &back, NULL), OK);
    assert_ptr_equal(back.append.entry->bytes, some_bytes);
    assert_ptr_equal(back.internal, message.internal);
    message = full_message(REPLICA_SNAPSHOT_CHUNK, NULL, 0);
    assert_int_equal(cluster_wire_encode(&message, NULL, &f->arena, &wire), OK);
    assert_ptr_equal(wire->bytes.data, some_bytes);
    assert_int_equal(cluster_wire_decode(wire, &f->arena, &back, NULL), OK);
    assert_ptr_equal(back.snapshot_chunk.bytes, some_bytes);
}

static char long_address[ADDRESS_TEXT_SIZE + 1];
static uint8_t large_bytes[REPLICA_CHUNK_BYTES + 1];

static Jackdaw__ClusterMessage *encode_full(struct fixture *f, enum replica_message_kind kind)
{
    static struct log_entry batches[4];
    fill_batches(batches, 4);
    struct replica_message message = full_message(kind, batches, 4), back;
    Jackdaw__ClusterMessage *wire;
    const char *feed;
    assert_int_equal(cluster_wire_encode(&message, "a:1", &f->arena, &wire), OK);
    assert_int_equal(cluster_wire_decode(wire, &f->arena, &back, &feed), OK);
    return wire;
}

static void expect_refused(struct fixture *f, const Jackdaw__ClusterMessage *wire, const char *rule)
{
    static struct replica_message untouched, back;
    const char *feed = "unchanged";
    memset(&untouched, 0x5a, sizeof untouched);
    memcpy(&back, &untouched, sizeof back);
    if (cluster_wire_decode(wire, &f->arena, &back, &feed) != ERROR_INVALID)
        fail_msg("%s was let in", rule);
    assert_memory_equal(&back, &untouched, sizeof back);
    assert_string_equal(feed, "unchanged");
    arena_clear(&f->arena);
}

/* A full message of the kind is refused after the change to it, which is called m. */
#define REFUSES(f, kind, rule, change)                                 \
    do {                                                               \
        Jackdaw__ClusterMessage *m = encode_full((f), REPLICA_##kind); \
        change;                                                        \
        expect_refused((f), m, (rule));                                \
    } while (0)

TEST_F(test_cluster_wire__numbers_out_of_range_are_refused)
{
    REFUSES(f, ENTRIES, "no kind", m->kind = JACKDAW__CLUSTER_MESSAGE__KIND__NONE);
    REFUSES(f, ENTRIES, "unknown kind",
            m->kind = (Jackdaw__ClusterMessage__Kind)(REPLICA_MESSAGE_KINDS + 1));
    REFUSES(f, ENTRIES, "negative kind", m->kind = (Jackdaw__ClusterMessage__Kind)-1);
    REFUSES(f, ENTRIES, "from nobody", m->from = 0);
    REFUSES(f, ENTRIES, "from too large", m->from = 65536);
    REFUSES(f, ENTRIES, "to too large", m->to = 65536);
    REFUSES(f, LEADER_QUERY, "node too large", m->node = 65536);
    REFUSES(f, LEADER_INFO, "master too large", m->master = UINT32_MAX);
    REFUSES(f, JOIN, "level too large", m->level = 65536);
    REFUSES(f, LEAVE, "leave too large", m->node = 65536);
    REFUSES(f, LEADER_INFO, "location of nobody", m->locations[1]->id = 0);
    REFUSES(f, PONG, "role", m->role = REPLICA_ROLES);
    REFUSES(f, ENTRIES, "answer", m->answer = REPLICA_DIVERGED + 1);
    REFUSES(f, JOIN_REJECTED, "refusal", m->refusal = REPLICA_REJECTED_FULL + 1);
    REFUSES(f, JOIN_REJECTED, "no refusal", m->refusal = 0);
    REFUSES(f, LEADER_INFO, "id of nobody", m->in_sync_ids[3] = 0);
    REFUSES(f, PROMISE, "id too large", m->in_sync_ids[3] = 65536);
    REFUSES(f, ENTRIES, "kind of batch", m->batches[1]->kind = (Jackdaw__LogEntry__Kind)2);
    REFUSES(f, ENTRIES, "negative kind of batch",
            m->batches[1]->kind = (Jackdaw__LogEntry__Kind)-1);
    REFUSES(f, ENTRIES, "batch before the first", m->batches[0]->first_seq = 0);
    REFUSES(f, ENTRIES, "batch ends before it begins",
            m->batches[0]->last_seq = m->batches[0]->first_seq - 1);
    REFUSES(f, ENTRIES, "members of two seqs", m->batches[1]->last_seq++);
}

TEST_F(test_cluster_wire__texts_that_are_no_addresses_are_refused)
{
    memset(long_address, 'a', sizeof long_address - 1);
    memcpy(long_address + sizeof long_address - 3, ":1", 2);
    REFUSES(f, LEADER_INFO, "location nowhere", m->locations[1]->address = (char *)"");
    REFUSES(f, JOIN_REPLY, "long master address", m->master_address = long_address);
    REFUSES(f, ENTRIES, "long internal", m->internal = long_address);
    REFUSES(f, JOIN, "long client", m->client = long_address);
    REFUSES(f, ENTRIES, "long feed", m->feed = long_address);
    REFUSES(f, ENTRIES, "no address", m->internal = (char *)"nowhere");
    REFUSES(f, JOIN, "control characters", m->client = (char *)"\x1b[2J:1");
    REFUSES(f, JOIN, "join from nowhere", m->internal = (char *)"");
}

TEST_F(test_cluster_wire__sizes_out_of_range_are_refused)
{
    REFUSES(f, APPEND, "no entry", m->n_batches = 0);
    REFUSES(f, APPEND, "two entries", m->n_batches = 2);
    REFUSES(f, LEADER_INFO, "many locations", m->n_locations = REPLICA_MEMBERS_MAX + 1);
    REFUSES(f, ENTRIES, "short cluster", m->cluster.len = REPLICA_CLUSTER_BYTES - 1);
    REFUSES(f, ENTRIES, "long cluster",
            m->cluster = ((ProtobufCBinaryData){REPLICA_CLUSTER_BYTES + 1, large_bytes}));
    REFUSES(f, LEADER_QUERY, "many ids", m->n_in_sync_ids = REPLICA_MEMBERS_MAX + 1);
    REFUSES(f, JOIN, "many epoch starts", m->n_epoch_starts = REPLICA_EPOCHS_MAX + 1);
    REFUSES(f, ENTRIES, "many batches", m->n_batches = REPLICA_ENTRIES_MAX + 1);
    REFUSES(f, SNAPSHOT_CHUNK, "large chunk",
            m->bytes = ((ProtobufCBinaryData){sizeof large_bytes, large_bytes}));
    REFUSES(f, ENTRIES, "many members", m->batches[1]->bytes.len = REPLICA_MEMBERS_BYTES_MAX + 1);
    REFUSES(f, ENTRIES, "no digest", m->batches[0]->digest.len = 0);
    REFUSES(f, ENTRIES, "short digest", m->batches[0]->digest.len = LOG_DIGEST_BYTES - 1);
    REFUSES(f, ENTRIES, "long digest", m->batches[0]->digest.len = LOG_DIGEST_BYTES + 1);
}

TEST_F(test_cluster_wire__no_memory_is_an_error)
{
    struct log_entry batches[4];
    fill_batches(batches, 4);
    struct replica_message message = full_message(REPLICA_ENTRIES, batches, 4);
    enum error error = ERROR_NO_MEMORY;
    size_t failures = 0;
    for (size_t budget = 0; error != OK; budget += 16, failures++) {
        assert_true(budget < 65536);
        struct arena arena;
        arena_init(&arena, budget);
        ProtobufCBinaryData packed;
        error = cluster_wire_pack(&message, NULL, &arena, &packed);
        assert_true(error == OK || error == ERROR_NO_MEMORY);
        arena_clear(&arena);
    }
    assert_true(failures > 10);
    Jackdaw__ClusterMessage *wire;
    assert_int_equal(cluster_wire_encode(&message, NULL, &f->arena, &wire), OK);
    struct arena small;
    arena_init(&small, sizeof(struct log_entry));
    struct replica_message back;
    assert_int_equal(cluster_wire_decode(wire, &small, &back, NULL), ERROR_NO_MEMORY);
    arena_clear(&small);
}

TEST_F(test_cluster_wire__garbage_is_refused)
{
    struct replica_message back;
    assert_int_equal(cluster_wire_unpack("\xff\xff", 2, &f->arena, &back, NULL), ERROR_INVALID);
    assert_int_equal(cluster_wire_unpack("", 0, &f->arena, &back, NULL), ERROR_INVALID);
}

/* The largest page there is fits into what the header promises. */
TEST_F(test_cluster_wire__a_budget_by_size_suffices)
{
    struct log_entry batches[REPLICA_ENTRIES_MAX];
    fill_batches(batches, REPLICA_ENTRIES_MAX);
    for (size_t size = 0; size <= 16384; size += 16384) {
        for (size_t i = 0; i < REPLICA_ENTRIES_MAX; i += 2) {
            batches[i].bytes = large_bytes;
            batches[i].size = size;
        }
        struct replica_message message =
            full_message(REPLICA_ENTRIES, batches, REPLICA_ENTRIES_MAX);
        ProtobufCBinaryData packed;
        assert_int_equal(cluster_wire_pack(&message, "a:1", &f->arena, &packed), OK);
        struct arena other;
        arena_init(&other, packed.len * CLUSTER_UNPACK_FACTOR + CLUSTER_UNPACK_FLOOR);
        struct replica_message back;
        assert_int_equal(cluster_wire_unpack(packed.data, packed.len, &other, &back, NULL), OK);
        arena_clear(&other);
        arena_clear(&f->arena);
    }
}

TEST_F(test_cluster_frame__takes_what_its_bounds_allow)
{
    struct cluster_frame frame;
    cluster_frame_init(&frame);
    struct replica_message ping = {.kind = REPLICA_PING, .from = 1, .to = 2};
    for (unsigned i = 0; i < CLUSTER_FRAME_MESSAGES_MAX; i++) {
        ping.epoch = i;
        assert_int_equal(cluster_frame_add(&frame, &ping, NULL, &f->arena), OK);
    }
    assert_int_equal(cluster_frame_add(&frame, &ping, NULL, &f->arena), ERROR_FULL);
    ProtobufCBinaryData packed;
    assert_int_equal(cluster_frame_pack(&frame, &f->arena, &packed), OK);
    Jackdaw__ClusterFrame *back = jackdaw__cluster_frame__unpack(NULL, packed.len, packed.data);
    assert_non_null(back);
    assert_int_equal(back->n_messages, CLUSTER_FRAME_MESSAGES_MAX);
    for (unsigned i = 0; i < CLUSTER_FRAME_MESSAGES_MAX; i++)
        assert_int_equal(back->messages[i]->epoch, i);
    jackdaw__cluster_frame__free_unpacked(back, NULL);
}

TEST_F(test_cluster_frame__a_large_message_goes_alone)
{
    static uint8_t page[CLUSTER_FRAME_BYTES + 1000];
    struct log_entry batch;
    fill_batches(&batch, 1);
    batch.bytes = page;
    batch.size = sizeof page;
    struct replica_message large = {
        .kind = REPLICA_ENTRIES, .from = 1, .entries = {.entries = &batch, .count = 1}};
    struct replica_message ping = {.kind = REPLICA_PING, .from = 1};
    struct cluster_frame frame;
    cluster_frame_init(&frame);
    assert_int_equal(cluster_frame_add(&frame, &large, NULL, &f->arena), OK);
    assert_int_equal(cluster_frame_add(&frame, &ping, NULL, &f->arena), ERROR_FULL);
    assert_int_equal(frame.frame.n_messages, 1);
    cluster_frame_init(&frame);
    assert_int_equal(cluster_frame_add(&frame, &ping, NULL, &f->arena), OK);
    assert_int_equal(cluster_frame_add(&frame, &large, NULL, &f->arena), ERROR_FULL);
    assert_int_equal(frame.frame.n_messages, 1);
}
