/* SPDX-License-Identifier: MIT */
#include "cluster/cluster_wire.h"

#include "base/protobuf.h"
#include "proto/convert.h"

#include <string.h>

/* The wire's kinds are the enum's plus one: 0 is what a message without a kind has. */
#define SAME(wire, value) _Static_assert((int)(wire) == (int)(value), "kinds differ")
SAME(JACKDAW__CLUSTER_MESSAGE__KIND__PING, REPLICA_PING + 1);
SAME(JACKDAW__CLUSTER_MESSAGE__KIND__LEADER_QUERY, REPLICA_LEADER_QUERY + 1);
SAME(JACKDAW__CLUSTER_MESSAGE__KIND__LEAVE, REPLICA_LEAVE + 1);
SAME(JACKDAW__CLUSTER_MESSAGE__KIND__LEAVE, REPLICA_MESSAGE_KINDS);
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

/* false: no memory. A position (0, 0) is not sent. */
static bool add_position(Jackdaw__Position **field, struct log_position position,
                         struct arena *arena)
{
    if (position.epoch == 0 && position.seq == 0)
        return true;
    *field = arena_alloc(arena, sizeof **field);
    if (*field != NULL)
        **field = proto_position_message(position);
    return *field != NULL;
}

static bool add_positions(const struct replica_message *message, struct arena *arena,
                          Jackdaw__ClusterMessage *out)
{
    return add_position(&out->position, message->position, arena) &&
           add_position(&out->last, message->last, arena) &&
           add_position(&out->common, message->common, arena) &&
           add_position(&out->members_position, message->members_position, arena);
}

static bool add_ids(const struct replica_message *message, struct arena *arena,
                    Jackdaw__ClusterMessage *out)
{
    if (message->in_sync_count == 0)
        return true;
    out->in_sync_ids = arena_alloc(arena, message->in_sync_count * sizeof *out->in_sync_ids);
    if (out->in_sync_ids == NULL)
        return false;
    out->n_in_sync_ids = message->in_sync_count;
    for (size_t i = 0; i < message->in_sync_count; i++)
        out->in_sync_ids[i] = message->in_sync_ids[i];
    return true;
}

static bool add_locations(const struct replica_message *message, struct arena *arena,
                          Jackdaw__ClusterMessage *out)
{
    size_t count = message->locations_count;
    if (count == 0)
        return true;
    Jackdaw__Location *locations = arena_alloc(arena, count * sizeof *locations);
    out->locations = arena_alloc(arena, count * sizeof *out->locations);
    if (locations == NULL || out->locations == NULL)
        return false;
    out->n_locations = count;
    for (size_t i = 0; i < count; i++) {
        out->locations[i] = &locations[i];
        jackdaw__location__init(&locations[i]);
        locations[i].id = message->locations[i].id;
        set_text(&locations[i].address, message->locations[i].address);
    }
    return true;
}

static bool add_epoch_starts(const struct replica_message *message, struct arena *arena,
                             Jackdaw__ClusterMessage *out)
{
    size_t count = message->epochs.count;
    if (count == 0)
        return true;
    Jackdaw__EpochStart *epoch_starts = arena_alloc(arena, count * sizeof *epoch_starts);
    out->epoch_starts = arena_alloc(arena, count * sizeof *out->epoch_starts);
    if (epoch_starts == NULL || out->epoch_starts == NULL)
        return false;
    out->n_epoch_starts = count;
    for (size_t i = 0; i < count; i++) {
        out->epoch_starts[i] = &epoch_starts[i];
        jackdaw__epoch_start__init(&epoch_starts[i]);
        epoch_starts[i].epoch = message->epochs.starts[i].epoch;
        epoch_starts[i].first_seq = message->epochs.starts[i].first_seq;
    }
    return true;
}

static bool add_batches(const struct replica_message *message, struct arena *arena,
                        Jackdaw__ClusterMessage *out)
{
    size_t count = message->batches_count;
    if (count == 0)
        return true;
    Jackdaw__LogEntry *entries = arena_alloc(arena, count * sizeof *entries);
    out->batches = arena_alloc(arena, count * sizeof *out->batches);
    if (entries == NULL || out->batches == NULL)
        return false;
    out->n_batches = count;
    for (size_t i = 0; i < count; i++) {
        const struct log_entry *batch = &message->batches[i];
        Jackdaw__LogEntry *entry = &entries[i];
        out->batches[i] = entry;
        jackdaw__log_entry__init(entry);
        entry->kind = (Jackdaw__LogEntry__Kind)batch->kind;
        entry->epoch = batch->epoch;
        entry->first_seq = batch->first_seq;
        entry->last_seq = batch->last_seq;
        entry->bytes = borrow(batch->bytes, batch->size);
        entry->digest = borrow(batch->digest, sizeof batch->digest);
    }
    return true;
}

static bool is_all_zero(const uint8_t cluster[static REPLICA_CLUSTER_BYTES])
{
    static const uint8_t none[REPLICA_CLUSTER_BYTES];
    return memcmp(cluster, none, sizeof none) == 0;
}

