/* SPDX-License-Identifier: MIT */
/* Writes the seeds of the fuzz targets: good inputs of every kind, from which the fuzzer finds the
 * bad ones.
 *
 * usage: make_corpus FOLDER      (makes FOLDER/frame, FOLDER/reply, FOLDER/address, FOLDER/batch, FOLDER/cluster) */
#include "base/arena.h"
#include "base/error.h"
#include "base/status.h"
#include "rpc/protocol.h"
#include "spec.pb-c.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *folder;
static struct arena memory; /* of everything, until the end */

static void *take(size_t size)
{
    void *taken = arena_zalloc(&memory, size);
    ASSERT(taken != NULL);
    return taken;
}

static void die(const char *path)
{
    (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(1);
}

static void make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        die(path);
}

static void write_seed(const char *target, const char *name, const void *bytes, size_t size)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
    FILE *file = fopen(path, "we");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        die(path);
}

static void write_frame(const char *target, const char *name, Jackdaw__Envelope **envelopes,
                        size_t count)
{
    Jackdaw__Frame frame = JACKDAW__FRAME__INIT;
    frame.envelopes = envelopes;
    frame.n_envelopes = count;
    uint8_t *bytes = take(jackdaw__frame__get_packed_size(&frame) + 1);
    write_seed(target, name, bytes, jackdaw__frame__pack(&frame, bytes));
}

static void fill(ProtobufCMessage *message);

static void fill_one(const ProtobufCFieldDescriptor *field, void *at)
{
    static uint8_t some_bytes[] = {0, 1, 2, 0xff};
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        *(char **)at = (char *)"lobby \xc3\xa9";
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)at = (ProtobufCBinaryData){sizeof some_bytes, some_bytes};
        break;
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessageDescriptor *type = field->descriptor;
        ProtobufCMessage *inner = take(type->sizeof_message);
        protobuf_c_message_init(type, inner);
        fill(inner);
        *(ProtobufCMessage **)at = inner;
        break;
    }
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(uint64_t *)at = 0x1122334455667788u;
        break;
    default:
        *(uint32_t *)at = 1;
        break;
    }
}

/* Sets every field, lists to two entries. */
static void fill(ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        uint8_t *at = (uint8_t *)message + field->offset;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0)
                fill_one(field, at);
            continue;
        }
        uint8_t *list = take(2 * sizeof(ProtobufCBinaryData));
        size_t each =
            field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64 ||
                    field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE
                ? sizeof(uint64_t)
            : field->type == PROTOBUF_C_TYPE_BYTES ? sizeof(ProtobufCBinaryData)
                                                   : sizeof(uint32_t);
        fill_one(field, list);
        fill_one(field, list + each);
        *(uint8_t **)at = list;
        *(size_t *)((uint8_t *)message + field->quantifier_offset) = 2;
    }
}

static ProtobufCBinaryData packed(const ProtobufCMessageDescriptor *type, bool filled)
{
    ProtobufCMessage *message = take(type->sizeof_message);
    protobuf_c_message_init(type, message);
    if (filled)
        fill(message);
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = take(size + 1);
    (void)protobuf_c_message_pack(message, bytes);
    return (ProtobufCBinaryData){size, bytes};
}

static void write_methods(void)
{
    const ProtobufCServiceDescriptor *chat = &jackdaw__chat__descriptor;
    static uint8_t token[32];
    Jackdaw__Envelope requests[32];
    Jackdaw__Envelope *all[32];
    for (unsigned i = 0; i < chat->n_methods && i < 32; i++) {
        char name[64];
        Jackdaw__Envelope *request = &requests[i];
        jackdaw__envelope__init(request);
        all[i] = request;
        request->protocol = RPC_PROTOCOL;
        request->call = i + 1;
        request->service = (char *)chat->name;
        request->method = (char *)chat->methods[i].name;
        request->timeout_ms = 5000;
        request->token = (ProtobufCBinaryData){sizeof token, token};
        request->credits = i % 3 * 20;
        for (int filled = 0; filled < 2; filled++) {
            request->payload = packed(chat->methods[i].input, filled == 1);
            (void)snprintf(name, sizeof name, "%s-%d", chat->methods[i].name, filled);
            write_frame("frame", name, &request, 1);
            Jackdaw__Envelope reply = JACKDAW__ENVELOPE__INIT;
            Jackdaw__Envelope *one = &reply;
            reply.kind = JACKDAW__ENVELOPE__KIND__REPLY;
            reply.protocol = RPC_PROTOCOL;
            reply.call = i + 1;
            reply.more = filled == 1;
            reply.payload = packed(chat->methods[i].output, filled == 1);
            write_frame("reply", name, &one, 1);
        }
    }
    write_frame("frame", "all", all, chat->n_methods);
    write_frame("reply", "all", all, chat->n_methods);
}

