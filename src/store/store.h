/* SPDX-License-Identifier: MIT */
/* store.h - the log and the database of a server. The only folder that includes sqlite3.h.
 *
 * A store is the log of batches in files of its own (segment_log.h) and one SQLite database in a data
 * folder. For tests there is a store in memory, which keeps no log. The database holds the state of the chat
 * as plain rows, the history of epochs and the id of the cluster. src/chat gives the rows their meaning.
 * The id of the node and its promise are in a file of their own in the folder, so that a promise waits
 * for no page of the database.
 *
 * The log is the truth, and the database a projection of it. Writes happen inside one transaction at a
 * time: store_begin, any number of puts, store_log_append, store_commit. The puts collect changes of
 * rows in memory; the commit makes the entries of the log durable with one write and one sync.
 * store_project brings the database up to date later, in large transactions. Reads show committed
 * changes, and those of the open transaction to its owner: they find them in memory, or bring the
 * database up to date first.
 *
 * When store_commit returns OK the transaction is durable; after any error nothing of it is there once
 * store_rollback has been called. A write that fails breaks its transaction: further writes and
 * store_commit return the same error and only store_rollback helps (ERROR_INVALID breaks nothing).
 *
 * A process that ends may leave a database that is behind the log. Then store_position is that of the
 * database, and the caller replays before anything else: reads the entries up to store_log_last, and
 * applies them in transactions with store_log_append, which writes nothing.
 *
 * If the disk fails in the middle of store_commit, the log is undone on the disk. If the disk refuses
 * that too, the next store_open may find a beginning of the transaction's entries, but never a part of
 * one. The same holds after a crash during store_commit.
 *
 * Threads: a store belongs to one thread at a time. A second thread reads through a store of its
 * own (store_open_reader). Pointers in rows that are handed to a visitor are valid during that call
 * only; a visitor must not write, nor call the function that called it. If a visitor returns an
 * error, the visit ends and returns that error. Unless said otherwise functions return OK,
 * ERROR_NO_MEMORY, ERROR_DISK_FULL, ERROR_IO, ERROR_CORRUPT or ERROR_INTERNAL; store_last_problem
 * has the sentence. */
#ifndef JACKDAW_STORE_STORE_H
#define JACKDAW_STORE_STORE_H

#include "base/epoch_history.h"
#include "base/error.h"
#include "base/log_entry.h"
#include "segment_log/segment_log.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_CLUSTER_BYTES 16
#define STORE_TOKEN_HASH_BYTES 32
#define STORE_NONCE_BYTES 16
#define STORE_OUTCOME_WINDOW 256 /* outcomes kept per session */

struct store;

/* ---- opening ---- */

struct store_options {
    const char *folder;     /* made (mode 0700) with its parents if missing; NULL: in memory */
    uint64_t node_id;       /* 1..65535; written into a new folder, compared with an old one's */
    uint64_t segment_bytes; /* of a file of the log (segment_log.h); 0: the default */
    uint64_t replay_bytes;  /* bound of what a start replays; 0: STORE_REPLAY_BYTES */
};

#define STORE_REPLAY_BYTES (16u * 1024u * 1024u)

/* Opens or creates. *out: ended with store_close. Reads a number of pages that does not depend on
 * the size of the database; store_scan reads all of it.
 * ERROR_IN_USE: another process holds the folder. ERROR_MISMATCH: the folder belongs to another
 * node or the database to another program. ERROR_VERSION: another version of this program made the
 * files. ERROR_CORRUPT: a check failed, it is no database, or the node's file is missing beside it. ERROR_DENIED, ERROR_DISK_FULL, ERROR_IO, ERROR_INVALID, ERROR_FULL
 * (of descriptors): the folder cannot be used. Each with a sentence in why that says what to do. */
enum error store_open(struct store **out, const struct store_options *options,
                      struct error_text *why);

