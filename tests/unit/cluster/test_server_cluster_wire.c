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

/* Every field has a value of its own. */
static struct replica_message full_message(enum replica_message_kind kind,
                                           const struct log_entry *batches, size_t count)
{
    struct replica_message message = {
        .kind = kind,
        .from = 65535,
        .to = 2,
        .epoch = 65537,
        .promised = 131075,
        .position = {65537, 7},
        .last = {65538, 8},
        .common = {65539, 9},
        .committed = 10,
        .needed = 11,
        .role = REPLICA_REMOVED,
        .answer = REPLICA_DIVERGED,
        .refusal = REPLICA_REJECTED_FULL,
        .recovering_log = true,
        .granted = true,
        .in_sync = true,
        .unhealthy = true,
        .disk_age_ms = UINT32_MAX,
        .node = 12,
        .master = 13,
        .master_epoch = 14,
        .master_address = "10.0.0.13:1",
        .internal = "[2001:db8::1]:2",
        .client = "tls+tcp://chat.example:3",
        .members_position = {65540, 15},
        .batches = batches,
        .batches_count = count,
        .snapshot = UINT64_MAX,
        .offset = 16,
        .total = 17,
        .bytes = some_bytes,
        .size = sizeof some_bytes,
        .orphan = 18,
    };
    for (size_t i = 0; i < REPLICA_CLUSTER_BYTES; i++)
        message.cluster[i] = (uint8_t)i;
    message.in_sync_count = REPLICA_MEMBERS_MAX;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        message.in_sync_ids[i] = (uint16_t)(UINT16_MAX - i);
    static struct epoch_start starts[REPLICA_EPOCHS_MAX];
    for (size_t i = 0; i < REPLICA_EPOCHS_MAX; i++)
        starts[i] = (struct epoch_start){.epoch = 65536 + i, .first_seq = 100 + i};
    message.epochs = (struct epoch_history){starts, REPLICA_EPOCHS_MAX};
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

static void assert_same_lists(const struct replica_message *left,
                              const struct replica_message *right)
{
    assert_int_equal(left->in_sync_count, right->in_sync_count);
    assert_memory_equal(left->in_sync_ids, right->in_sync_ids, sizeof left->in_sync_ids);
    assert_int_equal(left->epochs.count, right->epochs.count);
    for (size_t i = 0; i < left->epochs.count; i++) {
        assert_int_equal(left->epochs.starts[i].epoch, right->epochs.starts[i].epoch);
        assert_int_equal(left->epochs.starts[i].first_seq, right->epochs.starts[i].first_seq);
    }
    assert_int_equal(left->batches_count, right->batches_count);
    for (size_t i = 0; i < left->batches_count; i++) {
        const struct log_entry *one = &left->batches[i];
        const struct log_entry *other = &right->batches[i];
        assert_int_equal(one->kind, other->kind);
        assert_int_equal(one->epoch, other->epoch);
        assert_int_equal(one->first_seq, other->first_seq);
        assert_int_equal(one->last_seq, other->last_seq);
        assert_int_equal(one->size, other->size);
        if (one->size > 0)
            assert_memory_equal(one->bytes, other->bytes, one->size);
        assert_memory_equal(one->digest, other->digest, sizeof one->digest);
    }
}

static void assert_same(const struct replica_message *left, const struct replica_message *right)
{
    assert_int_equal(left->kind, right->kind);
    assert_int_equal(left->from, right->from);
    assert_int_equal(left->to, right->to);
    assert_memory_equal(left->cluster, right->cluster, sizeof left->cluster);
    assert_int_equal(left->epoch, right->epoch);
    assert_int_equal(left->promised, right->promised);
    assert_same_position(left->position, right->position);
    assert_same_position(left->last, right->last);
    assert_same_position(left->common, right->common);
    assert_same_position(left->members_position, right->members_position);
    assert_int_equal(left->committed, right->committed);
    assert_int_equal(left->needed, right->needed);
    assert_int_equal(left->role, right->role);
    assert_int_equal(left->answer, right->answer);
    assert_int_equal(left->refusal, right->refusal);
    assert_int_equal(left->recovering_log, right->recovering_log);
    assert_int_equal(left->granted, right->granted);
    assert_int_equal(left->in_sync, right->in_sync);
    assert_int_equal(left->unhealthy, right->unhealthy);
    assert_int_equal(left->disk_age_ms, right->disk_age_ms);
    assert_int_equal(left->node, right->node);
    assert_int_equal(left->master, right->master);
    assert_int_equal(left->master_epoch, right->master_epoch);
    assert_same_text(left->master_address, right->master_address);
    assert_same_text(left->internal, right->internal);
    assert_same_text(left->client, right->client);
    assert_int_equal(left->snapshot, right->snapshot);
    assert_int_equal(left->offset, right->offset);
    assert_int_equal(left->total, right->total);
    assert_int_equal(left->size, right->size);
    if (left->size > 0)
        assert_memory_equal(left->bytes, right->bytes, left->size);
    assert_int_equal(left->orphan, right->orphan);
    assert_same_lists(left, right);
}

/* ---- there and back ---- */

static void go_round(const struct replica_message *message, const char *feed)
{
    struct arena arena;
    arena_init(&arena, 1u << 20);
    ProtobufCBinaryData packed;
    assert_int_equal(cluster_wire_pack(message, feed, &arena, &packed), OK);
    struct replica_message back;
    const char *feed_back = "unchanged";
    assert_int_equal(cluster_wire_unpack(packed.data, packed.len, &arena, &back, &feed_back), OK);
    assert_same(message, &back);
    assert_same_text(feed, feed_back);
    assert_null(back.address);
    arena_clear(&arena);
}

TEST(test_cluster_wire__every_field_of_every_kind_comes_back)
{
    struct log_entry batches[REPLICA_ENTRIES_MAX];
    fill_batches(batches, REPLICA_ENTRIES_MAX);
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct replica_message message =
            full_message((enum replica_message_kind)kind, batches, REPLICA_ENTRIES_MAX);
        go_round(&message, "10.0.0.1:2627");
    }
}

