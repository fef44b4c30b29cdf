/* SPDX-License-Identifier: MIT */
/* segment_internal.h - what the files of this folder share: the bytes of a segment (docs/log.md), its
 * file, the walk over its records, and the body of the log. Included by src/segment_log and its own
 * tests only. */
#ifndef JACKDAW_SEGMENT_LOG_SEGMENT_INTERNAL_H
#define JACKDAW_SEGMENT_LOG_SEGMENT_INTERNAL_H

#include "segment_log/segment_log.h"

#include <limits.h>
#include <pthread.h>

/* ---- format: segment_format.c ---- */

#define SEGMENT_VERSION 2
#define SEGMENT_HEAD_BYTES 512u        /* one sector */
#define SEGMENT_RECORD_HEAD_BYTES 112u /* the payload follows, then zeros up to a multiple of 8 */
#define SEGMENT_ALIGNMENT 8u           /* of records */
#define SEGMENT_KEY_BYTES 16u          /* of SipHash */

struct segment_head {
    uint64_t number; /* of the segment */
    uint64_t size;   /* of the file, in bytes */
    bool is_start;   /* the log begins here: older files are left over from before a reset */
    struct segment_log_end base; /* of the log before the first record */
    uint8_t key[SEGMENT_KEY_BYTES];
};

struct segment_record {
    struct log_entry entry; /* with its digest; bytes: NULL until the payload is read */
    uint64_t end_bytes;     /* segment_log_end.bytes after the entry */
    uint64_t synced_seq;    /* the durable seq when the record was written */
    uint64_t payload_hash;
};

void segment_head_encode(uint8_t out[static SEGMENT_HEAD_BYTES], const struct segment_head *head);
/* ERROR_CORRUPT: no head, or damaged. ERROR_VERSION: a valid head of another version. */
enum error segment_head_decode(struct segment_head *head,
                               const uint8_t bytes[static SEGMENT_HEAD_BYTES]);

/* Returns the size of a record with its padding. */
static inline uint64_t segment_record_bytes(uint64_t payload)
{
    return SEGMENT_RECORD_HEAD_BYTES +
           (payload + SEGMENT_ALIGNMENT - 1) / SEGMENT_ALIGNMENT * SEGMENT_ALIGNMENT;
}

/* Encodes head, payload and padding of a record without what depends on its place. */
void segment_record_encode(uint8_t *out, const struct segment_record *record);
/* Completes an encoded record for its place: the offset in the file, synced_seq and the hashes. */
void segment_record_seal(uint8_t *bytes, const uint8_t key[static SEGMENT_KEY_BYTES],
                         uint64_t offset, uint64_t synced_seq);
/* Decodes the head of a record at offset in a file of `size` bytes. key NULL: without checking the
 * hash. false: no valid head of this place. */
bool segment_record_decode(struct segment_record *record,
                           const uint8_t bytes[static SEGMENT_RECORD_HEAD_BYTES],
                           const uint8_t *key, uint64_t offset, uint64_t size);
/* Decodes the head of a record that this process encoded. */
void segment_record_peek(struct segment_record *record, const uint8_t *bytes);
/* payload: with its padding. */
bool segment_record_has_payload(const struct segment_record *record, const uint8_t *payload,
                                const uint8_t key[static SEGMENT_KEY_BYTES]);
/* Returns the state of the log after the record. */
struct segment_log_end segment_record_end(const struct segment_record *record);

#define SEGMENT_OVERWRITE_HEAD_BYTES 48u
#define SEGMENT_RANGE_HEAD_BYTES 16u
#define SEGMENT_OVERWRITE_BYTES_MAX SEGMENT_LOG_BATCH_MAX

/* Writes the head of a file `overwrite` for the segment of head; bytes: head and ranges. */
void segment_overwrite_encode(uint8_t *bytes, size_t size, const struct segment_head *head);
/* Sets *number and key, of the segment. false: the bytes are torn. */
bool segment_overwrite_decode(const uint8_t *bytes, size_t size, uint64_t *number,
                              uint8_t key[static SEGMENT_KEY_BYTES]);