/* Opens a second, read-only view of the same database for another thread. Each read sees the state
 * committed at its start. Functions that answer from memory return the state of the last read. To
 * be closed before the store. A store in memory has none: ERROR_INVALID. */
enum error store_open_reader(struct store **out, const struct store *writer,
                             struct error_text *why);

/* Checks that the names in the data folder still lead to the files that the store has open.
 * ERROR_CLOSED, with a sentence in why: the folder or a file in it was removed, moved, replaced or
 * unmounted, or access is denied. Then later writes would be lost. A store in memory: OK. A few
 * microseconds; touches no disk. */
enum error store_check_files(const struct store *store, struct error_text *why);

/* Closes; an open transaction is rolled back. NULL is allowed. */
void store_close(struct store *store);

/* The sentence for the last error of any function below; "" when there was none. ERROR_NOT_FOUND
 * and errors of a visitor have no sentence. */
const char *store_last_problem(const struct store *store);

/* Whether any function has found damage in this store (ERROR_CORRUPT), even if it was closed to the
 * caller since; *why: the first sentence. Any thread, while the store is open. */
bool store_is_damaged(struct store *store, struct error_text *why);

/* The advice to an operator after ERROR_CORRUPT; the end of a sentence. */
#define STORE_DAMAGE_ADVICE                                                                      \
    "keep the data folder; if other servers run, start this one as a slave with another, empty " \
    "--data_dir, and it copies their database; if none does, restore a backup"

/* ---- transactions ---- */

enum error store_begin(struct store *store);
enum error store_commit(struct store *store);
void store_rollback(struct store *store); /* does nothing if no transaction is open */

/* Around a fork: after store_pause the database is up to date, and no other thread uses it until
 * store_resume, in the parent. The child calls store_isolate. Errors: of writing the database;
 * ERROR_IN_USE: another thread writes it for too long. Then store_resume must not be called. */
enum error store_pause(struct store *store);
void store_resume(struct store *store);

/* For a child process made by fork: from now on no store of the process writes to a file. The
 * changes of the open transaction stay in memory, and so does a promise. store_commit must not be called.
 * The caller's thread owned the store when it forked after store_pause, and no commit was under way. */
void store_isolate(struct store *store);

/* The changes of the open transaction. */
size_t store_change_count(const struct store *store);

/* Writes the rows of one of them, 0 for the first, into the database, and does not commit. For an isolated
 * child, which calls it for each in turn and finds out whether that ends the process. Errors: as
 * store_project. */
enum error store_try_change(struct store *store, size_t index);

/* Empties the text of one of them in the database: of an event or outcome, the topic of a room, or the
 * device of a session. false: it has none, or its row needs it. */
bool store_blank_change(struct store *store, size_t index);

/* Takes one of them back: the database will never have it. The changes behind it move up. */
void store_drop_change(struct store *store, size_t index);

/* store_commit in three parts, so that the thread that owns the store can continue while the disk
 * works. After store_commit_prepare returned OK, one thread calls store_commit_write. Then the
 * owner passes its result to store_commit_finish. The errors of the owner's two parts are those of
 * store_commit. In between the owner may call only these functions, which answer from memory:
 * store_position, store_digest, store_cluster, store_epoch_at, store_epochs, store_log_first,
 * store_log_bytes, store_last_orphan, store_orphan_count, store_promised and store_last_problem. The owner may also
 * call store_set_promised, which touches no database. The transaction still counts as open. */
enum error store_commit_prepare(struct store *store);
enum error store_commit_write(struct store *store);
enum error store_commit_finish(struct store *store, enum error written);

/* ---- the projection ---- */

/* Brings the database up to date with what was committed when the call began, in large transactions.
 * wants_sync: a loss of power takes nothing of that back any more; else it is synced once half of
 * replay_bytes is not. Any thread; not while the store is being opened, closed or installed into.
 * Errors, with a sentence in why: the changes stay in memory, and a later call tries again. A commit
 * returns the error once the changes take too much memory. */
enum error store_project(struct store *store, bool wants_sync, struct error_text *why);

