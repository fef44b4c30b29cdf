/* SPDX-License-Identifier: MIT */
/* store_internal.h - what the files of this folder share: the store's body, queries, the schema.
 * Included by src/store and its own tests only.
 *
 * All memory of this folder comes from SQLite's allocator, so that one shim can make any of its
 * allocations fail. */
#ifndef JACKDAW_STORE_STORE_INTERNAL_H
#define JACKDAW_STORE_STORE_INTERNAL_H

#include "segment_log/segment_log.h"
#include "store/store.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/types.h>

/* ---- the body ---- */

/* One prepared statement each; made at first use, kept for life. */
enum statement {
    STATEMENT_BEGIN_READ,
    STATEMENT_BEGIN_WRITE,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_SIZE,
    STATEMENT_LOAD_IDENTITY,
    STATEMENT_SET_CLUSTER,
    STATEMENT_RESET_NODE,
    STATEMENT_RESET_EPOCH_STARTS,
    STATEMENT_RESET_MEMBERS,
    STATEMENT_ADD_EPOCH_START,
    STATEMENT_EACH_EPOCH_START,
    STATEMENT_GET_LOG_END,
    STATEMENT_PUT_LOG_END,
    STATEMENT_GET_LOG_BASE,
    STATEMENT_SET_LOG_BASE,
    STATEMENT_CLEAR_LOG_BASE,
    STATEMENT_CLEAR_LOG_COPY,
    STATEMENT_EACH_LOG_COPY,
    STATEMENT_PUT_MEMBERS,
    STATEMENT_GET_MEMBERS,
    STATEMENT_LOAD_ORPHANS,
    STATEMENT_ADD_ORPHAN,
    STATEMENT_EACH_ORPHAN,
    STATEMENT_DROP_ORPHANS,
    STATEMENT_CLEAR_ORPHANS,
    STATEMENT_GET_ORPHAN_SEQUENCE,
    STATEMENT_CLEAR_SEQUENCES,
    STATEMENT_SET_ORPHAN_SEQUENCE,
    STATEMENT_PUT_ACCOUNT,
    STATEMENT_GET_ACCOUNT,
    STATEMENT_SET_DELIVERED,
    STATEMENT_EACH_ACCOUNT,
    STATEMENT_PUT_SESSION,
    STATEMENT_DELETE_SESSION,
    STATEMENT_DELETE_OUTCOME_TAIL,
    STATEMENT_DELETE_OUTCOME_PARTS,
    STATEMENT_EACH_SESSION,
    STATEMENT_GET_SESSION,
    STATEMENT_PUT_ROOM,
    STATEMENT_DELETE_ROOM,
    STATEMENT_DELETE_MEMBERS,
    STATEMENT_EACH_ROOM,
    STATEMENT_PUT_MEMBER,
    STATEMENT_DELETE_MEMBER,
    STATEMENT_EACH_MEMBER,
    STATEMENT_LAST_EVENT,
    STATEMENT_ADD_EVENT,
    STATEMENT_GET_RUN_TAIL,
    STATEMENT_PUT_RUN_TAIL,
    STATEMENT_GET_RUN_PAGE,
    STATEMENT_ADD_RUN_PAGE,
    STATEMENT_EVENTS_OF_RUN,
    STATEMENT_MESSAGES_OF_RUN,
    STATEMENT_NUMBER_IN_RUN,
    STATEMENT_GET_OUTCOME_TAIL,
    STATEMENT_PUT_OUTCOME_TAIL,
    STATEMENT_GET_OUTCOME_PART,
    STATEMENT_PUT_OUTCOME_PART,
    STATEMENT_SCAN_EVENTS,
    STATEMENT_SCAN_ROOMS,
    STATEMENT_SCAN_OUTCOME_TAILS,
    STATEMENT_SCAN_OUTCOME_PARTS,
    STATEMENT_COUNT
};

/* The end of the log, with what the chat needs to know of its entries. The database has one for the
 * position that its rows show. */
struct log_end {
    struct segment_log_end at;
    uint64_t time_ms; /* of the last delta, from store_note_time */
    bool has_chat;    /* an entry of kind LOG_ENTRY_CHAT was ever written */
};

/* State held in memory; store_rollback restores the values of store_begin. Epochs are only
 * appended, so their number is enough. */