static void write_odd_envelopes(void)
{
    Jackdaw__Envelope envelope = JACKDAW__ENVELOPE__INIT;
    Jackdaw__Envelope *envelopes[4] = {&envelope, &envelope, &envelope, &envelope};
    write_frame("frame", "no-envelope", envelopes, 0);
    write_frame("frame", "default-envelopes", envelopes, 4);
    envelope.kind = JACKDAW__ENVELOPE__KIND__CANCEL;
    envelope.call = UINT64_MAX;
    write_frame("frame", "cancel", envelopes, 4);
    envelope.kind = JACKDAW__ENVELOPE__KIND__CREDIT;
    envelope.credits = UINT32_MAX;
    write_frame("frame", "credit", envelopes, 2);
    envelope.kind = JACKDAW__ENVELOPE__KIND__REQUEST;
    envelope.protocol = 2u << 16;
    write_frame("frame", "another-version", envelopes, 1);
    envelope.protocol = RPC_PROTOCOL;
    envelope.service = (char *)"jackdaw.Chat";
    envelope.method = (char *)"Sing";
    write_frame("frame", "unknown-method", envelopes, 1);
    envelope.kind = JACKDAW__ENVELOPE__KIND__NOTE;
    envelope.method = (char *)"Info";
    write_frame("frame", "notes", envelopes, 2);
    fill(&envelope.base);
    write_frame("frame", "every-field", envelopes, 1);
    envelope.kind = JACKDAW__ENVELOPE__KIND__REPLY;
    envelope.status = STATUS_COUNT + 5;
    write_frame("reply", "unknown-status", envelopes, 3);
    static const char unknown[] = "\x0a\x08\x2a\x02hi\xfa\x01\x01x\x78\x05";
    write_seed("frame", "unknown-fields", unknown, sizeof unknown - 1);
    write_seed("reply", "unknown-fields", unknown, sizeof unknown - 1);
}

static void write_addresses(void)
{
    static const char *const addresses[] = {
        ":2625",
        "localhost:2625",
        "10.0.0.1:1",
        "[::1]:65535",
        "tcp://host:1",
        "tls+tcp://[2001:db8::5]:443\n:0",
        "9.0.0.1:1\n10.0.0.1:1",
        "[::1]:1\n127.0.0.1:1",
        "a:1\nB:1",
        "host",
        "host:65536",
        "::1:80",
        "[fe80::1%eth0]:80",
        "\x1b[2J:1",
    };
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%02zu", i);
        write_seed("address", name, addresses[i], strlen(addresses[i]));
    }
}

/* A message and a topic, each with a whole, an erased and a malformed text. */
static void write_batches(void)
{
    static uint8_t sixteen[16] = "0123456789abcde";
    static uint8_t zeros[5];
    const ProtobufCBinaryData salt = {sizeof sixteen, sixteen};
    const ProtobufCBinaryData erased = {sizeof zeros, zeros};
    Jackdaw__MessageSent sent[3];
    Jackdaw__TopicSet set = JACKDAW__TOPIC_SET__INIT;
    Jackdaw__Delta deltas[4];
    Jackdaw__Delta *list[4];
    for (size_t i = 0; i < 4; i++) {
        jackdaw__delta__init(&deltas[i]);
        list[i] = &deltas[i];
        deltas[i].request = i + 1;
        if (i == 3)
            break;
        jackdaw__message_sent__init(&sent[i]);
        deltas[i].change_case = JACKDAW__DELTA__CHANGE_MESSAGE_SENT;
        deltas[i].message_sent = &sent[i];
    }
    sent[0].text = (char *)"hello";
    sent[0].text_salt = salt;
    sent[1].erased_text = erased;
    sent[1].text_hash = salt;
    sent[2].text = (char *)"hello";
    sent[2].text_hash = salt;
    set.topic = (char *)"of birds";
    set.topic_salt = salt;
    deltas[3].change_case = JACKDAW__DELTA__CHANGE_TOPIC_SET;
    deltas[3].topic_set = &set;
    for (size_t i = 0; i < 4; i++) {
        char name[16];
        Jackdaw__Batch batch = JACKDAW__BATCH__INIT;
        batch.epoch = 1;
        batch.first_seq = 1;
        batch.n_deltas = i == 3 ? 1 : i + 1;
        batch.deltas = i == 3 ? &list[3] : list;
        uint8_t *bytes = take(jackdaw__batch__get_packed_size(&batch) + 1);
        (void)snprintf(name, sizeof name, "%zu", i);
        write_seed("batch", name, bytes, jackdaw__batch__pack(&batch, bytes));
    }
}