/* Is told around each transaction that writes the rows of entries, in the thread that does. One for a store, set
 * by its owner before other threads use it. */
struct store_projection_watch {
    void *context;
    void (*begin)(void *context, struct log_position last, uint64_t first_seq);
    void (*end)(void *context);
};
void store_watch_projection(struct store *store, struct store_projection_watch watch);

/* The bytes of memory that changes take which the database lacks. Any thread. */
size_t store_unprojected_bytes(struct store *store);

/* Prepares the next file of the log, and removes pruned ones. Any thread, beside all but opening, closing
 * and installing. An error is no reason to stop: the next commit does the work. */
enum error store_log_maintain(struct store *store, struct error_text *why);

/* ---- identity, position, epochs ---- */

/* The random id of the cluster; all zero until it was set (which happens once, or again after
 * store_reset). Setting it to another: ERROR_MISMATCH. In a transaction of its own, durable on return. */
void store_cluster(const struct store *store, uint8_t cluster[static STORE_CLUSTER_BYTES]);
enum error store_set_cluster(struct store *store,
                             const uint8_t cluster[static STORE_CLUSTER_BYTES]);

/* Whether there is nothing of a chat: no batch of kind LOG_ENTRY_CHAT was ever written, and no orphan is
 * kept. */
bool store_is_blank(const struct store *store);
/* Makes a blank database one of no cluster, with an empty log, and then the promise 0; the node's id
 * stays. Outside of transactions, durable on return. ERROR_MISMATCH: it is not blank. After another
 * error the database may be reset and the promise not; calling it again ends that. */
enum error store_reset(struct store *store);

/* The promise of this node: it acks nothing below this epoch (Lamport, "Paxos Made Simple", section
 * 2.2). 0: none yet, or the store is one of store_open_check. From memory; not of a reader. The promise belongs to the
 * node, not to the replicated state: snapshots do not have it, and store_install leaves it as it is. */
uint64_t store_promised(const struct store *store);

/* Raises the promise (asserted: not below store_promised), durable on return. Takes one sync of a small file. Part
 * of no transaction: allowed inside one, which neither commits nor undoes it, and during
 * store_commit_write in another thread. On error store_promised is unchanged, and after a crash the
 * higher promise may be there. Errors: ERROR_DISK_FULL, ERROR_IO and those of the system. */
enum error store_set_promised(struct store *store, uint64_t promised);

/* The last delta of the store's state, including those of the open transaction; (0, 0) when empty. Behind
 * store_log_last only until the log is replayed. */
struct log_position store_position(const struct store *store);

/* The last delta in the log on the disk. */
struct log_position store_log_last(const struct store *store);

/* The time of the last delta, in ms since 1970, as it was noted in the last transaction; 0: none. */
uint64_t store_time_ms(const struct store *store);
void store_note_time(struct store *store, uint64_t time_ms);

/* The running digest over all entries up to there (batch_chain). The digest of an empty log is all zero. */
void store_digest(const struct store *store, uint8_t digest[static LOG_DIGEST_BYTES]);

/* Adds an epoch to the history. ERROR_INVALID: it does not ascend (epoch_history_ascends). */
enum error store_add_epoch(struct store *store, struct epoch_start start);

/* Returns the history of epochs, from memory. Borrowed until the next call that changes or reads the
 * database. A reader sees the history of its last read. */
struct epoch_history store_epochs(const struct store *store);

/* Returns the epoch that wrote seq, or 0 when no delta has it; from memory. While a transaction is
 * open, every seq after the position counts as the last epoch's: its deltas are being applied. */
uint64_t store_epoch_at(const struct store *store, uint64_t seq);

/* ---- the log ---- */

/* Appends an entry and computes its digest; entry->digest is ignored. first_seq must follow the last
 * entry's last_seq, and epoch not be less than its epoch (asserted). ERROR_INVALID: last_seq is over
 * INT64_MAX. */