struct knowledge {
    struct log_end end;
    uint64_t log_first;
    uint64_t last_event; /* highest id of an event; of the connection that writes */
    size_t epoch_count;
    uint8_t cluster[STORE_CLUSTER_BYTES];
};

/* Bytes that grow. */
struct buffer {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
};

/* Outcomes without text that were put lately: each answer asks for one just after its commit. */
#define RECENT_OUTCOMES 4096
struct recent_outcome {
    uint64_t session; /* 0: nothing here */
    uint64_t request;
    uint64_t room;
    uint64_t number;
    uint64_t seq;
    uint64_t time_ms;
    uint32_t status;
    uint32_t flags;
};

/* The files that a store has open, by what their names led to then. */
enum database_file_kind {
    WATCHED_DATABASE,
    WATCHED_WAL,
    WATCHED_SHM,
    WATCHED_LOCK,
    WATCHED_LOG,
    WATCHED_NODE,
    WATCHED_COUNT
};
struct database_file {
    dev_t device;
    ino_t inode; /* 0: it is not watched */
};

/* The open file of the node (node_file.c). */
struct node_file {
    int descriptor; /* -1: there is none, and the promise is in memory only */
    char *path;
    unsigned durable; /* slot of the last durable record */
    uint64_t generation;
    uint64_t node_id;
    uint64_t promised;
};

/* One connection to a database. The store that store_open gives also has the log and a projection: it
 * collects changes of rows in memory, and its own connection only reads. */
struct store {
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    char *path; /* of the database; NULL: in memory */
    int lock;   /* descriptor that holds the folder's lock, or -1 */
    struct node_file node;
    struct database_file files[WATCHED_COUNT];
    bool is_reader;
    unsigned open_reads; /* the running query in the open read transaction */
    bool is_writing;     /* a transaction of SQLite is open */
    bool is_view;        /* that transaction is a view (projection_view) */
    int restart_pages;   /* a WAL of this size is to begin anew; the committing thread's */

    struct segment_log *log; /* of a reader: its writer's; NULL: in memory, or a file */
    uint64_t segment_bytes;
    uint64_t sync_bytes; /* how many of the log may come between two syncs of the database */
    struct projection
        *projection; /* of a reader: its writer's; NULL: rows are written at the commit */

    bool in_transaction;
    bool is_committing; /* between store_commit_prepare and store_commit_finish */
    enum error
        failure; /* the error that broke the open transaction, which refuses further writes */
    struct change_batch *open; /* of the open transaction; NULL: without a change so far */
    size_t
        unprojected_max; /* bytes of changes in memory: a commit waits for the projection above it */

    struct knowledge now;
    struct knowledge at_begin;     /* of the open transaction */
    struct knowledge before_write; /* of SQLite's */
    struct epoch_start *epochs;
    size_t epoch_capacity;
    atomic_uint_fast64_t last_orphan; /* part of no transaction */
    atomic_uint_fast64_t orphan_count;

    struct recent_outcome *recent; /* RECENT_OUTCOMES, or NULL */
    struct buffer scratch;         /* the value that is being packed or unpacked */

    bool has_log_base;                /* a row that lets the log begin anew is to be removed */
    struct error_text commit_problem; /* of store_commit_write, until store_commit_finish */
    bool has_reached_log;             /* store_commit_write has, likewise */
    atomic_uint cancels;              /* calls of store_cancel */
    struct error_text problem;
    struct error_text damage; /* the first ERROR_CORRUPT; written before is_damaged is set */
    atomic_bool is_damaged;
};

/* ---- folders and files (folder.c) ---- */

/* Sets why to "what path: the sentence of errno", and returns the error of errno. */
enum error folder_problem(struct error_text *why, const char *what, const char *path);

/* Makes the folder and its parents (mode 0700), durably. */
enum error folder_make(const char *folder, struct error_text *why);

/* Locks the folder for this process. *lock: closed to unlock. ERROR_IN_USE names the holder. */
enum error folder_lock(const char *folder, int *lock, struct error_text *why);

/* Keeps what the names of the store's files lead to, for store_check_files. */
void folder_watch_files(struct store *store);

/* Makes what happened to the names in the folder durable, or in the folder that holds path. Need no memory. */
enum error folder_sync(const char *folder, struct error_text *why);
enum error folder_sync_of(const char *path, struct error_text *why);

