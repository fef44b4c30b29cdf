/* SPDX-License-Identifier: MIT */
/* segment_log.h - the replicated log of a node, in files of its own: the truth that an
 * acknowledgement waits for. One batch of entries costs one pwrite and one fdatasync.
 *
 * The files are segments: zero-filled when they are made, so that fdatasync has no metadata to
 * write. docs/log.md describes their bytes. After a crash segment_log_open cuts a torn tail.
 * segment_log_open never cuts an entry that was durable or that this node acknowledged, and refuses a
 * log that lacks one (Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST
 * 2018).
 *
 * Threads. The owner is one thread. Each function is the owner's, if its comment names no other. The
 * owner passes a batch to a disk thread for segment_log_write. While that runs, the owner may call
 * segment_log_end, segment_log_durable and the functions of any thread, but none
 * that changes the log. A helper thread makes spares. Functions of any thread run beside all others
 * except segment_log_open and segment_log_close.
 *
 * The library calls of libc, for files: open, close, pread, pwrite, fsync, fdatasync, fstat, unlink,
 * mkdir, opendir, readdir, closedir. Memory comes from malloc, realloc and calloc. The caller ensures
 * that one process uses a folder (segment_log_inspect excepted), and has called sodium_init. */
#ifndef JACKDAW_SEGMENT_LOG_SEGMENT_LOG_H
#define JACKDAW_SEGMENT_LOG_SEGMENT_LOG_H

#include "base/error.h"
#include "base/log_entry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_LOG_FOLDER "log" /* the name of the folder of segments */

#define SEGMENT_LOG_BYTES_MIN 4096           /* of a segment */
#define SEGMENT_LOG_BYTES_DEFAULT (4u << 20) /* of a segment */
#define SEGMENT_LOG_BYTES_MAX (1u << 30)     /* of a segment */
#define SEGMENT_LOG_ENTRY_MAX (64u << 20)    /* bytes of one entry */
#define SEGMENT_LOG_BATCH_MAX (128u << 20)   /* bytes of the records of one batch */

/* Computes digest = f(digest, entry) in place. Pure; entry->digest is not set. Any thread. */
typedef void segment_log_chain(uint8_t digest[static LOG_DIGEST_BYTES],
                               const struct log_entry *entry);

/* The chain that NULL stands for: BLAKE2b-256(digest || bytes of the entry). */
void segment_log_chain_bytes(uint8_t digest[static LOG_DIGEST_BYTES],
                             const struct log_entry *entry);

/* The state of a log after one of its entries. All zero: before the first entry. */
struct segment_log_end {
    struct log_position position;     /* of the last delta */
    uint64_t bytes;                   /* sizes of all entries that were ever appended, added up */
    uint8_t digest[LOG_DIGEST_BYTES]; /* running digest */
};

struct segment_log_options {
    const char *folder;       /* existing data folder; the segments are in folder/log (mode 0700) */
    uint64_t segment_bytes;   /* SEGMENT_LOG_BYTES_MIN to _MAX; 0: SEGMENT_LOG_BYTES_DEFAULT */
    segment_log_chain *chain; /* NULL: segment_log_chain_bytes */

    /* The highest position that this node acknowledged or promised on; (0, 0): unknown. A log that
     * ends before it, compared by epoch first, is damaged. */
    struct log_position acked;

    /* Not NULL: the log begins anew after this state, as segment_log_reset does it, and the
     * entries that the folder holds are not read. `acked` is ignored. This repairs a damaged log from
     * the snapshot of another node. */
    const struct segment_log_end *restart;
};

struct segment_log;

/* ---- open, close ---- */

/* Opens the log in a folder, or makes an empty one. The options are copied. Reads the heads of all
 * segments, and the newest segment; the time does not depend on the number of entries. On OK every
 * entry that is readable is durable.
 * Each error sets *why (may be NULL):
 * ERROR_CORRUPT: damage, or a segment whose head cannot be read. The sentence names the file, and for
 * damage offset and seq. The call has changed no file.
 * ERROR_VERSION: a later version of this program wrote the segments.
 * ERROR_INVALID: segment_bytes is out of range, or the path is too long.
 * ERROR_NO_MEMORY, ERROR_IO, ERROR_DISK_FULL, ERROR_DENIED: as error_from_errno has them. */
enum error segment_log_open(struct segment_log **out, const struct segment_log_options *options,
                            struct error_text *why);

/* Drops what is not written, and frees the log. NULL is allowed. No other call may be running. */
void segment_log_close(struct segment_log *log);

/* ---- write ---- */

