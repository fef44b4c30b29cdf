/* SPDX-License-Identifier: MIT */
/* One table says which field of the wire holds which field of a message; encoding and decoding both
 * read it. To add a field, add a line to the table, a field to messages.h and one to spec.proto. */
#include "cluster/cluster_wire.h"

#include "base/protobuf.h"
#include "proto/convert.h"

#include <stddef.h>
#include <string.h>

/* ---- the table ---- */

enum field_type {
    FIELD_BOOL,
    FIELD_U16, /* uint32 on the wire */
    FIELD_U32,
    FIELD_U64,
    FIELD_CHOICE, /* an enum: least..most; uint32 on the wire */
    FIELD_POSITION,
    FIELD_ADDRESS, /* "" or an address; never NULL in a decoded message */
    /* The comments name the fields of the wire. */
    FIELD_LEADER,    /* master, master_epoch, master_address */
    FIELD_IN_SYNC,   /* members_position, in_sync_ids */
    FIELD_LOCATIONS, /* of a LEADER_INFO: locations */
    FIELD_EPOCHS,    /* of a JOIN: epoch_starts */
    FIELD_CHUNK,     /* of a SNAPSHOT_CHUNK: bytes */
    FIELD_ENTRY,     /* of an APPEND: batches, exactly one */
    FIELD_ENTRIES,   /* of an ENTRIES: batches */
    FIELD_ORPHANS,   /* of an ORPHAN_TRANSFER: batches */
};

struct field {
    enum field_type type;
    size_t at;   /* offset in struct replica_message */
    size_t wire; /* offset in Jackdaw__ClusterMessage */
    uint32_t least;
    uint32_t most;
};

/* The offset of a member. Does not compile if the member has another type. */
#define AT(of, member, as) (offsetof(of, member) + _Generic(((of *)NULL)->member, as : 0u))
#define ROW(type, member, as, field, wire_as) \
    type, AT(struct replica_message, member, as), AT(Jackdaw__ClusterMessage, field, wire_as)
/* clang-format off */
#define BOOL(member, field) {ROW(FIELD_BOOL, member, bool, field, protobuf_c_boolean), 0, 0}
#define U16(member, field) {ROW(FIELD_U16, member, uint16_t, field, uint32_t), 0, 0}
#define U32(member, field) {ROW(FIELD_U32, member, uint32_t, field, uint32_t), 0, 0}
#define U64(member, field) {ROW(FIELD_U64, member, uint64_t, field, uint64_t), 0, 0}
#define POSITION(member, field) \
    {ROW(FIELD_POSITION, member, struct log_position, field, Jackdaw__Position *), 0, 0}
#define ADDRESS(member, field) {ROW(FIELD_ADDRESS, member, const char *, field, char *), 0, 0}
#define CHOICE(member, as, field, least, most) \
    {ROW(FIELD_CHOICE, member, enum as, field, uint32_t), least, most}
#define ROLE(member) CHOICE(member, replica_role, role, 0, REPLICA_ROLES - 1)
#define ANSWER(member) CHOICE(member, replica_answer, answer, 0, REPLICA_DIVERGED)
#define LEADER(member) \
    {FIELD_LEADER, AT(struct replica_message, member, struct replica_leader), 0, 0, 0}
#define IN_SYNC(member) \
    {FIELD_IN_SYNC, AT(struct replica_message, member, struct replica_in_sync_set), 0, 0, 0}
#define ONLY(type) {type, 0, 0, 0, 0}
/* clang-format on */