enum error store_log_append(struct store *store, const struct log_entry *entry);

/* Visits the durable batches from the one that holds first_seq on, in order, until visit returns anything
 * but OK (which is then returned). ERROR_NOT_FOUND: first_seq was pruned or is past the end.
 * ERROR_INVALID: a store in memory keeps no log. */
enum error store_log_read(struct store *store, uint64_t first_seq,
                          enum error (*visit)(void *context, const struct log_entry *entry),
                          void *context);

/* Forgets whole batches that end before before_seq, as far as the synced database has them. The last batch
 * always stays. Outside of transactions. */
void store_log_prune(struct store *store, uint64_t before_seq);

#define STORE_ERASE_MAX 1024 /* texts in one call */

/* Overwrites the texts of the deltas at `seqs` in the log: of messages and topics (batch.h). The digests stay.
 * seqs: ascending, up to STORE_ERASE_MAX (asserted). The call passes over seqs that the log has no more, and
 * deltas without such a text. The call reads the entries, and syncs four times for each segment that holds one, so
 * a worker thread makes it. Any thread, beside all but opening, closing and installing.
 * The rows of the database stay as they are: a delta changes them. A slave that gets an erased entry
 * applies an empty text. Errors set *why (may be NULL), as segment_log_rewrite; the caller calls again. */
enum error store_erase_texts(struct store *store, const uint64_t *seqs, size_t count,
                             struct error_text *why);

/* The last seq that the synced database has. Any thread. */
uint64_t store_synced_seq(const struct store *store);

/* First seq still in the log; if a log that began with a snapshot has no entry, the one after the
 * snapshot's last; 0 when there never was an entry. Not for readers. */
uint64_t store_log_first(const struct store *store);

/* The sizes in bytes of all batches that were ever appended, pruned ones and those of the open
 * transaction included. */
uint64_t store_log_bytes(const struct store *store);

/* The same of the durable batches up to the one that holds seq. If seq was pruned, of all pruned batches;
 * if it is past the end, of all durable ones. The
 * difference of the two is what the log holds after seq. Errors: as store_log_read. */
enum error store_log_bytes_to(struct store *store, uint64_t seq, uint64_t *bytes);

/* ---- the members of the cluster ---- */

#define STORE_MEMBERS_MAX 65536 /* bytes of the list */

/* The newest list of members and the position it took effect at: part of the replicated state,
 * written with the entry of the log that changed it. ERROR_INVALID: over STORE_MEMBERS_MAX bytes,
 * or the seq over INT64_MAX. */
enum error store_put_members(struct store *store, struct log_position position,
                             const uint8_t *bytes, size_t size);
/* ERROR_NOT_FOUND: none yet. Copies at most size bytes, *used is the list's length. */
enum error store_get_members(struct store *store, struct log_position *position, uint8_t *bytes,
                             size_t size, size_t *used);

/* The newest list of members in the database of a folder that no store has open, also if store_open finds
 * damage elsewhere. Changes nothing. Errors: of opening, and as store_get_members. */
enum error store_peek_members(const char *folder, uint8_t *bytes, size_t size, size_t *used);

/* Moves log and database of a folder, which no store has open, to FOLDER/damaged-N, durably. The file of the
 * node, with its promise, stays. others: names of further files in the folder that belong to the database, ends
 * with NULL; the database goes last. *to: the new folder. Errors, with a sentence in why: of the
 * system; some files may have been moved. */
enum error store_set_aside(const char *folder, const char *const *others, char to[static PATH_MAX],
                           struct error_text *why);

/* Whether store_set_aside has moved a database there before, and no one has removed it since.
 * *to: the newest FOLDER/damaged-N. */
bool store_was_set_aside(const char *folder, char to[static PATH_MAX]);

/* ---- orphans ----
 *
 * An orphan is a batch of the chat that this node wrote as a master and that no log contains any
 * more. The node keeps it until the new master has merged it. Orphans belong to the node, not to
 * the replicated state or to snapshots. store_install makes orphans of the end of the log. */