/* Returns the end of the log, with the entries that are appended and not yet written. */
struct segment_log_end segment_log_end(const struct segment_log *log);

/* Returns the end of the durable part, which is what reads see. */
struct segment_log_end segment_log_durable(const struct segment_log *log);

/* Returns the lowest seq that segment_log_read accepts; 0 when no entry is durable. After a restart
 * it may be lower than before: whole segments are pruned, and the rest is forgotten in memory. */
uint64_t segment_log_first(struct segment_log *log);

/* Adds an entry to the open batch and computes its digest; entry->digest is ignored, the bytes are
 * copied. Works in memory only, and reserves all memory that segment_log_write needs.
 * Asserted: entry->first_seq follows the last seq of segment_log_end, last_seq is not below
 * first_seq, and the epoch is not below the last one.
 * Errors change nothing. ERROR_NO_MEMORY. ERROR_INVALID: last_seq is over INT64_MAX.
 * ERROR_TOO_LARGE: over SEGMENT_LOG_ENTRY_MAX. ERROR_FULL: the batch would be over
 * SEGMENT_LOG_BATCH_MAX; write it first. */
enum error segment_log_append(struct segment_log *log, const struct log_entry *entry);

/* Writes the open batch and makes it durable: one pwrite, one fdatasync. If the batch does not fit in
 * the newest segment, it begins the next one; without a spare this call makes that file. An empty
 * batch is OK without a call of the system. Any one thread, as described above.
 * After an error the batch has been undone on the disk: no later open finds it. If undoing fails,
 * each later write or reset tries it first, and fails with ERROR_IO until it succeeds. An open before
 * that finds a beginning of the batch, also an empty or the whole one. ERROR_DISK_FULL: the log works again when the disk has
 * space. ERROR_IO, ERROR_DENIED: as the system says. */
enum error segment_log_write(struct segment_log *log);

/* Ends the batch after segment_log_write, whose result is `written`: makes the entries readable, or
 * drops them. The caller may pass an error of its own after a write that returned OK; then this
 * call undoes the batch on the disk. Returns `written`, or the error of undoing. */
enum error segment_log_finish(struct segment_log *log, enum error written);

/* Drops the entries that were appended since the last segment_log_finish. Memory only. */
void segment_log_roll_back(struct segment_log *log);

/* Returns the sentence of the last segment_log_write or segment_log_finish that failed; "" before the
 * first. Borrowed; not while segment_log_write runs. */
const char *segment_log_problem(const struct segment_log *log);

/* ---- read ---- */

/* Visits the durable entries in order, from the one that holds first_seq to the end that the log had
 * when the call began. If visit returns another result than OK, the call ends and returns that. The
 * entry and its bytes are borrowed for the visit; its digest is set. Any thread.
 * Each error of the log sets *why (may be NULL). ERROR_NOT_FOUND: first_seq is pruned or past the
 * end; also if a prune overtakes the reader. ERROR_CORRUPT: damage; the sentence names file, offset
 * and seq. ERROR_NO_MEMORY, ERROR_IO. */
enum error segment_log_read(struct segment_log *log, uint64_t first_seq,
                            enum error (*visit)(void *context, const struct log_entry *entry),
                            void *context, struct error_text *why);

/* Sets *end to the state after the entry that holds seq. seq is at least segment_log_first - 1; in an
 * empty log it is the last seq of segment_log_durable. Any thread. Errors: as segment_log_read. */
enum error segment_log_end_at(struct segment_log *log, uint64_t seq, struct segment_log_end *end,
                              struct error_text *why);

/* ---- change ---- */

/* Changes the bytes of an entry, whose size stays. entry: as it is now, borrowed. bytes: a copy of its bytes. */
typedef void segment_log_rewriter(void *context, const struct log_entry *entry, uint8_t *bytes);

/* Gives the durable entries that hold `seqs` (ascending, asserted) new bytes, from rewrite. The digest of
 * an entry must stay: the caller has a chain that allows it. The old bytes are overwritten in the file. The call
 * passes over seqs of segments that are pruned. Readers see an entry before or after the change.
 * Costs four syncs for each segment that changes (some more, if the changes have over 1 MiB), and the time to
 * read the entries. Any thread; calls wait for each other.
 * Errors set *why (may be NULL). After one, some entries are changed and others are not; a crash may yet
 * change one more. The caller calls again with the same seqs. ERROR_INVALID: a digest would change.
 * ERROR_NOT_FOUND: a seq is not durable yet. ERROR_CORRUPT: damage. ERROR_TOO_LARGE: the changes of
 * one entry are too many. ERROR_DISK_FULL, ERROR_NO_MEMORY, ERROR_IO, ERROR_DENIED. */