/* Bytes that replace those at an offset of a segment. */
struct segment_range {
    size_t next; /* where the next range is in the file `overwrite` */
    uint64_t offset;
    size_t size;
    const uint8_t *bytes;
};
void segment_range_encode(uint8_t *out, uint64_t offset, const uint8_t *bytes, size_t size);
/* Reads the range at range->next. false: there is none. */
bool segment_range_decode(struct segment_range *range, const uint8_t *bytes, size_t size);

/* ---- files: segment_file.c ---- */

#define SEGMENT_PATH_SIZE PATH_MAX

/* Formats "read PATH: the system's reason" for errno, and maps errno: full disk, memory and
 * permission keep their errors, all others are ERROR_IO. */
enum error segment_file_problem(struct error_text *why, const char *what, const char *path);

#define SEGMENT_OVERWRITE_NUMBER 0u /* names the file `overwrite` in place of a segment */

/* Names the file of a segment. The folder leaves room for it (segment_folder_name). */
void segment_file_name(char path[static SEGMENT_PATH_SIZE], const char *folder, uint64_t number);
/* Names the folder of segments in a data folder. ERROR_INVALID: too long. */
enum error segment_folder_name(char path[static SEGMENT_PATH_SIZE], const char *data_folder,
                               struct error_text *why);
enum error segment_folder_make(const char *folder, const char *data_folder, struct error_text *why);
enum error segment_folder_sync(const char *folder, struct error_text *why);
/* Sets *numbers to those of the segment files, ascending; the caller frees it. Ignores other files. */
enum error segment_folder_list(const char *folder, uint64_t **numbers, size_t *count,
                               struct error_text *why);

struct segment_file {
    int descriptor; /* -1: not open */
    uint64_t number;
    uint64_t size; /* in bytes */
};

/* Opens an existing file. ERROR_NOT_FOUND if there is none. */
enum error segment_file_open(struct segment_file *file, const char *folder, uint64_t number,
                             bool is_writable, struct error_text *why);
/* Makes a file of zeros and syncs it and its name. After an error there is no file. */
enum error segment_file_create(struct segment_file *file, const char *folder, uint64_t number,
                               uint64_t size, struct error_text *why);
void segment_file_close(struct segment_file *file); /* also if it is not open */
enum error segment_file_remove(const char *folder, uint64_t number, struct error_text *why);

/* Interrupted and short calls go on. ERROR_IO: also the end of the file. */
enum error segment_file_read(const struct segment_file *file, const char *folder, void *bytes,
                             size_t size, uint64_t offset, struct error_text *why);
enum error segment_file_write(const struct segment_file *file, const char *folder,
                              const void *bytes, size_t size, uint64_t offset,
                              struct error_text *why);
enum error segment_file_zero(const struct segment_file *file, const char *folder, uint64_t from,
                             uint64_t to, struct error_text *why);
enum error segment_file_sync(const struct segment_file *file, const char *folder,
                             struct error_text *why);
/* Sets *end behind the last byte from `from` on that is not zero; to `from` if there is none. */
enum error segment_file_content_end(const struct segment_file *file, const char *folder,
                                    uint64_t from, uint64_t *end, struct error_text *why);

/* ---- changes in place: segment_overwrite.c ---- */

/* The content of the file `overwrite`: bytes that replace others of one segment. */
struct segment_overwrite {
    pthread_rwlock_t
        lock;        /* a reader holds it while it reads, a writer while it changes the rest */
    uint64_t number; /* of the segment; 0: there is nothing to replace */
    uint8_t key[SEGMENT_KEY_BYTES]; /* of the segment, after segment_overwrite_load */
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    bool has_file; /* there may be a file to remove; not under the lock */
};

void segment_overwrite_init(struct segment_overwrite *overwrite);
void segment_overwrite_release(struct segment_overwrite *overwrite);
/* Reads from a segment as segment_file_read, and replaces the bytes. overwrite may be NULL. */
enum error segment_overwrite_read(struct segment_overwrite *overwrite,
                                  const struct segment_file *file, const char *folder, void *bytes,
                                  size_t size, uint64_t offset, struct error_text *why);
/* Loads the file into an empty overwrite, if there is a whole one. */
enum error segment_overwrite_load(struct segment_overwrite *overwrite, const char *folder,
                                  struct error_text *why);