/* The files that an interrupted installation (install.c) may leave beside the database at path. */
#define STORE_NEW_SUFFIX ".new"
#define STORE_OLD_SUFFIX ".old"
void folder_remove_leftovers(const char *path);

/* Syncs the write-ahead log of the database at path, if there is one. A process that is killed between the
 * write and the sync of a commit leaves that commit in the log, and SQLite shows it to the next process.
 * Without the sync a loss of power could take the commit back after others know of it. Before SQLite opens the
 * database. Errors: of opening and syncing, with a sentence in why. */
enum error folder_sync_log(const char *path, struct error_text *why);

/* ---- the file of the node (node_file.c) ---- */

#define NODE_FILE_NAME "node" /* within a data folder */
#define NODE_FILE_SLOT_BYTES 4096

/* Opens the file, makes its name and its content durable, and fills node; ended with node_file_close.
 * may_make: if there is no file, makes one, whose promise is 0. Errors, with a sentence in why; then
 * node is closed: ERROR_CORRUPT: no slot is valid, or there is no file and may_make is false.
 * ERROR_MISMATCH: the file is of another node. ERROR_VERSION: of another version. The system's. */
enum error node_file_open(struct node_file *node, const char *path, uint64_t node_id, bool may_make,
                          struct error_text *why);

/* Closes the file, unless it is closed; node_id and promised stay. */
void node_file_close(struct node_file *node);

/* Makes promised durable with one sync. On error, with a sentence in why, node is unchanged, and the
 * next node_file_open may find either promise. */
enum error node_file_set(struct node_file *node, uint64_t promised, struct error_text *why);

/* ---- errors (query.c) ---- */

/* The one place where SQLite's codes become ours. system_errno: 0 when unknown. */
enum error query_error_from_sqlite(int code, int system_errno);

/* Keeps "what: SQLite's sentence" as the last problem; in a transaction, also that it is broken
 * (a refused duplicate, ERROR_EXISTS, does not break it). Returns the error. */
enum error store_fail(struct store *store, int code, const char *what);

/* As store_fail, for what this folder itself found: corrupt rows above all. detail: which table and
 * row, where it is one. */
enum error store_fault(struct store *store, enum error error, const char *what, const char *detail);

/* ---- queries (query.c) ----
 *
 * A query runs one cached statement: begin, bind in order, step, read columns in order, end.
 * The first thing that goes wrong is remembered and returned by query_step and query_end, so that
 * the binds and columns in between need no checks of their own. */

struct query {
    struct store *store;
    sqlite3_stmt *statement;
    const char *what;    /* the operation, for the sentence */
    int bound;           /* parameters bound so far */
    int column;          /* columns read of the current row */
    enum error error;    /* the first error */
    const char *suspect; /* column found corrupt */
};

/* For writing: asserts that a transaction is open. */
void query_write(struct query *query, struct store *store, enum statement which, const char *sql,
                 const char *what);
/* For reading. */
void query_read(struct query *query, struct store *store, enum statement which, const char *sql,
                const char *what);

/* Texts and bytes of size 0 may be NULL; SQLite gets them as empty, never as null. */
void query_bind_number(struct query *query, uint64_t value);
void query_bind_text(struct query *query, const char *text, size_t size);
void query_bind_string(struct query *query, const char *text);
void query_bind_bytes(struct query *query, const void *bytes, size_t size);

/* *row: there is one. */
enum error query_step(struct query *query, bool *row);

uint64_t query_column_number(struct query *query);  /* any 64 bits */
uint64_t query_column_ordered(struct query *query); /* at most INT64_MAX: numbers, seqs, times */
uint32_t query_column_small(struct query *query, uint32_t most);
const char *query_column_text(struct query *query,
                              size_t *size);          /* "" after an error, never NULL */
const char *query_column_string(struct query *query); /* text without NUL inside */
const uint8_t *query_column_bytes(struct query *query, size_t *size);
void query_column_exactly(struct query *query, uint8_t *bytes, size_t size);

/* Finds fault with a column of the current row. ERROR_CORRUPT, or an error from before. */
enum error query_suspect(struct query *query, const char *column);

/* Whether all columns of the row were as they should be. */
enum error query_row_error(struct query *query);