enum error segment_log_rewrite(struct segment_log *log, const uint64_t *seqs, size_t count,
                               segment_log_rewriter *rewrite, void *context,
                               struct error_text *why);

/* ---- remove ---- */

/* Forgets the entries that end before before_seq; segment_log_first rises at once. The last entry
 * always stays. Memory only: segment_log_make_spare removes the segments from the disk, and after a
 * crash some may be there again. */
void segment_log_prune(struct segment_log *log, uint64_t before_seq);

/* Empties the log: the next entry is base->position.seq + 1. The call drops entries that are not written. After a crash the next open finds the old log or the new empty one. The old segments are
 * removed as those of segment_log_prune. Errors leave the log as it was, and set *why (may be NULL):
 * as segment_log_write, and ERROR_NO_MEMORY. */
enum error segment_log_reset(struct segment_log *log, const struct segment_log_end *base,
                             struct error_text *why);

/* Whether segment_log_make_spare has work: the newest segment is half full and no spare is ready, or
 * pruned segments are on the disk. Any thread. */
bool segment_log_wants_spare(struct segment_log *log);

/* Makes the next segment file, zero-filled and synced, if the newest is half full and there is no
 * spare, and removes pruned segments from the disk. Owner or helper thread, also beside
 * segment_log_write; one thread at a time. Errors set *why (may be NULL), as segment_log_write; a later
 * call tries again. */
enum error segment_log_make_spare(struct segment_log *log, struct error_text *why);

/* Returns the bytes of the segments on the disk, spare and pruned ones included. Any thread. */
uint64_t segment_log_size(struct segment_log *log);

/* ---- check ---- */

/* The progress of a check of the log. All zero: begins with the first readable segment. */
struct segment_log_scan {
    uint64_t number;            /* of the segment; 0: none yet */
    uint64_t offset;            /* of the next record in it */
    struct segment_log_end end; /* before that record */
};

/* Reads and verifies records from *scan on, about `bytes` of them: hashes, order and the running
 * digest. Sets *done when it reaches the durable end; *scan is then zero again. Segments that were
 * pruned meanwhile are skipped. Any thread, one at a time for each scan. Errors: as
 * segment_log_read. */
enum error segment_log_scan(struct segment_log *log, struct segment_log_scan *scan, uint64_t bytes,
                            bool *done, struct error_text *why);

enum segment_log_item_kind {
    SEGMENT_LOG_ITEM_SEGMENT, /* a segment with a valid head; `end` is its base */
    SEGMENT_LOG_ITEM_ENTRY,   /* a valid record; `end` is the state after it */
    SEGMENT_LOG_ITEM_SPARE,   /* a newest file without a head: not yet in use */
    SEGMENT_LOG_ITEM_OLD,     /* a file from before the last reset, which the next open removes */
    SEGMENT_LOG_ITEM_TORN, /* a torn tail, which the next open cuts; `end` is the end of the log */
    SEGMENT_LOG_ITEM_DAMAGE, /* damage; `problem` is the sentence */
};

/* One thing that segment_log_inspect finds. Borrowed for the visit, with what it points to. */
struct segment_log_item {
    enum segment_log_item_kind kind;
    uint64_t number;        /* of the segment: its file is %016llu.log */
    uint64_t offset;        /* in bytes, in the file */
    uint64_t size;          /* of the file, of the record, or of the rest of the file */
    struct log_entry entry; /* of SEGMENT_LOG_ITEM_ENTRY */
    struct segment_log_end end;
    uint64_t synced_seq; /* of SEGMENT_LOG_ITEM_ENTRY: the durable seq when it was written */
    const char *problem; /* of SEGMENT_LOG_ITEM_DAMAGE, else "" */
};

/* Reads and verifies all segments in the data folder `folder`, and changes nothing. Visits what it
 * finds in the order of the files; after damage it goes on with the next segment. In the folder of a
 * running server the end may look torn. Any thread.
 * chain: as in the options. Returns OK if the log is whole, also with a torn tail. If visit
 * returns another result than OK, the call ends and returns that. Errors of the log set *why (may be
 * NULL). ERROR_CORRUPT, after the last visit: damage. ERROR_NOT_FOUND: the folder has no log.
 * ERROR_NO_MEMORY, ERROR_IO, ERROR_DENIED, ERROR_VERSION. */
enum error segment_log_inspect(const char *folder, segment_log_chain *chain,
                               enum error (*visit)(void *context,
                                                   const struct segment_log_item *item),
                               void *context, struct error_text *why);

#endif
