/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define STRINGS 5

/* Lists the strings of a request. */
static void list_strings(struct client_request *asked, const char **out[STRINGS])
{
    out[0] = &asked->room;
    out[1] = &asked->name;
    out[2] = &asked->text;
    out[3] = &asked->password;
    out[4] = &asked->after;
}

struct request *request_copy(struct client *client, const struct client_request *asked)
{
    struct client_request copy = *asked;
    const char **strings[STRINGS];
    size_t total = 0;
    list_strings(&copy, strings);
    for (size_t i = 0; i < STRINGS; i++)
        total += (*strings[i] == NULL ? 0 : strlen(*strings[i])) + 1;
    struct request *request = calloc(1, sizeof *request + total);
    if (request == NULL)
        return NULL;
    request->client = client;
    request->asked = copy;
    request->strings_size = total;
    list_strings(&request->asked, strings);
    char *at = request->strings;
    for (size_t i = 0; i < STRINGS; i++) {
        size_t size = (*strings[i] == NULL ? 0 : strlen(*strings[i])) + 1;
        memcpy(at, *strings[i] == NULL ? "" : *strings[i], size);
        *strings[i] = at;
        at += size;
    }
    return request;
}

size_t request_cost(const struct request *request)
{
    return sizeof *request + request->strings_size;
}

void request_dispose(struct request *request)
{
    sodium_memzero(request, request_cost(request)); /* it may hold a password */
    free(request);
}