/* Forgets what was loaded unless head, that of the segment in use (NULL: none), has its key. */
void segment_overwrite_check(struct segment_overwrite *overwrite, const struct segment_head *head);
/* Adds a range. ERROR_NO_MEMORY. ERROR_TOO_LARGE: over SEGMENT_OVERWRITE_BYTES_MAX. */
enum error segment_overwrite_add(struct segment_overwrite *overwrite, uint64_t offset,
                                 const uint8_t *bytes, size_t size);
/* Makes the ranges of `made` durable in the file, and moves them to overwrite, which is empty. */
enum error segment_overwrite_save(struct segment_overwrite *overwrite,
                                  struct segment_overwrite *made, const struct segment_head *head,
                                  const char *folder, struct error_text *why);
/* Writes the ranges into the segment, and removes the file. After an error, call it again. */
enum error segment_overwrite_settle(struct segment_overwrite *overwrite, const char *folder,
                                    struct error_text *why);

/* ---- records in order: segment_walk.c ---- */

/* A walk over the records of one file. The caller fills the first part. */
struct segment_walk {
    const char *folder;
    const struct segment_file *file;
    const uint8_t *key;
    struct segment_overwrite *overwrite; /* NULL: none */
    segment_log_chain *chain;   /* verifies the digest; NULL: does not, and skips payloads */
    uint64_t offset;            /* of the next record */
    struct segment_log_end end; /* before the next record */
    bool knows_end;             /* false: of `end`, only seq is known */

    struct segment_record record; /* the last one */
    uint64_t record_offset;       /* of the last one */
    uint8_t *buffer;              /* bytes of the file from buffer_offset on */
    size_t buffer_size;           /* allocated */
    size_t buffer_used;
    uint64_t buffer_offset;
};

/* Goes to the next record and checks its hash and its place in the log.
 * ERROR_NOT_FOUND: no valid record is there. ERROR_CORRUPT: a valid one contradicts the log before
 * it, which no crash explains. ERROR_IO, ERROR_NO_MEMORY. All but ERROR_NOT_FOUND set *why. */
enum error segment_walk_head(struct segment_walk *walk, struct error_text *why);
/* Reads and checks the payload of the last record, and the digest if there is a chain. Errors: as
 * segment_walk_head. After OK, entry.bytes is borrowed until the next call. */
enum error segment_walk_payload(struct segment_walk *walk, struct error_text *why);
/* Both. After an error, offset and end are those before the call. */
enum error segment_walk_next(struct segment_walk *walk, struct error_text *why);
void segment_walk_release(struct segment_walk *walk);

/* Sets *offset to a record head where `stop` stands or behind it that proves that `seq` was durable: a valid
 * one whose synced_seq is seq or more. ERROR_NOT_FOUND: none. */
enum error segment_find_proof(const struct segment_walk *stop, uint64_t seq, uint64_t *offset,
                              struct error_text *why);
/* The same in a file whose head is lost, and with it the key: bytes of the form of a record head
 * whose synced_seq is not seq. In the first batch of a segment after seq, all synced_seq are seq. */
enum error segment_find_trace(const struct segment_file *file, const char *folder, uint64_t seq,
                              uint64_t *offset, struct error_text *why);

/* ---- what a folder holds: segment_survey.c ---- */

enum segment_state {
    SEGMENT_IN_USE,  /* a valid head */
    SEGMENT_UNUSED,  /* the newest file, without a valid head */
    SEGMENT_OLD,     /* from before the last reset */
    SEGMENT_DAMAGED, /* `problem` has the sentence */
};

struct segment_verdict {
    enum segment_state state;
    struct segment_head head;  /* of SEGMENT_IN_USE */
    struct segment_file file;  /* not open */
    struct error_text problem; /* of SEGMENT_DAMAGED */
};

struct segment_survey {
    struct segment_verdict *files; /* by number, ascending */
    size_t count;
    struct segment_overwrite overwrite; /* that a crash left; of a segment in use */
    bool is_taken;
};

/* Lists the files, reads their heads, and compares those with their names, sizes and neighbours.
 * Damage is in the verdicts. Errors: ERROR_VERSION, ERROR_IO, ERROR_NO_MEMORY, ERROR_DENIED, and
 * ERROR_NOT_FOUND if there is no folder. */
