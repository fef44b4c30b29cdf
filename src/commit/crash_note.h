/* SPDX-License-Identifier: MIT */
/* crash_note.h - which entries of the log a server was applying when its process died.
 *
 * A slave applies the entries of its master. If an entry ends the process, it would do so at every
 * start. So the slave notes each entry in a file of the data folder. The file is mapped into
 * memory: noting costs a few stores, and the kernel keeps them when the process dies. (A power cut
 * may lose them, which costs one more death.) If an entry has ended two processes, the server asks
 * for a snapshot that contains it instead.
 *
 * A second note tells which entries' rows a server was writing into its database: of several entries
 * together, so a death points at a range. The process after it finds out in a child what ends it
 * (commit_log.h).
 *
 * A process that is killed from outside while it applies counts, too: twice at the same entry makes a
 * snapshot, which is no harm.
 *
 * One thread at a time. */
#ifndef JACKDAW_COMMIT_CRASH_NOTE_H
#define JACKDAW_COMMIT_CRASH_NOTE_H

#include "base/error.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

#define CRASH_NOTE_APPLYING "applying" /* the names of the files */
#define CRASH_NOTE_PROJECTING "projecting"
#define CRASH_NOTE_DEATHS_MAX 2

struct crash_note;

/* Opens or makes the note `name` in folder and counts the death that it tells of, if it does. last: of the
 * database on this disk; notes up to there are obsolete. A file that is damaged tells nothing. *out:
 * ended with crash_note_close. Errors: of the file; sentence in why. */
enum error crash_note_open(struct crash_note **out, const char *folder, const char *name,
                           struct log_position last, struct error_text *why);
void crash_note_close(struct crash_note *note); /* NULL is allowed */

/* The entries whose deltas have the seqs from first_seq on, up to last, are about to be applied, or
 * their rows to be written; and are. */
void crash_note_begin(struct crash_note *note, struct log_position last, uint64_t first_seq);
void crash_note_end(struct crash_note *note);

/* Whether the entry at seq is one of those that the process before may have died of: these are to be
 * applied in a transaction each. */
bool crash_note_covers(const struct crash_note *note, uint64_t seq);

/* The entry that ended CRASH_NOTE_DEATHS_MAX processes; false: there is none. *at: its last delta. */
bool crash_note_poison(const struct crash_note *note, struct log_position *at);

#endif
