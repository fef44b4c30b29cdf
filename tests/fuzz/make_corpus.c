/* SPDX-License-Identifier: MIT */
/* Writes the seeds of the fuzz targets: good inputs of every kind, from which the fuzzer finds the
 * bad ones.
 *
 * usage: make_corpus FOLDER      (makes FOLDER/frame, FOLDER/reply, FOLDER/address) */
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

/* ---- a message of every field ---- */

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

/* ---- the three corpora ---- */

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

int main(int argc, char **argv)
{
    static const char *const targets[] = {"frame", "reply", "address"};
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
    arena_clear(&memory);
    return 0;
}
