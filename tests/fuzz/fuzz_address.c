/* SPDX-License-Identifier: MIT */
/* Addresses as people and peers write them: what is accepted is written and read again the same,
 * and orders; what is refused is refused with a sentence of plain text. Two in one input, divided
 * by a newline, are compared. */
#include "base/address.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static bool parse(const char *text, struct address *out)
{
    struct error_text why = {""};
    memset(out, 0xaa, sizeof *out);
    enum error error = address_parse(text, out, &why);
    if (error == OK)
        return true;
    ASSERT(error == ERROR_INVALID && strlen(why.text) > 20);
    for (const char *at = why.text; *at != '\0'; at++)
        ASSERT(*at >= ' ' && *at <= '~');
    return false;
}

static void check(const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    char url[ADDRESS_TEXT_SIZE];
    struct address again;
    address_format(address, text);
    ASSERT(strlen(text) < sizeof text);
    ASSERT(parse(text, &again));
    ASSERT(strcmp(again.host, address->host) == 0 && again.port == address->port &&
           again.tls == address->tls);
    ASSERT(address_compare(address, &again) == 0);
    address_listen_url(address, url);
    ASSERT(parse(url, &again) && again.port == address->port && again.host[0] != '\0');
    address_dial_url(address, url);
    ASSERT(parse(url, &again) && again.port == address->port && again.host[0] != '\0');
}

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    ASSERT(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    char *second = strchr(text, '\n');
    if (second != NULL)
        *second++ = '\0';
    struct address one;
    struct address other;
    bool good = parse(text, &one);
    if (good)
        check(&one);
    if (second != NULL && parse(second, &other)) {
        check(&other);
        if (good)
            ASSERT(sign(address_compare(&one, &other)) == -sign(address_compare(&other, &one)));
    }
    free(text);
    return 0;
}