/* Ends the query. Returns the first error, else the given one (a visitor's). */
enum error query_end(struct query *query, enum error error);

/* Reads each row into a struct by read_row(query, &row) and calls visit(context, &row), until one
 * of both fails; then ends the query. *result: the first error. */
#define QUERY_EACH(query, result, row_type, read_row, visit, context)                          \
    do {                                                                                       \
        bool query_each_more;                                                                  \
        while ((*(result) = query_step((query), &query_each_more)) == OK && query_each_more) { \
            row_type query_each_row;                                                           \
            *(result) = read_row((query), &query_each_row);                                    \
            if (*(result) == OK)                                                               \
                *(result) = (visit)((context), &query_each_row);                               \
            if (*(result) != OK)                                                               \
                break;                                                                         \
        }                                                                                      \
        *(result) = query_end((query), *(result));                                             \
    } while (0)

/* Runs a write that gives no rows. */
enum error query_run(struct query *query);

/* The largest key that the signed integers of SQLite can order. */
static inline uint64_t clamp_ordered(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : value;
}

/* Reads between these two see one state of the database, and cost less. Nest freely; leave what
 * was entered even when entering failed. A reader refreshes what it knows when it enters, and
 * every query of a reader enters by itself. */
enum error query_read_enter(struct store *store);
void query_read_leave(struct store *store);

/* The statements that begin and end transactions: prepared when a store is opened; they neither
 * take nor give anything. */
enum error query_control_prepare(struct store *store);

/* A transaction of this connection. query_commit may fail; then query_roll_back is to follow. */
enum error query_begin(struct store *store);
enum error query_commit(struct store *store);
void query_roll_back(struct store *store);

/* ---- packed numbers (pack.c): little-endian base 128, 7 bits a byte, as protobuf has them ---- */

enum error pack_buffer_reserve(struct store *store, struct buffer *buffer, size_t more);
void pack_buffer_free(struct buffer *buffer);

/* These need room that was reserved: PACKED_NUMBER_MAX for each number. */
#define PACKED_NUMBER_MAX 10
void pack_number(struct buffer *buffer, uint64_t value);
void pack_bytes(struct buffer *buffer, const void *bytes, size_t size);

/* Takes a value from the front. If it is malformed or missing, returns 0 or NULL and sets bad
 * permanently. */
struct unpacker {
    const uint8_t *bytes;
    size_t left;
    bool bad;
};
uint64_t unpack_number(struct unpacker *unpacker);
const uint8_t *unpack_bytes(struct unpacker *unpacker, size_t size);

/* ---- changes of rows (change.c) ----
 *
 * A transaction collects its changes in a batch. Once the log has the transaction, the batch waits for
 * the projection. A batch that waits does not change any more. */

enum change_kind {
    CHANGE_ACCOUNT,
    CHANGE_DELIVERED,
    CHANGE_SESSION,
    CHANGE_SESSION_DELETED,
    CHANGE_ROOM,
    CHANGE_ROOM_DELETED,
    CHANGE_MEMBER,
    CHANGE_MEMBER_DELETED,
    CHANGE_EVENT,
    CHANGE_OUTCOME,
    CHANGE_EPOCH,
    CHANGE_CLUSTER_MEMBERS,
    CHANGE_KINDS
};

/* The strings of a row lie in the batch's text; change_get sets their pointers. */
struct change {
    enum change_kind kind;
    size_t text_at;
    union {
        struct account_row account;
        struct {
            uint64_t account;
            uint64_t seq;
        } delivered;
        struct session_row session;
        struct room_row room;
        struct member_row member; /* of CHANGE_MEMBER_DELETED: the key */
        struct timeline_row event;
        struct outcome_row outcome;
        struct epoch_start epoch;
        struct {
            struct log_position position;
            const uint8_t *bytes;
            size_t size;
        } cluster_members;
        uint64_t id; /* of CHANGE_SESSION_DELETED, CHANGE_ROOM_DELETED */
    } row;
};

struct change_batch {
    struct change_batch *prev, *next;
    struct change *changes;
    size_t count;
    size_t capacity;
    struct buffer text;
    unsigned kinds;     /* a bit 1 << kind for each kind of change in it */
    uint64_t number;    /* in the order in which transactions were committed, from 1 */
    struct log_end end; /* of the log after this transaction */
};