enum error segment_survey_take(struct segment_survey *survey, const char *folder,
                               struct error_text *why);
void segment_survey_release(struct segment_survey *survey);
/* Returns the newest file in use, or NULL. */
const struct segment_verdict *segment_survey_newest(const struct segment_survey *survey);
/* Returns the file without a head, or NULL. */
const struct segment_verdict *segment_survey_unused(const struct segment_survey *survey);

/* The end of the newest segment. */
enum segment_tail_state { SEGMENT_TAIL_CLEAN, SEGMENT_TAIL_TORN, SEGMENT_TAIL_DAMAGED };

/* Judges what lies behind the last valid record of the newest segment in use, where walk stands, and
 * whether the unused file, if any, had been in use. *content_end: behind the last byte that is not
 * zero. SEGMENT_TAIL_DAMAGED sets *why. */
enum error segment_survey_tail(const struct segment_survey *survey, const struct segment_walk *walk,
                               enum segment_tail_state *state, uint64_t *content_end,
                               struct error_text *why);
/* Whether the unused file had been in use when the log ended at seq. */
enum error segment_survey_trace(const struct segment_survey *survey, const char *folder,
                                uint64_t seq, enum segment_tail_state *state,
                                struct error_text *why);

/* ---- the body ---- */

#define SEGMENT_MARK_BYTES 32768u    /* the distance of marks, at least */
#define SEGMENT_BUFFER_KEPT 1048576u /* a larger batch buffer is freed after its batch */

/* A place in a segment where a read can begin. */
struct segment_mark {
    uint64_t seq; /* the first of the record */
    uint64_t offset;
};

/* The marks of a segment. */
struct segment_index {
    struct segment_mark *marks;
    size_t count;
    size_t capacity;
};

/* A segment in use. Immutable but for what `lock` of the log protects. */
struct segment {
    struct segment_head head;
    struct segment_file file;   /* lock; open: the newest segment, and while a reader uses it */
    unsigned references;        /* lock; of the log, and one for each reader */
    bool is_removed;            /* lock; the log has dropped its reference */
    bool is_indexed;            /* lock; the index is complete up to the durable end */
    struct segment_index index; /* lock */
    struct segment *next;       /* lock; in the list of pruned segments */
};

enum segment_batch_state {
    SEGMENT_BATCH_OPEN,    /* not written yet */
    SEGMENT_BATCH_WRITTEN, /* durable, until finish */
    SEGMENT_BATCH_FAILED,  /* undone, or the log is poisoned */
};

/* Entries that are appended and not yet readable. Owner and disk thread, in turn. */
struct segment_batch {
    enum segment_batch_state state;
    uint8_t *bytes;  /* room for the head of a segment, then records */
    size_t size;     /* of the records */
    size_t capacity; /* of bytes, allocated */
    bool is_first;   /* it begins a segment, which is `fresh` of the log */
};

struct segment_log {
    char folder[SEGMENT_PATH_SIZE]; /* of the segments */
    uint64_t segment_bytes;
    segment_log_chain *chain;

    /* Owner and disk thread, in turn. */
    struct segment_log_end end;
    struct segment_batch batch;
    struct segment *fresh; /* allocated ahead for the next segment */
    bool is_poisoned;      /* undoing failed: the next write or reset tries again first */
    bool poisons_fresh;    /* the bytes to undo are in `fresh`, else behind the tail */
    uint64_t poison_bytes; /* to undo */
    struct error_text problem;
    uint64_t last_entry_seq; /* the first seq of the last entry, or a seq below it */

    pthread_mutex_t rewrite_lock;       /* held by segment_log_rewrite; before the others */
    struct segment_overwrite overwrite; /* rewrite_lock, and its own */

    pthread_mutex_t spare_lock; /* held while a file is made; before `lock` */
    pthread_mutex_t lock;       /* held for moments, without calls of the system but close */

    /* lock. The owner alone changes them, and reads them without it. */
    struct segment **segments; /* in use, by number, ascending */
    size_t segment_count;
    size_t segment_capacity;
    uint64_t tail; /* the offset of the next record, in the newest segment */
    struct segment_log_end durable;
    uint64_t first;