#define EPOCH 65537u       /* of the scenes of fuzz_cluster.c, by node 1 */
#define NEXT_EPOCH 131074u /* the next of node 2 */

static Jackdaw__Position *at(uint64_t epoch, uint64_t seq)
{
    Jackdaw__Position *position = take(sizeof *position);
    jackdaw__position__init(position);
    position->epoch = epoch;
    position->seq = seq;
    return position;
}

/* From the master, at the end of the scenes' log. */
static Jackdaw__ClusterMessage *message_of(int kind)
{
    static uint8_t cluster[] = "cluster of fuzz!";
    static uint8_t chunk[] = "database";
    Jackdaw__ClusterMessage *message = take(sizeof *message);
    jackdaw__cluster_message__init(message);
    message->kind = (Jackdaw__ClusterMessage__Kind)kind;
    message->from = 1;
    message->cluster = (ProtobufCBinaryData){16, cluster};
    message->epoch = EPOCH;
    message->promised = EPOCH;
    message->position = at(EPOCH, 3);
    message->last = at(EPOCH, 3);
    message->common = at(EPOCH, 3);
    message->committed = 3;
    message->role = 6; /* master */
    message->master = 1;
    message->master_epoch = EPOCH;
    message->master_address = (char *)"a:1";
    message->internal = (char *)"a:1";
    message->client = (char *)"a:2";
    message->refusal = kind == JACKDAW__CLUSTER_MESSAGE__KIND__JOIN_REJECTED;
    message->bytes = (ProtobufCBinaryData){sizeof chunk, chunk};
    message->total = sizeof chunk;
    message->snapshot = 7;
    message->orphan = 1;
    message->node = 3;
    message->granted = true;
    return message;
}

static void add_entry(Jackdaw__ClusterMessage *message, bool is_members, uint64_t first,
                      uint64_t last)
{
    static uint8_t digest[32];
    static uint8_t list[] = "\x01\x02\x00\x01\x05\x00\x03"
                            "a:1\x00\x03"
                            "a:2"
                            "\x00\x02\x05\x00\x03"
                            "b:1\x00\x03"
                            "b:2";
    Jackdaw__LogEntry *entry = take(sizeof *entry);
    jackdaw__log_entry__init(entry);
    entry->kind = is_members ? JACKDAW__LOG_ENTRY__KIND__MEMBERS : JACKDAW__LOG_ENTRY__KIND__CHAT;
    entry->epoch = message->epoch;
    entry->first_seq = first;
    entry->last_seq = last;
    entry->bytes = (ProtobufCBinaryData){sizeof list - 1, list};
    entry->digest = (ProtobufCBinaryData){sizeof digest, digest};
    if (message->batches == NULL)
        message->batches = take(8 * sizeof(Jackdaw__LogEntry *));
    message->batches[message->n_batches++] = entry;
}

static void write_scene(const char *name, uint8_t setup, Jackdaw__ClusterMessage **messages,
                        size_t count)
{
    Jackdaw__ClusterFrame frame = JACKDAW__CLUSTER_FRAME__INIT;
    frame.messages = messages;
    frame.n_messages = count;
    uint8_t *bytes = take(jackdaw__cluster_frame__get_packed_size(&frame) + 1);
    bytes[0] = setup;
    write_seed("cluster", name, bytes, jackdaw__cluster_frame__pack(&frame, bytes + 1) + 1);
}

/* Each kind to a node in each state, from whom it would come and from somebody else. */
static void write_kinds(void)
{
    for (uint8_t setup = 0; setup < 12; setup++)
        for (int kind = 1; kind <= JACKDAW__CLUSTER_MESSAGE__KIND__COMMITTED; kind++) {
            char name[32];
            (void)snprintf(name, sizeof name, "%u-%d", setup, kind);
            Jackdaw__ClusterMessage *messages[3];
            for (unsigned i = 0; i < 3; i++) {
                messages[i] = message_of(kind);
                messages[i]->from = i == 0 ? 1 : 3 + (i == 2);
                add_entry(messages[i], i == 1, 4, 4);
                messages[i]->internal = (char *)(i == 0 ? "a:1" : i == 1 ? "c:1" : "d:1");
            }
            if ((setup & 3u) == 3)
                messages[1]->epoch = messages[2]->epoch = EPOCH + 65536;
            write_scene(name, setup, messages, 3);
        }
}

