/* SPDX-License-Identifier: MIT */
/* poison.c - loaded before the C library (LD_PRELOAD): a text that ends the server.
 *
 * The text is in JACKDAW_TEST_POISON. A process that packs a delta with it, or unpacks a batch with it, says
 * so on standard error and aborts, as it would at a failed assertion. Where JACKDAW_TEST_POISON_LOOPS is
 * set, it computes for ever. Where JACKDAW_TEST_POISON_ROWS is set, the process does not do that when it
 * applies the text, but when it binds the text to a statement of SQLite. */
#include <dlfcn.h>
#include <protobuf-c/protobuf-c.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int bind_text64(sqlite3_stmt *statement, int parameter, const char *text,
                        sqlite3_uint64 size, void (*destructor)(void *), unsigned char encoding);

typedef size_t pack(const ProtobufCMessage *message, uint8_t *out);
typedef ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *descriptor,
                                 ProtobufCAllocator *allocator, size_t size, const uint8_t *bytes);

static bind_text64 *real_bind;
static pack *real_pack;
static unpack *real_unpack;
static const char *poison;
static bool is_in_rows;

__attribute__((constructor)) static void load(void)
{
    *(void **)&real_bind = dlsym(RTLD_NEXT, "sqlite3_bind_text64");
    *(void **)&real_pack = dlsym(RTLD_NEXT, "protobuf_c_message_pack");
    *(void **)&real_unpack = dlsym(RTLD_NEXT, "protobuf_c_message_unpack");
    poison = getenv("JACKDAW_TEST_POISON");
    is_in_rows = getenv("JACKDAW_TEST_POISON_ROWS") != NULL;
}

static bool has_poison(const void *bytes, size_t size)
{
    return poison != NULL && bytes != NULL && memmem(bytes, size, poison, strlen(poison)) != NULL;
}

static void die(void)
{
    volatile unsigned turns = 0;
    while (getenv("JACKDAW_TEST_POISON_LOOPS") != NULL)
        turns++;
    (void)fprintf(stderr, "poison: %s\n", poison);
    abort();
}

int sqlite3_bind_text64(sqlite3_stmt *statement, int parameter, const char *text,
                        sqlite3_uint64 size, void (*destructor)(void *), unsigned char encoding)
{
    if (is_in_rows && has_poison(text, size))
        die();
    return real_bind(statement, parameter, text, size, destructor, encoding);
}

size_t protobuf_c_message_pack(const ProtobufCMessage *message, uint8_t *out)
{
    size_t size = real_pack(message, out);
    bool is_delta = strcmp(message->descriptor->name, "jackdaw.Delta") == 0;
    if (!is_in_rows && is_delta && has_poison(out, size))
        die();
    return size;
}

ProtobufCMessage *protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                            ProtobufCAllocator *allocator, size_t size,
                                            const uint8_t *bytes)
{
    bool is_batch = strcmp(descriptor->name, "jackdaw.Batch") == 0;
    if (!is_in_rows && is_batch && has_poison(bytes, size))
        die();
    return real_unpack(descriptor, allocator, size, bytes);
}