static const struct field ping_fields[] = {POSITION(ping.durable, position)};
static const struct field pong_fields[] = {
    ROLE(pong.role),          POSITION(pong.last, position),      U64(pong.committed, committed),
    U64(pong.needed, needed), U32(pong.disk_age_ms, disk_age_ms), LEADER(pong.leader),
};
static const struct field append_fields[] = {
    POSITION(append.before, position),
    POSITION(append.last, last),
    U64(append.committed, committed),
    ONLY(FIELD_ENTRY),
};
static const struct field ack_fields[] = {POSITION(ack.durable, position)};
static const struct field fetch_fields[] = {
    BOOL(fetch.recovering_log, recovering_log),
    POSITION(fetch.after, position),
};
static const struct field entries_fields[] = {
    BOOL(entries.recovering_log, recovering_log),
    ANSWER(entries.answer),
    POSITION(entries.after, position),
    POSITION(entries.last, last),
    U64(entries.committed, committed),
    ONLY(FIELD_ENTRIES),
};
static const struct field join_fields[] = {
    BOOL(join.recovering_log, recovering_log),
    U16(join.level, level),
    ADDRESS(join.client, client),
    POSITION(join.last, position),
    POSITION(join.avoid, common),
    ONLY(FIELD_EPOCHS),
};
static const struct field join_reply_fields[] = {
    BOOL(join_reply.recovering_log, recovering_log),
    ANSWER(join_reply.answer),
    POSITION(join_reply.asked, position),
    POSITION(join_reply.common, common),
    POSITION(join_reply.last, last),
    U64(join_reply.committed, committed),
    LEADER(join_reply.leader),
};
static const struct field join_rejected_fields[] = {
    CHOICE(join_rejected.rejection, replica_rejection, refusal, REPLICA_REJECTED_CLUSTER,
           REPLICA_REJECTED_FULL),
    BOOL(join_rejected.is_listed, granted),
    IN_SYNC(join_rejected.in_sync),
};
static const struct field snapshot_request_fields[] = {
    BOOL(snapshot_request.recovering_log, recovering_log),
    U64(snapshot_request.snapshot, snapshot),
    U64(snapshot_request.offset, offset),
    POSITION(snapshot_request.common, common),
    POSITION(snapshot_request.avoid, position),
};
static const struct field snapshot_chunk_fields[] = {
    BOOL(snapshot_chunk.recovering_log, recovering_log),
    U64(snapshot_chunk.snapshot, snapshot),
    U64(snapshot_chunk.offset, offset),
    U64(snapshot_chunk.total, total),
    POSITION(snapshot_chunk.common, common),
    POSITION(snapshot_chunk.avoid, position),
    POSITION(snapshot_chunk.last, last),
    ONLY(FIELD_CHUNK),
};
static const struct field leader_query_fields[] = {
    U16(leader_query.suspect, node),
    BOOL(leader_query.is_seed, granted),
    IN_SYNC(leader_query.in_sync),
};
static const struct field leader_info_fields[] = {
    ROLE(leader_info.role),
    BOOL(leader_info.unhealthy, unhealthy),
    POSITION(leader_info.durable, position),
    LEADER(leader_info.leader),
    IN_SYNC(leader_info.in_sync),
    ONLY(FIELD_LOCATIONS),
};
static const struct field promise_fields[] = {
    BOOL(promise.granted, granted),
    POSITION(promise.durable, position),
    IN_SYNC(promise.in_sync),
    LEADER(promise.leader),
};
static const struct field orphan_transfer_fields[] = {
    U64(orphan_transfer.orphan, orphan),
    ONLY(FIELD_ORPHANS),
};
static const struct field orphan_transfer_done_fields[] = {
    U64(orphan_transfer_done.orphan, orphan),
    POSITION(orphan_transfer_done.merged, position),
};
static const struct field leave_fields[] = {U16(leave.node, node)};
static const struct field committed_fields[] = {U64(committed.seq, committed)};

static const struct kind {
    const struct field *fields;
    size_t count;
} kinds[REPLICA_MESSAGE_KINDS] = {
#define FIELDS(list)                     \
    {                                    \
        list, sizeof list / sizeof *list \
    }
    [REPLICA_PING] = FIELDS(ping_fields),
    [REPLICA_PONG] = FIELDS(pong_fields),
    [REPLICA_APPEND] = FIELDS(append_fields),
    [REPLICA_ACK] = FIELDS(ack_fields),
    [REPLICA_FETCH] = FIELDS(fetch_fields),
    [REPLICA_ENTRIES] = FIELDS(entries_fields),
    [REPLICA_JOIN] = FIELDS(join_fields),
    [REPLICA_JOIN_REPLY] = FIELDS(join_reply_fields),
    [REPLICA_JOIN_REJECTED] = FIELDS(join_rejected_fields),
    [REPLICA_SNAPSHOT_REQUEST] = FIELDS(snapshot_request_fields),
    [REPLICA_SNAPSHOT_CHUNK] = FIELDS(snapshot_chunk_fields),
    [REPLICA_LEADER_QUERY] = FIELDS(leader_query_fields),
    [REPLICA_LEADER_INFO] = FIELDS(leader_info_fields),
    [REPLICA_PREPARE] = {NULL, 0},
    [REPLICA_PROMISE] = FIELDS(promise_fields),
    [REPLICA_ANNOUNCE] = {NULL, 0},
    [REPLICA_ORPHAN_TRANSFER] = FIELDS(orphan_transfer_fields),
    [REPLICA_ORPHAN_TRANSFER_DONE] = FIELDS(orphan_transfer_done_fields),
    [REPLICA_LEAVE] = FIELDS(leave_fields),
    [REPLICA_COMMITTED] = FIELDS(committed_fields),
};

