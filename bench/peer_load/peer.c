/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REQUEST_BYTES_MAX 1000

size_t peer_line_size(const uint8_t *bytes, size_t size)
{
    const uint8_t *end = memchr(bytes, '\n', size);
    return end == NULL ? 0 : (size_t)(end - bytes) + 1;
}

bool peer_begins_with(const uint8_t *bytes, size_t size, const char *words)
{
    size_t length = strlen(words);
    return size >= length && memcmp(bytes, words, length) == 0;
}

const uint8_t *peer_find(const uint8_t *bytes, size_t size, const char *words)
{
    size_t length = strlen(words);
    for (size_t at = 0; at + length <= size; at++) {
        const uint8_t *first = memchr(bytes + at, words[0], size - length - at + 1);
        if (first == NULL)
            return NULL;
        if (memcmp(first, words, length) == 0)
            return first;
        at = (size_t)(first - bytes);
    }
    return NULL;
}

bool peer_print(struct peer *peer, const char *format, ...)
{
    char text[REQUEST_BYTES_MAX + 1];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return length > 0 && length <= REQUEST_BYTES_MAX &&
           connection_send(&peer->connection, text, (size_t)length);
}

void peer_write_text(char *text, size_t text_bytes, uint64_t number)
{
    (void)snprintf(text, PEER_NUMBER_DIGITS + 1, "%020" PRIu64, number);
    memset(text + PEER_NUMBER_DIGITS, 'x', text_bytes - PEER_NUMBER_DIGITS);
    text[text_bytes] = '\0';
}

uint64_t peer_read_number(const uint8_t *text)
{
    uint64_t number = 0;
    for (size_t i = 0; i < PEER_NUMBER_DIGITS; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    return number;
}