/* A copy, because the frame may be sent after the caller's message is gone. */
static bool add_cluster(const struct replica_message *message, struct arena *arena,
                        Jackdaw__ClusterMessage *out)
{
    if (is_all_zero(message->cluster))
        return true;
    out->cluster.data = arena_copy(arena, message->cluster, sizeof message->cluster);
    out->cluster.len = out->cluster.data == NULL ? 0 : sizeof message->cluster;
    return out->cluster.data != NULL;
}

static void set_values(const struct replica_message *message, const char *feed,
                       Jackdaw__ClusterMessage *out)
{
    out->kind = (Jackdaw__ClusterMessage__Kind)(message->kind + 1);
    out->from = message->from;
    out->to = message->to;
    out->epoch = message->epoch;
    out->promised = message->promised;
    out->committed = message->committed;
    out->needed = message->needed;
    out->role = (uint32_t)message->role;
    out->answer = (uint32_t)message->answer;
    out->refusal = (uint32_t)message->refusal;
    out->recovering_log = message->recovering_log;
    out->granted = message->granted;
    out->in_sync = message->in_sync;
    out->unhealthy = message->unhealthy;
    out->blank = message->blank;
    out->founding = message->founding;
    out->disk_age_ms = message->disk_age_ms;
    out->level = message->level;
    out->node = message->node;
    out->master = message->master;
    out->master_epoch = message->master_epoch;
    set_text(&out->master_address, message->master_address);
    set_text(&out->internal, message->internal);
    set_text(&out->client, message->client);
    out->snapshot = message->snapshot;
    out->offset = message->offset;
    out->total = message->total;
    out->bytes = borrow(message->bytes, message->size);
    out->orphan = message->orphan;
    set_text(&out->feed, feed);
}

enum error cluster_wire_encode(const struct replica_message *message, const char *feed,
                               struct arena *arena, Jackdaw__ClusterMessage **out)
{
    ASSERT(message->kind < REPLICA_MESSAGE_KINDS && message->in_sync_count <= REPLICA_MEMBERS_MAX &&
           message->locations_count <= REPLICA_MEMBERS_MAX &&
           message->epochs.count <= REPLICA_EPOCHS_MAX &&
           message->batches_count <= REPLICA_ENTRIES_MAX);
    Jackdaw__ClusterMessage *made = arena_alloc(arena, sizeof *made);
    if (made == NULL)
        return ERROR_NO_MEMORY;
    jackdaw__cluster_message__init(made);
    set_values(message, feed, made);
    if (!add_cluster(message, arena, made) || !add_positions(message, arena, made) ||
        !add_ids(message, arena, made) || !add_locations(message, arena, made) ||
        !add_epoch_starts(message, arena, made) || !add_batches(message, arena, made))
        return ERROR_NO_MEMORY;
    *out = made;
    return OK;
}

/* ---- from the wire ---- */

static bool are_ranges_kept(const Jackdaw__ClusterMessage *in)
{
    bool are_ids = in->from >= 1 && in->from <= UINT16_MAX && in->to <= UINT16_MAX &&
                   in->node <= UINT16_MAX && in->master <= UINT16_MAX && in->level <= UINT16_MAX;
    bool are_choices =
        in->role < REPLICA_ROLES && in->answer <= REPLICA_DIVERGED &&
        in->refusal <= REPLICA_REJECTED_FULL &&
        (in->refusal != 0 || in->kind != JACKDAW__CLUSTER_MESSAGE__KIND__JOIN_REJECTED);
    bool are_sizes =
        (in->cluster.len == 0 || in->cluster.len == REPLICA_CLUSTER_BYTES) &&
        in->bytes.len <= REPLICA_CHUNK_BYTES && in->n_in_sync_ids <= REPLICA_MEMBERS_MAX &&
        in->n_locations <= REPLICA_MEMBERS_MAX && in->n_epoch_starts <= REPLICA_EPOCHS_MAX &&
        in->n_batches <= REPLICA_ENTRIES_MAX;
    int kind = (int)in->kind;
    return kind >= JACKDAW__CLUSTER_MESSAGE__KIND__PING && kind <= REPLICA_MESSAGE_KINDS &&
           are_ids && are_choices && are_sizes;
}

/* Empty, or an address. The text may reach lists that users read. */
static bool is_address(const char *text)
{
    struct address address;
    return *text == '\0' ||
           (strlen(text) < ADDRESS_TEXT_SIZE && address_parse(text, &address, NULL) == OK);
}

static bool are_addresses(const Jackdaw__ClusterMessage *in)
{
    bool needs_internal = in->kind == JACKDAW__CLUSTER_MESSAGE__KIND__JOIN;
    for (size_t i = 0; i < in->n_locations; i++)
        if (in->locations[i]->id < 1 || in->locations[i]->id > UINT16_MAX ||
            !is_address(in->locations[i]->address) || *in->locations[i]->address == '\0')
            return false;
    return is_address(in->master_address) && is_address(in->internal) && is_address(in->client) &&
           is_address(in->feed) && (!needs_internal || *in->internal != '\0');
}