/* A slave's life: joins, follows, finds a gap, hands over, is asked for a promise. */
static void write_following(void)
{
    Jackdaw__ClusterMessage *m[10];
    static const int kinds[] = {JACKDAW__CLUSTER_MESSAGE__KIND__ANNOUNCE,
                                JACKDAW__CLUSTER_MESSAGE__KIND__JOIN_REPLY,
                                JACKDAW__CLUSTER_MESSAGE__KIND__APPEND,
                                JACKDAW__CLUSTER_MESSAGE__KIND__PONG,
                                JACKDAW__CLUSTER_MESSAGE__KIND__ENTRIES,
                                JACKDAW__CLUSTER_MESSAGE__KIND__APPEND,
                                JACKDAW__CLUSTER_MESSAGE__KIND__ORPHAN_TRANSFER_DONE,
                                JACKDAW__CLUSTER_MESSAGE__KIND__LEADER_QUERY,
                                JACKDAW__CLUSTER_MESSAGE__KIND__PREPARE,
                                JACKDAW__CLUSTER_MESSAGE__KIND__JOIN_REJECTED};
    for (size_t i = 0; i < 10; i++)
        m[i] = message_of(kinds[i]);
    add_entry(m[2], false, 4, 5);
    m[3]->position = at(EPOCH, 8);
    m[4]->position = at(EPOCH, 5);
    add_entry(m[4], true, 6, 6);
    add_entry(m[4], false, 7, 8);
    m[5]->position = at(EPOCH, 9);
    m[5]->last = at(EPOCH, 12);
    add_entry(m[5], false, 10, 12);
    m[8]->to = 15;
    m[8]->epoch = NEXT_EPOCH - 1;
    write_scene("following", 2, m, 10);
    Jackdaw__ClusterMessage *joins[] = {m[0], m[1], m[3]};
    m[1]->position = at(0, 0);
    m[1]->common = at(0, 0);
    write_scene("joining", 0, joins, 3);
    Jackdaw__ClusterMessage *chunk = message_of(JACKDAW__CLUSTER_MESSAGE__KIND__SNAPSHOT_CHUNK);
    Jackdaw__ClusterMessage *installs[] = {m[0], m[1], chunk, m[1]};
    m[1]->answer = 2;
    write_scene("installing", 0, installs, 4);
}

/* Node 2 takes over: nobody hears a master, two promise, one has more than it. */
static void write_election(void)
{
    Jackdaw__ClusterMessage *m[6];
    static const int kinds[] = {
        JACKDAW__CLUSTER_MESSAGE__KIND__LEADER_INFO, JACKDAW__CLUSTER_MESSAGE__KIND__LEADER_INFO,
        JACKDAW__CLUSTER_MESSAGE__KIND__PROMISE,     JACKDAW__CLUSTER_MESSAGE__KIND__PROMISE,
        JACKDAW__CLUSTER_MESSAGE__KIND__JOIN_REPLY,  JACKDAW__CLUSTER_MESSAGE__KIND__ENTRIES};
    for (size_t i = 0; i < 6; i++) {
        m[i] = message_of(kinds[i]);
        m[i]->from = i % 2 == 0 ? 1 : 3;
        m[i]->role = 0;
        m[i]->master = 0;
        if (i < 2)
            m[i]->position = NULL;
        else
            m[i]->epoch = NEXT_EPOCH;
        m[i]->promised = m[i]->epoch;
        m[i]->recovering_log = i > 3;
    }
    m[3]->position = at(EPOCH, 5);
    m[4]->from = 3;
    m[5]->from = 3;
    add_entry(m[5], false, 4, 5);
    m[5]->batches[0]->epoch = EPOCH;
    for (uint8_t policy = 0; policy < 3; policy++) {
        char name[16];
        (void)snprintf(name, sizeof name, "election-%u", policy);
        write_scene(name, (uint8_t)(2u + 4u * policy), m, 6);
    }
}

int main(int argc, char **argv)
{
    static const char *const targets[] = {"frame", "reply", "address", "batch", "cluster"};
    if (argc != 2) {
        (void)fprintf(stderr, "usage: make_corpus FOLDER\n");
        return 2;
    }
    folder = argv[1];
    arena_init(&memory, 16u << 20);
    make_folder(folder);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/%s", folder, targets[i]);
        make_folder(path);
    }
    write_methods();
    write_odd_envelopes();
    write_addresses();
    write_batches();
    write_kinds();
    write_following();
    write_election();
    arena_clear(&memory);
    return 0;
}