TEST(test_cluster_wire__what_is_not_there_stays_away)
{
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct replica_message message = {.kind = (enum replica_message_kind)kind, .from = 1};
        if (kind == REPLICA_JOIN) {
            message.internal = "a:1";
            message.client = ""; /* a server that knows only the address that clients dialled */
        }
        if (kind == REPLICA_JOIN_REJECTED)
            message.refusal = REPLICA_REJECTED_CLUSTER;
        go_round(&message, NULL);
    }
    /* One may hear a master without knowing where it is. */
    go_round(
        &(struct replica_message){
            .kind = REPLICA_LEADER_INFO, .from = 1, .master = 2, .master_address = ""},
        NULL);
}

TEST(test_cluster_wire__kinds_are_one_more_on_the_wire)
{
    const ProtobufCEnumDescriptor *kinds = &jackdaw__cluster_message__kind__descriptor;
    assert_int_equal(kinds->n_values, REPLICA_MESSAGE_KINDS + 1);
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        const char *name = replica_message_name((enum replica_message_kind)kind);
        const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(kinds, kind + 1);
        assert_non_null(value);
        for (size_t i = 0; name[i] != '\0'; i++)
            assert_int_equal(name[i] & ~0x20, value->name[i] & ~0x20);
        assert_int_equal(strlen(name), strlen(value->name));
    }
}

TEST(test_cluster_wire__payloads_are_borrowed)
{
    struct arena arena;
    arena_init(&arena, 1u << 20);
    struct log_entry batch;
    fill_batches(&batch, 1);
    struct replica_message message = full_message(REPLICA_APPEND, &batch, 1);
    Jackdaw__ClusterMessage *wire;
    assert_int_equal(cluster_wire_encode(&message, NULL, &arena, &wire), OK);
    assert_ptr_equal(wire->batches[0]->bytes.data, some_bytes);
    assert_ptr_equal(wire->bytes.data, some_bytes);
    struct replica_message back;
    assert_int_equal(cluster_wire_decode(wire, &arena, &back, NULL), OK);
    assert_ptr_equal(back.batches[0].bytes, some_bytes);
    assert_ptr_equal(back.internal, message.internal);
    arena_clear(&arena);
}

/* ---- what is out of range ---- */

#define SPOILS(name, statement)                          \
    static void spoil_##name(Jackdaw__ClusterMessage *m) \
    {                                                    \
        statement;                                       \
    }

static char long_address[ADDRESS_TEXT_SIZE + 1];
static uint8_t large_bytes[REPLICA_CHUNK_BYTES + 1];