static bool are_entries(const Jackdaw__ClusterMessage *in)
{
    for (size_t i = 0; i < in->n_batches; i++) {
        const Jackdaw__LogEntry *entry = in->batches[i];
        bool is_members = entry->kind == JACKDAW__LOG_ENTRY__KIND__MEMBERS;
        if ((!is_members && entry->kind != JACKDAW__LOG_ENTRY__KIND__CHAT) ||
            entry->first_seq < 1 || entry->last_seq < entry->first_seq ||
            entry->digest.len != LOG_DIGEST_BYTES)
            return false;
        if (is_members &&
            (entry->last_seq != entry->first_seq || entry->bytes.len > REPLICA_MEMBERS_BYTES_MAX))
            return false;
    }
    for (size_t i = 0; i < in->n_in_sync_ids; i++)
        if (in->in_sync_ids[i] < 1 || in->in_sync_ids[i] > UINT16_MAX)
            return false;
    return true;
}

static const char *text_of(const char *text, bool is_used)
{
    return *text == '\0' && !is_used ? NULL : text;
}

static void take_values(const Jackdaw__ClusterMessage *in, struct replica_message *out)
{
    out->kind = (enum replica_message_kind)(in->kind - 1);
    out->from = (uint16_t)in->from;
    out->to = (uint16_t)in->to;
    if (in->cluster.len > 0)
        memcpy(out->cluster, in->cluster.data, sizeof out->cluster);
    out->epoch = in->epoch;
    out->promised = in->promised;
    out->position = proto_position(in->position);
    out->last = proto_position(in->last);
    out->common = proto_position(in->common);
    out->members_position = proto_position(in->members_position);
    out->committed = in->committed;
    out->needed = in->needed;
    out->role = (enum replica_role)in->role;
    out->answer = (enum replica_answer)in->answer;
    out->refusal = (enum replica_rejection)in->refusal;
    out->recovering_log = in->recovering_log;
    out->granted = in->granted;
    out->in_sync = in->in_sync;
    out->unhealthy = in->unhealthy;
    out->blank = in->blank;
    out->founding = in->founding;
    out->disk_age_ms = in->disk_age_ms;
    out->level = (uint16_t)in->level;
    out->node = (uint16_t)in->node;
    out->master = (uint16_t)in->master;
    out->master_epoch = in->master_epoch;
    /* One may hear a master without knowing where it is, or have no address to tell to clients. */
    out->master_address = text_of(in->master_address, out->master != 0);
    out->internal = text_of(in->internal, false);
    out->client = text_of(in->client, out->kind == REPLICA_JOIN);
    out->snapshot = in->snapshot;
    out->offset = in->offset;
    out->total = in->total;
    out->bytes = in->bytes.data;
    out->size = in->bytes.len;
    out->orphan = in->orphan;
}

static void take_lists(const Jackdaw__ClusterMessage *in, struct log_entry *batches,
                       struct epoch_start *starts, struct replica_message *out)
{
    for (size_t i = 0; i < in->n_epoch_starts; i++)
        starts[i] = (struct epoch_start){.epoch = in->epoch_starts[i]->epoch,
                                         .first_seq = in->epoch_starts[i]->first_seq};
    out->epochs = (struct epoch_history){.starts = starts, .count = in->n_epoch_starts};
    out->in_sync_count = in->n_in_sync_ids;
    for (size_t i = 0; i < in->n_in_sync_ids; i++)
        out->in_sync_ids[i] = (uint16_t)in->in_sync_ids[i];
    out->locations_count = in->n_locations;
    for (size_t i = 0; i < in->n_locations; i++)
        out->locations[i] = (struct replica_location){.id = (uint16_t)in->locations[i]->id,
                                                      .address = in->locations[i]->address};
    out->batches = batches;
    out->batches_count = in->n_batches;
    for (size_t i = 0; i < in->n_batches; i++) {
        const Jackdaw__LogEntry *entry = in->batches[i];
        batches[i] = (struct log_entry){.kind = (enum log_entry_kind)entry->kind,
                                        .epoch = entry->epoch,
                                        .first_seq = entry->first_seq,
                                        .last_seq = entry->last_seq,
                                        .bytes = entry->bytes.data,
                                        .size = entry->bytes.len};
        memcpy(batches[i].digest, entry->digest.data, sizeof batches[i].digest);
    }
}

enum error cluster_wire_decode(const Jackdaw__ClusterMessage *in, struct arena *arena,
                               struct replica_message *out, const char **feed)
{
    if (!are_ranges_kept(in) || !are_addresses(in) || !are_entries(in))
        return ERROR_INVALID;
    struct log_entry *batches = arena_alloc(arena, in->n_batches * sizeof *batches);
    struct epoch_start *starts = arena_alloc(arena, in->n_epoch_starts * sizeof *starts);
    if (batches == NULL || starts == NULL)
        return ERROR_NO_MEMORY;
    *out = (struct replica_message){.kind = REPLICA_PING};
    take_values(in, out);
    take_lists(in, batches, starts, out);
    if (feed != NULL)
        *feed = text_of(in->feed, false);
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