/* Makes sure that the open transaction has a batch. ERROR_NO_MEMORY; the error that broke the transaction. */
enum error change_open_batch(struct store *store);

/* The change at index, with its pointers; valid while the batch is unchanged. */
struct change change_get(const struct change_batch *batch, size_t index);
bool change_blank(struct change_batch *batch, size_t index); /* as store_blank_change */
void change_batch_clear(struct change_batch *batch);
void change_batch_free(struct change_batch *batch); /* NULL is allowed */
/* The bytes of memory that the changes take. */
size_t change_batch_bytes(const struct change_batch *batch);

/* Writes the changes of the batches from first to last into the database of store, in its open
 * transaction (change_write.c). */
enum error change_write(struct store *store, const struct change_batch *first,
                        const struct change_batch *last);

/* Where one of these lies: the order in which they are written. */
struct change_order {
    uint64_t key; /* room or session */
    size_t sequence;
    const struct change_batch *batch;
    size_t index;
};

/* Write the events (all of one room) or the outcomes (all of one session) that order lists.
 * timeline.c and outcome.c. */
enum error timeline_write(struct store *store, const struct change_order *order, size_t count);
enum error outcome_write(struct store *store, const struct change_order *order, size_t count);

/* Write one change; the files of the tables. */
enum error account_write(struct store *store, const struct account_row *row);
enum error account_write_delivered(struct store *store, uint64_t account, uint64_t seq);
enum error session_write(struct store *store, const struct session_row *row);
enum error session_erase(struct store *store, uint64_t id);
enum error room_write(struct store *store, const struct room_row *row);
enum error room_erase(struct store *store, uint64_t id);
enum error room_write_member(struct store *store, const struct member_row *row);
enum error room_erase_member(struct store *store, uint64_t room, uint64_t account);
enum error epoch_write(struct store *store, struct epoch_start start);
enum error members_write(struct store *store, struct log_position position, const uint8_t *bytes,
                         size_t size);
enum error log_end_write(struct store *store, const struct log_end *end);

/* Visits the changes of the open transaction and those that wait, newest first, which are of one of the
 * kinds (a set of bits), until visit returns false. For the owner's thread. In a reader, which must not see
 * them, brings the database up to date instead; errors as of projection_reach (change_find.c). */
typedef bool change_visitor(void *context, const struct change *change);
enum error change_each(struct store *store, unsigned kinds, change_visitor *visit, void *context);

/* Keep an outcome that was put at hand; forget them all. outcome.c. */
void outcome_remember(struct store *store, const struct outcome_row *row);
void outcome_forget(struct store *store);

/* ---- the projection (projection.c) ---- */

struct projection;

/* Makes the projection of store's log into its database. Errors: of opening a second connection. */
enum error projection_open(struct store *store, struct error_text *why);
/* Writes the changes that wait, and closes. The log has those that the disk refuses. NULL is allowed. */
void projection_close(struct projection *projection);

/* Brings the synced database up to date if the disk allows it, and closes the writing connection. Until
 * projection_resume, or projection_close, no transaction may be committed; readers may read, and get
 * ERROR_IN_USE if the database is not up to date. */
void projection_suspend(struct store *store);
/* The next write opens the writing connection again. If the disk refuses that, the changes wait on. */
void projection_resume(struct store *store);

/* Makes the open batch of store wait. The log has it. */
void projection_push(struct store *store);
/* An empty batch; NULL: no memory. */
struct change_batch *projection_new_batch(struct projection *projection);
/* Takes back a batch that is not to be written. */
void projection_drop_batch(struct projection *projection, struct change_batch *batch);

/* Calls visit for each batch that waits, newest first, until it returns false. */
void projection_each(struct projection *projection,
                     bool (*visit)(void *context, const struct change_batch *batch), void *context);

/* Brings the database up to seq at least. OK in a store without projection. The sentence of an error is
 * store's, whose thread calls. */
enum error projection_reach(struct store *store, uint64_t seq);
#define PROJECTION_ALL UINT64_MAX

/* Writes the open batch of store, which the log has no entry for, in a transaction that is durable on return.
 * Any thread that may call store_commit_write. Errors, with a sentence in why: the batch is not there, unless
 * only the sync failed. */