SPOILS(no_kind, m->kind = JACKDAW__CLUSTER_MESSAGE__KIND__NONE)
SPOILS(unknown_kind, m->kind = (Jackdaw__ClusterMessage__Kind)(REPLICA_MESSAGE_KINDS + 1))
SPOILS(negative_kind, m->kind = (Jackdaw__ClusterMessage__Kind)-1)
SPOILS(from_nobody, m->from = 0)
SPOILS(from_too_large, m->from = 65536)
SPOILS(to_too_large, m->to = 65536)
SPOILS(node_too_large, m->node = 65536)
SPOILS(master_too_large, m->master = UINT32_MAX)
SPOILS(short_cluster, m->cluster.len = REPLICA_CLUSTER_BYTES - 1)
SPOILS(long_cluster, m->cluster.len = REPLICA_CLUSTER_BYTES + 1; m->cluster.data = large_bytes)
SPOILS(role, m->role = REPLICA_ROLES)
SPOILS(answer, m->answer = REPLICA_DIVERGED + 1)
SPOILS(refusal, m->refusal = REPLICA_REJECTED_FULL + 1)
SPOILS(no_refusal, m->kind = JACKDAW__CLUSTER_MESSAGE__KIND__JOIN_REJECTED; m->refusal = 0)
SPOILS(long_master_address, m->master_address = long_address)
SPOILS(long_internal, m->internal = long_address)
SPOILS(long_client, m->client = long_address)
SPOILS(long_feed, m->feed = long_address)
SPOILS(no_address, m->internal = (char *)"nowhere")
SPOILS(control_characters, m->client = (char *)"\x1b[2J:1")
SPOILS(join_from_nowhere, m->kind = JACKDAW__CLUSTER_MESSAGE__KIND__JOIN; m->internal = (char *)"")
SPOILS(many_ids, m->n_in_sync_ids = REPLICA_MEMBERS_MAX + 1)
SPOILS(id_of_nobody, m->in_sync_ids[3] = 0)
SPOILS(id_too_large, m->in_sync_ids[3] = 65536)
SPOILS(many_epoch_starts, m->n_epoch_starts = REPLICA_EPOCHS_MAX + 1)
SPOILS(many_batches, m->n_batches = REPLICA_ENTRIES_MAX + 1)
SPOILS(large_chunk, m->bytes = ((ProtobufCBinaryData){sizeof large_bytes, large_bytes}))
SPOILS(kind_of_batch, m->batches[1]->kind = (Jackdaw__LogEntry__Kind)2)
SPOILS(negative_kind_of_batch, m->batches[1]->kind = (Jackdaw__LogEntry__Kind)-1)
SPOILS(batch_before_the_first, m->batches[0]->first_seq = 0)
SPOILS(batch_ends_before_it_begins, m->batches[0]->last_seq = m->batches[0]->first_seq - 1)
SPOILS(members_of_two_seqs, m->batches[1]->last_seq++)
SPOILS(many_members, m->batches[1]->bytes.len = REPLICA_MEMBERS_BYTES_MAX + 1)
SPOILS(no_digest, m->batches[0]->digest.len = 0)
SPOILS(short_digest, m->batches[0]->digest.len = LOG_DIGEST_BYTES - 1)
SPOILS(long_digest, m->batches[0]->digest.len = LOG_DIGEST_BYTES + 1)

#define CASE(name)          \
    {                       \
#name, spoil_##name \
    }

static const struct {
    const char *name;
    void (*spoil)(Jackdaw__ClusterMessage *message);
} spoilers[] = {
    CASE(no_kind),
    CASE(unknown_kind),
    CASE(negative_kind),
    CASE(from_nobody),
    CASE(from_too_large),
    CASE(to_too_large),
    CASE(node_too_large),
    CASE(master_too_large),
    CASE(short_cluster),
    CASE(long_cluster),
    CASE(role),
    CASE(answer),
    CASE(refusal),
    CASE(no_refusal),
    CASE(long_master_address),
    CASE(long_internal),
    CASE(long_client),
    CASE(long_feed),
    CASE(no_address),
    CASE(control_characters),
    CASE(join_from_nowhere),
    CASE(many_ids),
    CASE(id_of_nobody),
    CASE(id_too_large),
    CASE(many_epoch_starts),
    CASE(many_batches),
    CASE(large_chunk),
    CASE(kind_of_batch),
    CASE(negative_kind_of_batch),
    CASE(batch_before_the_first),
    CASE(batch_ends_before_it_begins),
    CASE(members_of_two_seqs),
    CASE(many_members),
    CASE(no_digest),
    CASE(short_digest),
    CASE(long_digest),
};

TEST(test_cluster_wire__what_is_out_of_range_is_refused)
{
    memset(long_address, 'a', sizeof long_address - 1);
    memcpy(long_address + sizeof long_address - 3, ":1", 2);
    for (size_t i = 0; i < sizeof spoilers / sizeof *spoilers; i++) {
        struct arena arena;
        arena_init(&arena, 1u << 20);
        struct log_entry batches[4];
        fill_batches(batches, 4);
        struct replica_message message = full_message(REPLICA_ENTRIES, batches, 4);
        Jackdaw__ClusterMessage *wire;
        assert_int_equal(cluster_wire_encode(&message, "a:1", &arena, &wire), OK);
        struct replica_message back;
        const char *feed;
        assert_int_equal(cluster_wire_decode(wire, &arena, &back, &feed), OK);
        static struct replica_message untouched;
        memset(&untouched, 0x5a, sizeof untouched);
        memcpy(&back, &untouched, sizeof back);
        feed = "unchanged";
        spoilers[i].spoil(wire);
        if (cluster_wire_decode(wire, &arena, &back, &feed) != ERROR_INVALID)
            fail_msg("%s was let in", spoilers[i].name);
        assert_memory_equal(&back, &untouched, sizeof back);
        assert_string_equal(feed, "unchanged");
        arena_clear(&arena);
    }
}