/* put_field and take_field copy an enum as 32 bits. */
_Static_assert(sizeof(enum replica_role) == sizeof(uint32_t) &&
                   sizeof(enum replica_answer) == sizeof(uint32_t) &&
                   sizeof(enum replica_rejection) == sizeof(uint32_t),
               "an enum has 32 bits");

/* The wire's kinds are the enum's plus one: 0 is what a message without a kind has. */
#define SAME(wire, value) _Static_assert((int)(wire) == (int)(value), "kinds differ")
SAME(JACKDAW__CLUSTER_MESSAGE__KIND__PING, REPLICA_PING + 1);
SAME(JACKDAW__CLUSTER_MESSAGE__KIND__LEADER_QUERY, REPLICA_LEADER_QUERY + 1);
SAME(JACKDAW__CLUSTER_MESSAGE__KIND__COMMITTED, REPLICA_MESSAGE_KINDS);
SAME(JACKDAW__LOG_ENTRY__KIND__CHAT, LOG_ENTRY_CHAT);
SAME(JACKDAW__LOG_ENTRY__KIND__MEMBERS, LOG_ENTRY_MEMBERS);

/* ---- to the wire ---- */

static ProtobufCBinaryData borrow(const uint8_t *bytes, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = size == 0 ? NULL : (uint8_t *)bytes};
}

static void set_text(char **field, const char *text)
{
    if (text != NULL)
        *field = (char *)text;
}

/* Each put_x returns false if the arena is used up. A position (0, 0) is not sent. */
static bool put_position(Jackdaw__Position **field, struct log_position position,
                         struct arena *arena)
{
    if (position.epoch == 0 && position.seq == 0)
        return true;
    *field = arena_alloc(arena, sizeof **field);
    if (*field != NULL)
        **field = proto_position_message(position);
    return *field != NULL;
}

static bool put_leader(const struct replica_leader *leader, Jackdaw__ClusterMessage *out)
{
    out->master = leader->id;
    out->master_epoch = leader->epoch;
    set_text(&out->master_address, leader->address);
    return true;
}

static bool put_in_sync_set(const struct replica_in_sync_set *set, struct arena *arena,
                            Jackdaw__ClusterMessage *out)
{
    ASSERT(set->count <= REPLICA_MEMBERS_MAX);
    out->in_sync_ids = arena_alloc(arena, set->count * sizeof *out->in_sync_ids);
    if (out->in_sync_ids == NULL)
        return false;
    out->n_in_sync_ids = set->count;
    for (size_t i = 0; i < set->count; i++)
        out->in_sync_ids[i] = set->ids[i];
    return put_position(&out->members_position, set->position, arena);
}

static bool put_locations(const struct replica_leader_info *info, struct arena *arena,
                          Jackdaw__ClusterMessage *out)
{
    size_t count = info->locations_count;
    ASSERT(count <= REPLICA_MEMBERS_MAX);
    Jackdaw__Location *locations = arena_alloc(arena, count * sizeof *locations);
    out->locations = arena_alloc(arena, count * sizeof *out->locations);
    if (locations == NULL || out->locations == NULL)
        return false;
    out->n_locations = count;
    for (size_t i = 0; i < count; i++) {
        out->locations[i] = &locations[i];
        jackdaw__location__init(&locations[i]);
        locations[i].id = info->locations[i].id;
        set_text(&locations[i].address, info->locations[i].address);
    }
    return true;
}