enum error projection_write_open(struct store *store, struct error_text *why);

/* The same for a read, which goes to *view from there on: store, or the writing connection with the rows
 * that a disk did not take. To be ended with projection_end_view, which returns the error of the read.
 * `writing` may be held in between: no other function of the projection may be called. */
enum error projection_view(struct store *store, uint64_t seq, struct store **view);
enum error projection_end_view(struct store *store, struct store *view, enum error error);

/* Runs change in a transaction of the writing connection of its own, durable on return, after all that
 * waits. Any thread, like store_project. On a store without projection, in the store's own connection. Errors, with
 * a sentence in why: if only the sync failed, the change is there. */
enum error projection_run(struct store *store,
                          enum error (*change)(struct store *writer, void *context), void *context,
                          struct error_text *why);

/* The end of the log that the synced database shows: its seq, and its bytes. */
uint64_t projection_synced_seq(struct projection *projection);
uint64_t projection_synced_bytes(struct projection *projection);

/* Whether the writing connection has found damage. */
bool projection_is_damaged(struct projection *projection, struct error_text *why);

/* ---- where a room's events are (run.c) ----
 *
 * Events are kept in the order in which they were written, all rooms together, so that writing
 * touches few pages. Events of one room with consecutive ids are a run. The last few runs of a room
 * are its tail, which every transaction rewrites. If the tail is full, its runs move into a page
 * that never changes again. Pages of a room are numbered from 0 without holes, and the tail is the
 * last page. Along the pages number, seq and id only grow, so a bisection finds any of them. */

#define EVENTS_PER_RUN 64
#define RUNS_PER_PAGE 16

struct run {
    uint64_t number; /* of its first event */
    uint64_t seq;    /* of its first event */
    uint64_t id;     /* of its first event */
    uint64_t count;  /* 1..EVENTS_PER_RUN */
};

struct run_page {
    uint64_t room;
    uint64_t page;
    size_t count; /* 0: a room without events */
    struct run runs[RUNS_PER_PAGE];
};

struct run_tail {
    struct run_page page;
    uint64_t last_number;
    uint64_t last_seq;
};

enum error run_load_tail(struct store *store, uint64_t room, struct run_tail *tail);
/* Adds an event of the tail's room at the end; a page that is full is written. */
enum error run_append(struct store *store, struct run_tail *tail, const struct timeline_row *row,
                      uint64_t id);
enum error run_store_tail(struct store *store, const struct run_tail *tail);

/* A run somewhere in a room. */
struct run_place {
    struct run_tail tail;
    struct run_page page;
    size_t index;
    bool found;
};
enum run_key { RUN_BY_NUMBER, RUN_BY_SEQ };

/* The last run whose first event's key is at most most; found false when there is none, the place
 * is then before the first run. Inside query_read_enter and query_read_leave, as the next two. */
enum error run_find(struct store *store, uint64_t room, enum run_key key, uint64_t most,
                    struct run_place *place);
/* Loads a page of the room whose tail is loaded. */
enum error run_load_page(struct store *store, struct run_place *place, uint64_t page);
/* Moves to the next or the previous run; found false when there is none. */
enum error run_next(struct store *store, struct run_place *place);
enum error run_previous(struct store *store, struct run_place *place);

/* ---- for a scan (scan.c): the rest is in the files of the tables ---- */

/* Visits the events with an id after `after`, of whatever room, in the order of their ids. */
enum error timeline_each(struct store *store, uint64_t after,
                         enum error (*visit)(void *context, uint64_t id,
                                             const struct timeline_row *row),
                         void *context);

/* Whether packed outcomes are well formed, each of another place in its part. */
bool outcome_rows_are_sound(const uint8_t *bytes, size_t size);

/* Visits the entries of the log that a snapshot carries, and checks their chain up to the end that the
 * snapshot tells (log_copy.c). */
enum error log_copy_each(struct store *store,
                         enum error (*visit)(void *context, const struct log_entry *entry),
                         void *context);

/* ---- schema (schema.c) ---- */

#define SCHEMA_APPLICATION_ID 0x4a4b4457 /* "JKDW" */

#define SCHEMA_VERSION 2 /* the database's user_version; 0: an empty database */

