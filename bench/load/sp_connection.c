/* SPDX-License-Identifier: MIT */
#include "sp_connection.h"

#include "harness/sp_peer.h"

#include <string.h>

#define FRAME_BYTES_MAX (8u * 1024u * 1024u) /* larger ones from a server are no frames */
#define FRAME_FILL_BYTES (64u * 1024u)       /* our own are closed when they are this large */

static const uint8_t handshake[SP_HANDSHAKE_BYTES] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};

static bool begin(struct connection *connection)
{
    uint8_t *output = connection_extend(connection, SP_HANDSHAKE_BYTES);
    if (output == NULL)
        return false;
    memcpy(output, handshake, SP_HANDSHAKE_BYTES);
    connection_keep(connection, SP_HANDSHAKE_BYTES);
    return true;
}

void sp_connection_end_frame(struct connection *connection)
{
    if (connection->frame == SIZE_MAX)
        return;
    sp_prefix(connection->output + connection->frame, SP_REQUEST_ID,
              connection->output_used - connection->frame - SP_PREFIX_BYTES);
    connection->frame = SIZE_MAX;
}

static bool start_frame(struct connection *connection)
{
    if (connection_extend(connection, SP_PREFIX_BYTES) == NULL)
        return false;
    connection->frame = connection->output_used;
    connection_keep(connection, SP_PREFIX_BYTES);
    connection_queue(connection);
    return true;
}

uint8_t *sp_connection_append(struct connection *connection, size_t size)
{
    if (connection->descriptor < 0)
        return NULL;
    if (connection->frame != SIZE_MAX &&
        connection->output_used - connection->frame + size > FRAME_FILL_BYTES)
        sp_connection_end_frame(connection);
    if (connection->frame == SIZE_MAX && !start_frame(connection))
        return NULL;
    return connection_extend(connection, size);
}

static size_t take_handshake(struct connection *connection, const uint8_t *bytes, size_t size)
{
    if (size < SP_HANDSHAKE_BYTES)
        return 0;
    if (memcmp(bytes, handshake, 4) != 0) {
        connection_lose(connection, "the server there does not speak SP");
        return 0;
    }
    connection->established = true;
    const struct loop_handler *handler = &connection->loop->handler;
    if (handler->established != NULL)
        handler->established(handler->context, connection);
    return SP_HANDSHAKE_BYTES;
}

static uint64_t take_length(const uint8_t *at)
{
    uint64_t length = 0;
    for (int i = 0; i < 8; i++)
        length = length << 8 | at[i];
    return length;
}

static size_t take(struct connection *connection, const uint8_t *bytes, size_t size)
{
    if (!connection->established)
        return take_handshake(connection, bytes, size);
    if (size < SP_PREFIX_BYTES)
        return 0;
    uint64_t length = take_length(bytes);
    if (length < 4 || length > FRAME_BYTES_MAX)
        return connection_pass(connection, bytes, FRAME_BROKEN);
    if (size - 8 < length)
        return 0;
    const struct loop_handler *handler = &connection->loop->handler;
    handler->frame(handler->context, connection, bytes + SP_PREFIX_BYTES, (size_t)length - 4);
    return 8 + (size_t)length;
}

const struct framing sp_framing = {begin, take, sp_connection_end_frame};
