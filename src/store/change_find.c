/* SPDX-License-Identifier: MIT */
/* Finds changes that the database may lack. The search is linear from the newest change on: few reads of
 * the owner's thread need it, and the projection keeps the number of changes small. */
#include "store/store_internal.h"

struct search {
    unsigned kinds;
    change_visitor *visit;
    void *context;
};

static bool search_batch(void *context, const struct change_batch *batch)
{
    const struct search *search = context;
    if ((batch->kinds & search->kinds) == 0)
        return true;
    for (size_t i = batch->count; i-- > 0;) {
        if ((search->kinds & 1u << batch->changes[i].kind) == 0)
            continue;
        struct change change = change_get(batch, i);
        if (!search->visit(search->context, &change))
            return false;
    }
    return true;
}

enum error change_each(struct store *store, unsigned kinds, change_visitor *visit, void *context)
{
    if (store->is_reader)
        return projection_reach(store, PROJECTION_ALL);
    struct search search = {.kinds = kinds, .visit = visit, .context = context};
    bool goes_on = store->open == NULL || search_batch(&search, store->open);
    if (goes_on && store->projection != NULL)
        projection_each(store->projection, search_batch, &search);
    return OK;
}