    /* lock. */
    struct segment *pruned_first; /* by number, ascending */
    struct segment *pruned_last;

    /* lock and spare_lock; either to read them. */
    struct segment_file spare;
    uint64_t next_number; /* of the next file that is made */
    bool is_spare_lent;   /* to a batch or a reset that is not finished */
};

static inline struct segment *segment_newest(const struct segment_log *log)
{
    return log->segment_count == 0 ? NULL : log->segments[log->segment_count - 1];
}

/* segment_table.c: the segments of a log. */
struct segment *segment_new(uint64_t size); /* references: 1; NULL: no memory */
void segment_free(struct segment *segment);
bool segment_index_reserve(struct segment_index *index, uint64_t size);
/* Adds a mark if the last one is far enough. Marks ascend; there is room (segment_index_reserve). */
void segment_index_add(struct segment_index *index, uint64_t seq, uint64_t offset);
/* Makes room for one more segment of `size` bytes, so that adding it cannot fail. */
enum error segment_reserve(struct segment_log *log, uint64_t size);
/* Adds `fresh` as the newest segment; lock is held. */
void segment_add_fresh(struct segment_log *log);
void segment_add_pruned(struct segment_log *log, struct segment *segment); /* lock is held */
/* Drops a reference, closes the file after its last reader, and frees the segment with the last one. */
void segment_drop(struct segment_log *log, struct segment *segment);

/* segment_use.c: how a reader gets to a record. */
struct segment_use {
    struct segment *segment;  /* with a reference of the reader (segment_drop) */
    struct segment_file file; /* of the segment, which keeps it open */
    uint64_t last_seq;        /* the last durable seq in the segment */
    bool is_newest;
};

/* Returns the index of the segment that holds seq, which is above the base of the log; lock is held. */
size_t segment_find(const struct segment_log *log, uint64_t seq);
/* Takes the segment at index; lock is held. */
void segment_use_take(struct segment_log *log, size_t index, struct segment_use *use);
/* Opens the file if it is not open. ERROR_NOT_FOUND: the segment has been pruned. */
enum error segment_use_open(struct segment_log *log, struct segment_use *use,
                            struct error_text *why);
/* Takes and opens the segment that holds seq. ERROR_NOT_FOUND: seq is past the end, or more than one
 * before the first that is readable. */
enum error segment_use_seq(struct segment_log *log, uint64_t seq, struct segment_use *use,
                           struct error_text *why);
/* Returns a walk at the first record, without a chain. */
struct segment_walk segment_use_walk(struct segment_log *log, const struct segment_use *use);
/* Moves such a walk to before the record that holds seq, which is in the segment. */
enum error segment_use_seek(struct segment_log *log, const struct segment_use *use, uint64_t seq,
                            struct segment_walk *walk, struct error_text *why);
/* Sets the sentence for a record that is not valid where walk stands. Returns ERROR_CORRUPT. */
enum error segment_use_damage(const struct segment_log *log, const struct segment_walk *walk,
                              struct error_text *why);
/* segment_read.c: whether a segment begins where the one before it ends. */
enum error segment_check_base(const struct segment_log *log, const struct segment *segment,
                              const struct segment_log_end *end, struct error_text *why);

/* segment_spare.c: the file of the next segment. */
/* Turns the spare, or a new file, of at least `size` bytes into `fresh`, with a key. */
enum error segment_spare_take(struct segment_log *log, uint64_t size,
                              const struct segment_log_end *base, bool is_start,
                              struct error_text *why);
/* Takes the zeroed file of `fresh` back. */
void segment_spare_return(struct segment_log *log);
/* `fresh` has been added, or is lost. */
void segment_spare_settle(struct segment_log *log);

/* segment_log.c */
/* Zeroes [0, size) of `fresh` and returns it as the spare; poisons the log if that fails. */
enum error segment_undo_fresh(struct segment_log *log, uint64_t size);
/* After undoing failed, tries again. ERROR_IO: it fails again. */
enum error segment_check_poison(struct segment_log *log, struct error_text *why);

/* segment_recover.c: finds the end of the log, repairs a torn tail, and fills the log. */
enum error segment_recover(struct segment_log *log, const struct segment_log_options *options,
                           struct error_text *why);

#endif