static bool put_epochs(struct epoch_history epochs, struct arena *arena,
                       Jackdaw__ClusterMessage *out)
{
    ASSERT(epochs.count <= REPLICA_EPOCHS_MAX);
    Jackdaw__EpochStart *starts = arena_alloc(arena, epochs.count * sizeof *starts);
    out->epoch_starts = arena_alloc(arena, epochs.count * sizeof *out->epoch_starts);
    if (starts == NULL || out->epoch_starts == NULL)
        return false;
    out->n_epoch_starts = epochs.count;
    for (size_t i = 0; i < epochs.count; i++) {
        out->epoch_starts[i] = &starts[i];
        jackdaw__epoch_start__init(&starts[i]);
        starts[i].epoch = epochs.starts[i].epoch;
        starts[i].first_seq = epochs.starts[i].first_seq;
    }
    return true;
}

static bool put_entries(const struct log_entry *entries, size_t count, struct arena *arena,
                        Jackdaw__ClusterMessage *out)
{
    ASSERT(count <= REPLICA_ENTRIES_MAX);
    Jackdaw__LogEntry *made = arena_alloc(arena, count * sizeof *made);
    out->batches = arena_alloc(arena, count * sizeof *out->batches);
    if (made == NULL || out->batches == NULL)
        return false;
    out->n_batches = count;
    for (size_t i = 0; i < count; i++) {
        out->batches[i] = &made[i];
        jackdaw__log_entry__init(&made[i]);
        made[i].kind = (Jackdaw__LogEntry__Kind)entries[i].kind;
        made[i].epoch = entries[i].epoch;
        made[i].first_seq = entries[i].first_seq;
        made[i].last_seq = entries[i].last_seq;
        made[i].bytes = borrow(entries[i].bytes, entries[i].size);
        made[i].digest = borrow(entries[i].digest, sizeof entries[i].digest);
    }
    return true;
}

static bool put_field(const struct replica_message *message, const struct field *field,
                      struct arena *arena, Jackdaw__ClusterMessage *out)
{
    const void *at = (const char *)message + field->at;
    void *wire = (char *)out + field->wire;
    switch (field->type) {
    case FIELD_BOOL:
        *(protobuf_c_boolean *)wire = *(const bool *)at;
        return true;
    case FIELD_U16:
        *(uint32_t *)wire = *(const uint16_t *)at;
        return true;
    case FIELD_U32:
    case FIELD_CHOICE:
        memcpy(wire, at, sizeof(uint32_t));
        return true;
    case FIELD_U64:
        *(uint64_t *)wire = *(const uint64_t *)at;
        return true;
    case FIELD_POSITION:
        return put_position(wire, *(const struct log_position *)at, arena);
    case FIELD_ADDRESS:
        set_text(wire, *(const char *const *)at);
        return true;
    case FIELD_LEADER:
        return put_leader(at, out);
    case FIELD_IN_SYNC:
        return put_in_sync_set(at, arena, out);
    case FIELD_LOCATIONS:
        return put_locations(&message->leader_info, arena, out);
    case FIELD_EPOCHS:
        return put_epochs(message->join.epochs, arena, out);
    case FIELD_CHUNK:
        out->bytes = borrow(message->snapshot_chunk.bytes, message->snapshot_chunk.size);
        return true;
    case FIELD_ENTRY:
        return put_entries(message->append.entry, 1, arena, out);
    case FIELD_ENTRIES:
        return put_entries(message->entries.entries, message->entries.count, arena, out);
    case FIELD_ORPHANS:
    default:
        return put_entries(message->orphan_transfer.entries, message->orphan_transfer.count, arena,
                           out);
    }
}

/* The cluster is copied, because the frame may be sent after the caller's message is gone. */
static bool put_header(const struct replica_message *message, struct arena *arena,
                       Jackdaw__ClusterMessage *out)
{
    static const uint8_t none[REPLICA_CLUSTER_BYTES];
    out->kind = (Jackdaw__ClusterMessage__Kind)(message->kind + 1);
    out->from = message->from;
    out->to = message->to;
    out->blank = message->blank;
    out->founding = message->founding;
    set_text(&out->internal, message->internal);
    out->epoch = message->epoch;
    out->promised = message->promised;
    if (memcmp(message->cluster, none, sizeof none) == 0)
        return true;
    out->cluster.data = arena_copy(arena, message->cluster, sizeof message->cluster);
    out->cluster.len = out->cluster.data == NULL ? 0 : sizeof message->cluster;
    return out->cluster.data != NULL;
}

