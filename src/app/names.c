/* SPDX-License-Identifier: MIT */
#include "app/names.h"

#include "client/text.h"

#include <stdlib.h>
#include <string.h>

static size_t index_of(const struct names *names, const char *name)
{
    for (size_t i = names->count; i > 0; i--) /* the latest are asked for most */
        if (strcmp(names->items[i - 1], name) == 0)
            return i - 1;
    for (size_t i = 0; i < names->count; i++)
        if (text_same_name(names->items[i], name))
            return i;
    return names->count;
}

static void remove_at(struct names *names, size_t index)
{
    free(names->items[index]);
    names->count--;
    memmove(&names->items[index], &names->items[index + 1],
            (names->count - index) * sizeof names->items[0]);
}

void names_add(struct names *names, const char *name)
{
    if (names->items == NULL)
        names->items = calloc(NAMES_MAX, sizeof *names->items);
    if (names->items == NULL)
        return;
    if (names->count > 0 && strcmp(names->items[names->count - 1], name) == 0)
        return;
    char *copy = strdup(name);
    if (copy == NULL)
        return;
    names_remove(names, name);
    if (names->count == NAMES_MAX)
        remove_at(names, 0);
    names->items[names->count++] = copy;
}

void names_remove(struct names *names, const char *name)
{
    size_t index = index_of(names, name);
    if (index < names->count)
        remove_at(names, index);
}

const char *names_find(const struct names *names, const char *name)
{
    size_t index = index_of(names, name);
    return index < names->count ? names->items[index] : NULL;
}

const char *names_last(const struct names *names)
{
    return names->count == 0 ? NULL : names->items[names->count - 1];
}

void names_clear(struct names *names)
{
    while (names->count > 0)
        remove_at(names, names->count - 1);
    free(names->items);
    names->items = NULL;
}
