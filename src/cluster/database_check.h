/* SPDX-License-Identifier: MIT */
/* database_check.h - whether a database is whole, so that no server that uses it will stumble. */
#ifndef JACKDAW_CLUSTER_DATABASE_CHECK_H
#define JACKDAW_CLUSTER_DATABASE_CHECK_H

#include "store/store.h"

#include <stdatomic.h>

/* Checks a file opened by store_open_check, before it replaces a database: its structure, every row,
 * and all that a server loads at start: the chat, epochs, the list of members. Ends soon with
 * ERROR_CANCELLED once *is_wanted is false and store_cancel was called. ERROR_CORRUPT, or the
 * store's errors, with a sentence in why. Any thread; takes about two seconds for each 100 MB. */
enum error database_check(struct store *file, const atomic_bool *is_wanted, struct error_text *why);

#endif