enum error cluster_wire_encode(const struct replica_message *message, const char *feed,
                               struct arena *arena, Jackdaw__ClusterMessage **out)
{
    ASSERT(message->kind < REPLICA_MESSAGE_KINDS);
    const struct kind *kind = &kinds[message->kind];
    Jackdaw__ClusterMessage *made = arena_alloc(arena, sizeof *made);
    if (made == NULL)
        return ERROR_NO_MEMORY;
    jackdaw__cluster_message__init(made);
    set_text(&made->feed, feed);
    if (!put_header(message, arena, made))
        return ERROR_NO_MEMORY;
    for (size_t i = 0; i < kind->count; i++)
        if (!put_field(message, &kind->fields[i], arena, made))
            return ERROR_NO_MEMORY;
    *out = made;
    return OK;
}

/* ---- from the wire ---- */

/* Empty, or an address. The text may reach lists that users read. */
static bool is_address(const char *text)
{
    struct address address;
    return *text == '\0' ||
           (strlen(text) < ADDRESS_TEXT_SIZE && address_parse(text, &address, NULL) == OK);
}

static bool is_id(uint32_t id)
{
    return id >= 1 && id <= UINT16_MAX;
}

/* Each take_x returns ERROR_INVALID if a value is out of range, or ERROR_NO_MEMORY. */
static enum error take_leader(const Jackdaw__ClusterMessage *in, struct replica_leader *leader)
{
    if (in->master > UINT16_MAX || !is_address(in->master_address))
        return ERROR_INVALID;
    if (in->master != 0) /* a node may see a master without knowing its address */
        *leader = (struct replica_leader){
            .id = (uint16_t)in->master, .epoch = in->master_epoch, .address = in->master_address};
    return OK;
}

static enum error take_in_sync_set(const Jackdaw__ClusterMessage *in,
                                   struct replica_in_sync_set *set)
{
    if (in->n_in_sync_ids > REPLICA_MEMBERS_MAX)
        return ERROR_INVALID;
    set->position = proto_position(in->members_position);
    set->count = in->n_in_sync_ids;
    for (size_t i = 0; i < in->n_in_sync_ids; i++) {
        if (!is_id(in->in_sync_ids[i]))
            return ERROR_INVALID;
        set->ids[i] = (uint16_t)in->in_sync_ids[i];
    }
    return OK;
}

static enum error take_locations(const Jackdaw__ClusterMessage *in, struct arena *arena,
                                 struct replica_leader_info *info)
{
    if (in->n_locations > REPLICA_MEMBERS_MAX)
        return ERROR_INVALID;
    struct replica_location *locations = arena_alloc(arena, in->n_locations * sizeof *locations);
    if (locations == NULL)
        return ERROR_NO_MEMORY;
    for (size_t i = 0; i < in->n_locations; i++) {
        const Jackdaw__Location *location = in->locations[i];
        if (!is_id(location->id) || !is_address(location->address) || *location->address == '\0')
            return ERROR_INVALID;
        locations[i] =
            (struct replica_location){.id = (uint16_t)location->id, .address = location->address};
    }
    info->locations = locations;
    info->locations_count = in->n_locations;
    return OK;
}

static enum error take_epochs(const Jackdaw__ClusterMessage *in, struct arena *arena,
                              struct epoch_history *epochs)
{
    if (in->n_epoch_starts > REPLICA_EPOCHS_MAX)
        return ERROR_INVALID;
    struct epoch_start *starts = arena_alloc(arena, in->n_epoch_starts * sizeof *starts);
    if (starts == NULL)
        return ERROR_NO_MEMORY;
    for (size_t i = 0; i < in->n_epoch_starts; i++)
        starts[i] = (struct epoch_start){.epoch = in->epoch_starts[i]->epoch,
                                         .first_seq = in->epoch_starts[i]->first_seq};
    *epochs = (struct epoch_history){.starts = starts, .count = in->n_epoch_starts};
    return OK;
}