/* Keeps a copy, in a transaction of its own; the digest is ignored. ERROR_INVALID: last_seq is less than
 * first_seq or over INT64_MAX. */
enum error store_add_orphan(struct store *store, const struct log_entry *entry);
/* Visits the orphans with an id > after in ascending order of their ids. An id is never used again. */
enum error store_each_orphan(struct store *store, uint64_t after,
                             enum error (*visit)(void *context, uint64_t id,
                                                 const struct log_entry *entry),
                             void *context);
/* Drops those with an id of at most last, in a transaction of its own, durable on return. Brings the database
 * up to date before. Any thread, like store_project. Errors, with a sentence in why: a later call goes on. */
enum error store_drop_orphans(struct store *store, uint64_t last, struct error_text *why);

/* From memory, so not for readers. Any thread. The highest id there is, 0: there are none; how many. */
uint64_t store_last_orphan(const struct store *store);
uint64_t store_orphan_count(const struct store *store);

/* ---- the state of the chat: rows ----
 *
 * put: inserts or replaces by key. Strings are never NULL unless said. Rows are visited in the
 * order of their keys as signed numbers, unless said otherwise. */

struct account_row {
    uint64_t id; /* key */
    const char *name;
    const char
        *folded; /* key for the comparison of names; unique among accounts that are not deleted */
    const char *password_hash;
    uint8_t nonce[STORE_NONCE_BYTES];
    uint64_t created_ms;
    uint64_t deleted_ms;    /* 0: not deleted */
    uint64_t delivered_seq; /* every event up to here was received by a device */
};
/* The caller ensures that no other account has the folded name: the projection fails otherwise. */
enum error store_put_account(struct store *store, const struct account_row *row);
/* ERROR_NOT_FOUND: no such id. */
enum error store_get_account(struct store *store, uint64_t id,
                             enum error (*visit)(void *context, const struct account_row *row),
                             void *context);
/* Of an account that there is. */
enum error store_set_delivered(struct store *store, uint64_t account, uint64_t seq);
enum error store_each_account(struct store *store,
                              enum error (*visit)(void *context, const struct account_row *row),
                              void *context);

struct session_row {
    uint64_t id; /* key */
    uint64_t account;
    uint8_t token_hash[STORE_TOKEN_HASH_BYTES];
    const char *device;
    uint64_t started_ms; /* where the token hash is all zero: the seq of the delta that ended it */
    uint64_t last_request; /* read only: the highest request number among its outcomes, or 0 */
};
enum error store_put_session(struct store *store, const struct session_row *row);
/* Also deletes its outcomes. Deleting what is not there is OK. */
enum error store_delete_session(struct store *store, uint64_t id);
/* ERROR_NOT_FOUND: no such id. */
enum error store_get_session(struct store *store, uint64_t id,
                             enum error (*visit)(void *context, const struct session_row *row),
                             void *context);
enum error store_each_session(struct store *store,
                              enum error (*visit)(void *context, const struct session_row *row),
                              void *context);

struct room_row {
    uint64_t id;        /* key */
    const char *name;   /* "" for a direct conversation */
    const char *folded; /* unique among rooms with a name */
    const char *topic;
    uint64_t owner; /* account, 0: none */
    bool is_private;
    uint64_t direct_low; /* a direct conversation's two accounts, low <= high; 0, 0: a room */
    uint64_t direct_high;
    uint64_t created_ms;
    uint64_t last_number; /* read only: of its last message, 0: none */
    uint64_t last_seq;    /* read only: of its last event, 0: none */
};
/* The caller ensures that no other room has the folded name: the projection fails otherwise. */
enum error store_put_room(struct store *store, const struct room_row *row);
/* Deletes the room's row and members; its timeline stays. */
enum error store_delete_room(struct store *store, uint64_t id);
enum error store_each_room(struct store *store,
                           enum error (*visit)(void *context, const struct room_row *row),
                           void *context);

