/* SPDX-License-Identifier: MIT */
/* replay.h - applies the entries of the log that the database lacks, at the start of a server.
 *
 * If the process before this one died while it wrote rows, a child tries the rows of these entries one by
 * one. A row that ends the child loses its text in the database. If that does not help, the row is left out:
 * the same bug would end every server at every start. The log still has the entry.
 * An entry that ended two processes while it was applied is not applied a third time (crash_note.h). */
#ifndef JACKDAW_COMMIT_REPLAY_H
#define JACKDAW_COMMIT_REPLAY_H

#include "base/error.h"
#include "chat/chat.h"
#include "commit/crash_note.h"
#include "store/store.h"

struct replay {
    struct store *store;
    struct chat *chat;                   /* loaded from the store */
    struct crash_note *applying;         /* or NULL */
    const struct crash_note *projecting; /* or NULL */
};

/* Core thread, before other threads use the store. Errors, with a sentence in why: of reading the log and of
 * applying; ERROR_CORRUPT also for an entry that ended two processes. Then the store has the entries
 * before it. */
enum error replay_run(const struct replay *replay, struct error_text *why);

#endif