static enum error take_chunk(const Jackdaw__ClusterMessage *in,
                             struct replica_snapshot_chunk *chunk)
{
    if (in->bytes.len > REPLICA_CHUNK_BYTES)
        return ERROR_INVALID;
    chunk->bytes = in->bytes.data;
    chunk->size = in->bytes.len;
    return OK;
}

static bool is_entry(const Jackdaw__LogEntry *entry)
{
    bool is_members = entry->kind == JACKDAW__LOG_ENTRY__KIND__MEMBERS;
    if (!is_members && entry->kind != JACKDAW__LOG_ENTRY__KIND__CHAT)
        return false;
    if (is_members &&
        (entry->last_seq != entry->first_seq || entry->bytes.len > REPLICA_MEMBERS_BYTES_MAX))
        return false;
    return entry->first_seq >= 1 && entry->last_seq >= entry->first_seq &&
           entry->digest.len == LOG_DIGEST_BYTES;
}

static enum error take_entries(const Jackdaw__ClusterMessage *in, struct arena *arena,
                               const struct log_entry **out, size_t *count)
{
    if (in->n_batches > REPLICA_ENTRIES_MAX)
        return ERROR_INVALID;
    struct log_entry *entries = arena_alloc(arena, in->n_batches * sizeof *entries);
    if (entries == NULL)
        return ERROR_NO_MEMORY;
    for (size_t i = 0; i < in->n_batches; i++) {
        const Jackdaw__LogEntry *entry = in->batches[i];
        if (!is_entry(entry))
            return ERROR_INVALID;
        entries[i] = (struct log_entry){.kind = (enum log_entry_kind)entry->kind,
                                        .epoch = entry->epoch,
                                        .first_seq = entry->first_seq,
                                        .last_seq = entry->last_seq,
                                        .bytes = entry->bytes.data,
                                        .size = entry->bytes.len};
        memcpy(entries[i].digest, entry->digest.data, sizeof entries[i].digest);
    }
    *out = entries;
    *count = in->n_batches;
    return OK;
}

static enum error take_entry(const Jackdaw__ClusterMessage *in, struct arena *arena,
                             const struct log_entry **out)
{
    size_t count;
    return in->n_batches == 1 ? take_entries(in, arena, out, &count) : ERROR_INVALID;
}

static enum error take_field(const Jackdaw__ClusterMessage *in, const struct field *field,
                             struct arena *arena, struct replica_message *out)
{
    void *at = (char *)out + field->at;
    const void *wire = (const char *)in + field->wire;
    switch (field->type) {
    case FIELD_BOOL:
        *(bool *)at = *(const protobuf_c_boolean *)wire != 0;
        return OK;
    case FIELD_U16:
        *(uint16_t *)at = (uint16_t) * (const uint32_t *)wire;
        return *(const uint32_t *)wire <= UINT16_MAX ? OK : ERROR_INVALID;
    case FIELD_U32:
    case FIELD_CHOICE: {
        uint32_t value = *(const uint32_t *)wire;
        memcpy(at, &value, sizeof value);
        bool is_valid = field->type == FIELD_U32 || (value >= field->least && value <= field->most);
        return is_valid ? OK : ERROR_INVALID;
    }
    case FIELD_U64:
        *(uint64_t *)at = *(const uint64_t *)wire;
        return OK;
    case FIELD_POSITION:
        *(struct log_position *)at = proto_position(*(Jackdaw__Position *const *)wire);
        return OK;
    case FIELD_ADDRESS:
        *(const char **)at = *(char *const *)wire;
        return is_address(*(char *const *)wire) ? OK : ERROR_INVALID;
    case FIELD_LEADER:
        return take_leader(in, at);
    case FIELD_IN_SYNC:
        return take_in_sync_set(in, at);
    case FIELD_LOCATIONS:
        return take_locations(in, arena, &out->leader_info);
    case FIELD_EPOCHS:
        return take_epochs(in, arena, &out->join.epochs);
    case FIELD_CHUNK:
        return take_chunk(in, &out->snapshot_chunk);
    case FIELD_ENTRY:
        return take_entry(in, arena, &out->append.entry);
    case FIELD_ENTRIES:
        return take_entries(in, arena, &out->entries.entries, &out->entries.count);
    case FIELD_ORPHANS:
    default:
        return take_entries(in, arena, &out->orphan_transfer.entries, &out->orphan_transfer.count);
    }
}