enum member_state { MEMBER_INVITED = 1, MEMBER_IN = 2, MEMBER_OUT = 3, MEMBER_BANNED = 4 };
struct member_row {
    uint64_t room; /* key: room, account */
    uint64_t account;
    enum member_state state;
    uint64_t since_seq; /* when they last came in, 0: never */
    uint64_t until_seq; /* when they last went out, 0: never or in again */
};
enum error store_put_member(struct store *store, const struct member_row *row);
enum error store_delete_member(struct store *store, uint64_t room, uint64_t account);
enum error store_each_member(struct store *store,
                             enum error (*visit)(void *context, const struct member_row *row),
                             void *context);

/* The events of rooms, messages and others, in the order of seq. number counts messages only: an
 * event that is not a message carries the number of the last message before it. Along a room
 * neither number nor seq decreases; several events may have one seq and stay in the order they were
 * added in. */
struct timeline_row {
    uint64_t room;
    uint64_t number;
    uint64_t seq;
    uint32_t kind;    /* jackdaw.Event.Kind */
    uint64_t account; /* who did it */
    uint64_t subject; /* the other account concerned, or 0 */
    uint64_t session; /* uid of a message */
    uint64_t request;
    uint64_t time_ms;
    const char *text; /* not NULL; when visited, with a NUL behind it */
    size_t text_size; /* bytes, without that NUL */
};
/* ERROR_INVALID: seq is 0, or seq or number over INT64_MAX. The projection fails with ERROR_CORRUPT if the
 * event does not follow the last one of its room. */
enum error store_add_event(struct store *store, const struct timeline_row *row);

typedef enum error store_event_visitor(void *context, const struct timeline_row *row);

/* The messages (rows of the given kind) of room with number < before (0: no bound), newest first,
 * at most limit. */
enum error store_messages_before(struct store *store, uint64_t room, uint32_t kind, uint64_t before,
                                 size_t limit, store_event_visitor *visit, void *context);

/* Visits events of room with after_seq < seq <= until_seq, in order, at most limit. All events of
 * one seq are visited together, so the next page begins after the last seq visited. */
enum error store_events_after(struct store *store, uint64_t room, uint64_t after_seq,
                              uint64_t until_seq, size_t limit, store_event_visitor *visit,
                              void *context);

/* *number: of the last message of room with a seq of at most seq; 0 when there is none. */
enum error store_number_at(struct store *store, uint64_t room, uint64_t seq, uint64_t *number);

/* The outcome of a session's request. The last STORE_OUTCOME_WINDOW numbers of a session are kept:
 * a new one takes the place of the one 256 before. Numbers start at 1 and come in ascending order
 * without holes. */
struct outcome_row {
    uint64_t session;
    uint64_t request;
    uint32_t status;
    uint64_t room;
    uint64_t number;
    uint64_t seq;
    uint64_t time_ms;
    uint32_t flags;   /* chat's own */
    const char *text; /* the sentence of a refusal, else "" */
};
/* ERROR_INVALID: request is 0 or over INT64_MAX. */
enum error store_put_outcome(struct store *store, const struct outcome_row *row);
/* ERROR_NOT_FOUND: never carried out, or out of the window. */
enum error store_get_outcome(struct store *store, uint64_t session, uint64_t request,
                             enum error (*visit)(void *context, const struct outcome_row *row),
                             void *context);

/* ---- snapshots ---- */

/* Makes a consistent copy of the database as a new file at path (replaced if there), compact and
 * synced. *position: the last position of the copy. The file has the name path with ".part" behind
 * it until it is complete. The copy belongs to no node and holds no orphans. store_open
 * reads the copy as the database of a data folder that has the file of a node. The copy carries the log,
 * as far back as here.
 *
 * Meant for a reader, in a thread of its own: the writer goes on meanwhile, but the WAL grows until
 * the copy is done. A writer may call it outside of transactions. ERROR_NOT_FOUND, ERROR_DENIED and
 * the like: of the path; a file there before is untouched. */