/* Checks whose database it is. *is_empty: it has no tables yet.
 * Errors: ERROR_VERSION: the database has another version of the schema. ERROR_MISMATCH: the database
 * is another program's. Those of SQLite. */
enum error schema_check(sqlite3 *database, bool *is_empty, struct error_text *why);

/* Checks it, and makes the tables of an empty database, in one transaction. Errors: as above. */
enum error schema_prepare(sqlite3 *database, struct error_text *why);

/* ---- the write-ahead log (wal_writes.c) ---- */

/* Name of the VFS to open databases with. The VFS wraps the default VFS of the first call. */
const char *wal_writes_vfs(void);

/* From now on this process writes to no write-ahead log: writes fail. */
void wal_writes_forbid(void);

/* The writes to a file since its last good sync (unsynced.c). One for all handles of the file. */
struct unsynced;
struct unsynced *unsynced_take(const char *path); /* of an open file; NULL: no memory */
void unsynced_drop(struct unsynced *unsynced);
/* These bytes have been written. */
void unsynced_note(struct unsynced *unsynced, sqlite3_int64 offset, int size);
/* Syncs the file. After a sync that failed, first writes again what was written since the last good one.
 * Returns SQLite's code. */
int unsynced_sync(struct unsynced *unsynced, sqlite3_file *file, int flags);

/* ---- the log (log.c, log_copy.c) ---- */

/* Opens the segments beside the database, and compares the two. Where the database is a snapshot that
 * was never opened, the log begins anew with the entries that the snapshot carries. */
enum error log_open(struct store *store, struct error_text *why);

/* Keeps the first seq of the log in memory; that of a snapshot's. */
void log_note_first(struct store *store);
enum error log_copy_load_first(struct store *store);

/* The most bytes that the log takes in files, which this snapshot carries; 0: it carries none. */
enum error log_copy_room(struct store *store, uint64_t segment_bytes, uint64_t *bytes);

/* *begins: the log is to begin anew, after *base. */
enum error log_copy_base(struct store *store, bool *begins, struct segment_log_end *base);
/* In an open transaction of the connection. */
enum error log_copy_set_base(struct store *store, const struct segment_log_end *base);
enum error log_copy_clear(struct store *store);

/* The last step of store_reset, which an error may have left out (blank.c). */
enum error blank_end_reset(struct store *store);

/* Copies the entries of store's log up to `end` into the database of a snapshot, in its open transaction. A
 * store without a log: the snapshot's log begins after `end`. The sentence of an error is store's.
 * ERROR_CANCELLED: store_cancel was called, and store->cancels is not `cancels` any more. */
enum error log_copy_fill(sqlite3 *database, struct store *store, unsigned cancels,
                         const struct segment_log_end *end);

/* ---- opening (store.c) ---- */

/* Opens the log and the projection of a store whose database is open. */
enum error store_begin_use(struct store *store, struct error_text *why);

/* Opens the connection of a projection. */
enum error store_open_writer(struct store **out, const char *path, struct error_text *why);

/* Opens an existing database of Jackdaw at path, without a lock and without the file of the node. */
enum error store_open_file(struct store **out, const char *path, struct error_text *why);

/* Whether changes go through a WAL, or through a journal so that no other file is needed once they
 * are done. For the only connection, outside of transactions. */
enum error store_use_wal(struct store *store, bool wal, struct error_text *why);

/* ---- what is kept in memory ---- */

/* Fill what is kept in memory from the database (identity.c, epoch.c, log.c, orphan.c, timeline.c). */
enum error identity_load(struct store *store);
enum error epoch_load(struct store *store);
/* Makes room for the epoch in memory. ERROR_INVALID: it does not follow the last one. */
enum error epoch_reserve(struct store *store, struct epoch_start start);
enum error log_end_load(struct store *store);
enum error orphan_load(struct store *store);
enum error timeline_load(struct store *store);

/* In the open transaction of `to` (orphan.c). orphan_begin drops the orphans of `to` and goes on with
 * the ids of `from`. orphan_copy then adds the orphans of `from`: with their ids, or, behind orphans
 * that were added in between, with new ones. */
enum error orphan_begin(struct store *to, struct store *from);
enum error orphan_copy(struct store *to, struct store *from);

/* Makes what a reader knows equal to what its read transaction sees (log.c). */
enum error store_reader_refresh(struct store *store);

#endif