static const char *text_of(const char *text)
{
    return *text == '\0' ? NULL : text;
}

static enum error take_header(const Jackdaw__ClusterMessage *in, struct replica_message *out)
{
    int kind = (int)in->kind;
    bool is_valid = kind >= JACKDAW__CLUSTER_MESSAGE__KIND__PING && kind <= REPLICA_MESSAGE_KINDS &&
                    is_id(in->from) && in->to <= UINT16_MAX &&
                    (in->cluster.len == 0 || in->cluster.len == REPLICA_CLUSTER_BYTES) &&
                    is_address(in->internal) && is_address(in->feed) &&
                    (*in->internal != '\0' || kind != JACKDAW__CLUSTER_MESSAGE__KIND__JOIN);
    if (!is_valid)
        return ERROR_INVALID;
    *out = (struct replica_message){.kind = (enum replica_message_kind)(kind - 1),
                                    .from = (uint16_t)in->from,
                                    .to = (uint16_t)in->to,
                                    .blank = in->blank,
                                    .founding = in->founding,
                                    .internal = text_of(in->internal),
                                    .epoch = in->epoch,
                                    .promised = in->promised};
    if (in->cluster.len > 0)
        memcpy(out->cluster, in->cluster.data, sizeof out->cluster);
    return OK;
}

enum error cluster_wire_decode(const Jackdaw__ClusterMessage *in, struct arena *arena,
                               struct replica_message *out, const char **feed)
{
    struct replica_message message;
    enum error error = take_header(in, &message);
    if (error != OK)
        return error;
    const struct kind *kind = &kinds[message.kind];
    for (size_t i = 0; i < kind->count; i++) {
        error = take_field(in, &kind->fields[i], arena, &message);
        if (error != OK)
            return error;
    }
    *out = message;
    if (feed != NULL)
        *feed = text_of(in->feed);
    return OK;
}

/* ---- packed ---- */

static enum error pack(const ProtobufCMessage *message, struct arena *arena,
                       ProtobufCBinaryData *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = arena_alloc(arena, size);
    if (bytes == NULL)
        return ERROR_NO_MEMORY;
    *out = (ProtobufCBinaryData){.len = protobuf_c_message_pack(message, bytes), .data = bytes};
    return OK;
}

enum error cluster_wire_pack(const struct replica_message *message, const char *feed,
                             struct arena *arena, ProtobufCBinaryData *out)
{
    Jackdaw__ClusterMessage *made;
    enum error error = cluster_wire_encode(message, feed, arena, &made);
    return error == OK ? pack(&made->base, arena, out) : error;
}

enum error cluster_wire_unpack(const void *bytes, size_t size, struct arena *arena,
                               struct replica_message *out, const char **feed)
{
    Jackdaw__ClusterMessage *in =
        protobuf_unpack(&jackdaw__cluster_message__descriptor, arena, bytes, size);
    return in == NULL ? ERROR_INVALID : cluster_wire_decode(in, arena, out, feed);
}

/* ---- frames ---- */

void cluster_frame_init(struct cluster_frame *frame)
{
    jackdaw__cluster_frame__init(&frame->frame);
    frame->frame.messages = frame->items;
    frame->bytes = 0;
}

enum error cluster_frame_add(struct cluster_frame *frame, const struct replica_message *message,
                             const char *feed, struct arena *arena)
{
    size_t count = frame->frame.n_messages;
    if (count == CLUSTER_FRAME_MESSAGES_MAX)
        return ERROR_FULL;
    Jackdaw__ClusterMessage *made;
    enum error error = cluster_wire_encode(message, feed, arena, &made);
    if (error != OK)
        return error;
    size_t bytes = jackdaw__cluster_message__get_packed_size(made);
    if (count > 0 && frame->bytes + bytes > CLUSTER_FRAME_BYTES)
        return ERROR_FULL;
    frame->items[count] = made;
    frame->frame.n_messages = count + 1;
    frame->bytes += bytes;
    return OK;
}

enum error cluster_frame_pack(const struct cluster_frame *frame, struct arena *arena,
                              ProtobufCBinaryData *out)
{
    return pack(&frame->frame.base, arena, out);
}