TEST(test_cluster_wire__no_memory_is_an_error)
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
    struct arena arena;
    arena_init(&arena, 1u << 20);
    Jackdaw__ClusterMessage *wire;
    assert_int_equal(cluster_wire_encode(&message, NULL, &arena, &wire), OK);
    struct arena small;
    arena_init(&small, sizeof(struct log_entry));
    struct replica_message back;
    assert_int_equal(cluster_wire_decode(wire, &small, &back, NULL), ERROR_NO_MEMORY);
    arena_clear(&small);
    arena_clear(&arena);
}

TEST(test_cluster_wire__garbage_is_refused)
{
    struct arena arena;
    arena_init(&arena, 1u << 20);
    struct replica_message back;
    assert_int_equal(cluster_wire_unpack("\xff\xff", 2, &arena, &back, NULL), ERROR_INVALID);
    assert_int_equal(cluster_wire_unpack("", 0, &arena, &back, NULL), ERROR_INVALID);
    arena_clear(&arena);
}

/* The largest page there is fits into what the header promises. */
TEST(test_cluster_wire__a_budget_by_size_suffices)
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
        struct arena arena;
        arena_init(&arena, 4u << 20);
        ProtobufCBinaryData packed;
        assert_int_equal(cluster_wire_pack(&message, "a:1", &arena, &packed), OK);
        struct arena other;
        arena_init(&other, packed.len * CLUSTER_UNPACK_FACTOR + CLUSTER_UNPACK_FLOOR);
        struct replica_message back;
        assert_int_equal(cluster_wire_unpack(packed.data, packed.len, &other, &back, NULL), OK);
        arena_clear(&other);
        arena_clear(&arena);
    }
}

/* ---- frames ---- */

TEST(test_cluster_frame__takes_what_its_bounds_allow)
{
    struct arena arena;
    arena_init(&arena, 8u << 20);
    struct cluster_frame frame;
    cluster_frame_init(&frame);
    struct replica_message ping = {.kind = REPLICA_PING, .from = 1, .to = 2};
    for (unsigned i = 0; i < CLUSTER_FRAME_MESSAGES_MAX; i++) {
        ping.epoch = i;
        assert_int_equal(cluster_frame_add(&frame, &ping, NULL, &arena), OK);
    }
    assert_int_equal(cluster_frame_add(&frame, &ping, NULL, &arena), ERROR_FULL);
    ProtobufCBinaryData packed;
    assert_int_equal(cluster_frame_pack(&frame, &arena, &packed), OK);
    Jackdaw__ClusterFrame *back = jackdaw__cluster_frame__unpack(NULL, packed.len, packed.data);
    assert_non_null(back);
    assert_int_equal(back->n_messages, CLUSTER_FRAME_MESSAGES_MAX);
    for (unsigned i = 0; i < CLUSTER_FRAME_MESSAGES_MAX; i++)
        assert_int_equal(back->messages[i]->epoch, i);
    jackdaw__cluster_frame__free_unpacked(back, NULL);
    arena_clear(&arena);
}

TEST(test_cluster_frame__a_large_message_goes_alone)
{
    struct arena arena;
    arena_init(&arena, 8u << 20);
    static uint8_t page[CLUSTER_FRAME_BYTES + 1000];
    struct log_entry batch;
    fill_batches(&batch, 1);
    batch.bytes = page;
    batch.size = sizeof page;
    struct replica_message large = {
        .kind = REPLICA_ENTRIES, .from = 1, .batches = &batch, .batches_count = 1};
    struct replica_message ping = {.kind = REPLICA_PING, .from = 1};
    struct cluster_frame frame;
    cluster_frame_init(&frame);
    assert_int_equal(cluster_frame_add(&frame, &large, NULL, &arena), OK);
    assert_int_equal(cluster_frame_add(&frame, &ping, NULL, &arena), ERROR_FULL);
    assert_int_equal(frame.frame.n_messages, 1);
    cluster_frame_init(&frame);
    assert_int_equal(cluster_frame_add(&frame, &ping, NULL, &arena), OK);
    assert_int_equal(cluster_frame_add(&frame, &large, NULL, &arena), ERROR_FULL);
    assert_int_equal(frame.frame.n_messages, 1);
    arena_clear(&arena);
}