enum error store_snapshot_take(struct store *store, const char *path,
                               struct log_position *position);

/* Makes the running function of the store, for example a snapshot, end soon with ERROR_CANCELLED. A
 * function that has not begun is not affected: call again. Any thread, while the store is open. */
void store_cancel(struct store *reader);

/* Opens the file at path, which no other connection has open, for store_check and for reading after
 * it; *out is ended with store_close. SQLite runs no code from the file. Errors: as of
 * store_open. */
enum error store_open_check(struct store **out, const char *path, struct error_text *why);

/* Checks the structure of the file, brings an older schema up to date, and reads what store_open
 * reads. store_scan is to follow: the two together find whatever could fail after store_install.
 * Takes about a second for each 100 MB, in the caller's thread. Errors: as of store_open;
 * ERROR_CANCELLED. */
enum error store_check(struct store *store, struct error_text *why);

/* ---- reading everything ----
 *
 * A scan reads and checks every row of every table, in slices, so that a reader can scan beside the
 * writer. Each slice is a read transaction of its own and sees the state committed at its start.
 * The scan finds rows of the wrong type, malformed packed columns, and log batches that are missing
 * or differ from their digest. The scan also finds events that their room does not list. */

/* A scan's place; all zero: at the beginning. The fields up to is_done are scan.c's. */
struct store_scan {
    int part;
    bool is_within;      /* key and the following are of a row that was read in this part */
    uint64_t key;        /* of the last row read */
    uint64_t second_key; /* where a key has two columns */
    uint64_t last_event; /* at the beginning: later ones are not of this scan */
    uint64_t listed;     /* a sum over the events that the rooms list, */
    uint64_t found;      /* and over the events there are: they must be equal */
    struct segment_log_scan log;

    bool is_done;
    uint64_t bytes; /* read so far, about */
};

/* Reads the next rows, until it has read about `most` bytes or, with is_done set, all of them. A row
 * that is not as it should be: ERROR_CORRUPT, with table and key in store_last_problem. */
enum error store_scan(struct store *store, struct store_scan *scan, size_t most);

/* Replaces this node's database by the snapshot in `file`, and *store by the store of the snapshot.
 * The node's orphans are copied into the snapshot; its id and promise stay. The batches of the chat that the
 * local log has after `common` become new orphans. common is the last position that both logs have
 * (a batch ends there, in the same epoch). The new orphans get the lower ids: a request in the log
 * never follows a request that is still an orphan.
 *
 * file: on the same file system; used up, whatever happens; need not be synced, which takes time
 * then. The process must not have it open: closing it later would take SQLite's locks away. The
 * caller has checked it with store_check and store_scan: only what store_open reads is checked
 * here.
 *
 * At any moment a crash finds either the old database or the new one, whole. On error *store is
 * open and unchanged, with two exceptions where *store is NULL. If the disk failed during the exchange, and
 * the undo failed too or needs hard links that the file system lacks, the next store_open finds one of
 * the two. If the log of the new database could not be begun, the next store_open finds the new one.
 *
 * ERROR_IN_USE: a reader is open; they are to be closed before and opened again after it.
 * ERROR_CORRUPT, ERROR_VERSION: as of store_open. ERROR_MISMATCH: the file is of another cluster
 * (unless none was set here) or another program. ERROR_INVALID: the store is in
 * memory, or `common` is no such position or after the snapshot's last. ERROR_NOT_FOUND: no such
 * file. ERROR_DISK_FULL: also if there is no room for the log that the snapshot carries. Each with a sentence in why. */
enum error store_install(struct store **store, const char *file, struct log_position common,
                         struct error_text *why);

/* The size of the database: a snapshot of it takes no more. */
enum error store_size(struct store *store, uint64_t *bytes);

/* The name of the database file within a data folder. */
#define STORE_FILE_NAME "jackdaw.db"

#endif
