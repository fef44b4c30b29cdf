/* SPDX-License-Identifier: MIT */
/* The file is two slots of SLOT_BYTES. A slot begins with a record, numbers little-endian:
 *
 *   0  magic        8 bytes
 *   8  version      8
 *  16  generation   8   counts the changes
 *  24  node id      8
 *  32  promised     8
 *  40  checksum    32   BLAKE2b-256 of the bytes before
 *  72  zeros
 *
 * A change writes the slot that does not hold the last durable record, syncs the file once, and then
 * writes the same record into the other slot without a sync. So the disk always has the last durable
 * record in a slot that no unsynced write touches, and soon has it twice. This is the stable
 * storage of Lampson and Sturgis, "Crash Recovery in a Distributed Data Storage System".
 *
 * Of two valid slots the one with the higher generation counts. A slot that is not valid is either
 * torn, and then its change never ended, or damaged, and then the other one is its copy. Opening
 * writes the missing copy. One double fault goes unnoticed: the power fails in the seconds before the
 * kernel has written the copy, and the disk also loses the slot that it had synced. */
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 2
#define SLOT_BYTES NODE_FILE_SLOT_BYTES
#define CHECKSUM_AT 40
#define CHECKSUM_BYTES 32
#define FILE_VERSION 1

struct slot {
    uint8_t bytes[SLOT_BYTES];
};

static const uint8_t magic[8] = {'J', 'K', 'D', 'W', 'N', 'O', 'D', 'E'};

struct record {
    uint64_t version;
    uint64_t generation;
    uint64_t node_id;
    uint64_t promised;
};

static void put_number(uint8_t *bytes, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_number(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static void compute_checksum(const uint8_t *bytes, uint8_t checksum[static CHECKSUM_BYTES])
{
    (void)crypto_generichash(checksum, CHECKSUM_BYTES, bytes, CHECKSUM_AT, NULL, 0);
}

static struct slot pack(const struct record *record)
{
    struct slot slot = {{0}};
    memcpy(slot.bytes, magic, sizeof magic);
    put_number(slot.bytes + 8, record->version);
    put_number(slot.bytes + 16, record->generation);
    put_number(slot.bytes + 24, record->node_id);
    put_number(slot.bytes + 32, record->promised);
    compute_checksum(slot.bytes, slot.bytes + CHECKSUM_AT);
    return slot;
}

/* Whether the slot is valid. */
static bool unpack(const struct slot *slot, struct record *record)
{
    uint8_t checksum[CHECKSUM_BYTES];
    compute_checksum(slot->bytes, checksum);
    *record = (struct record){.version = get_number(slot->bytes + 8),
                              .generation = get_number(slot->bytes + 16),
                              .node_id = get_number(slot->bytes + 24),
                              .promised = get_number(slot->bytes + 32)};
    return memcmp(slot->bytes, magic, sizeof magic) == 0 &&
           memcmp(slot->bytes + CHECKSUM_AT, checksum, sizeof checksum) == 0;
}

static int write_slot(int descriptor, unsigned index, const struct slot *slot)
{
    for (size_t done = 0; done < SLOT_BYTES;) {
        ssize_t size = pwrite(descriptor, slot->bytes + done, SLOT_BYTES - done,
                              (off_t)index * SLOT_BYTES + (off_t)done);
        if (size <= 0) {
            errno = size == 0 ? EIO : errno;
            return -1;
        }
        done += (size_t)size;
    }
    return 0;
}

/* Bytes after the end of the file read as zeros. */
static int read_slot(int descriptor, unsigned index, struct slot *slot)
{
    memset(slot, 0, sizeof *slot);
    for (size_t done = 0; done < SLOT_BYTES;) {
        ssize_t size = pread(descriptor, slot->bytes + done, SLOT_BYTES - done,
                             (off_t)index * SLOT_BYTES + (off_t)done);
        if (size <= 0)
            return (int)size;
        done += (size_t)size;
    }
    return 0;
}

/* ---- opening ---- */

static enum error fill_new(int descriptor, const char *path, uint64_t node_id,
                           struct error_text *why)
{
    struct slot slot = pack(&(struct record){.version = FILE_VERSION, .node_id = node_id});
    for (unsigned i = 0; i < SLOTS; i++)
        if (write_slot(descriptor, i, &slot) != 0)
            return folder_problem(why, "write", path);
    return fsync(descriptor) == 0 ? OK : folder_problem(why, "sync", path);
}

/* The name leads to a whole file or to none. */
static enum error make(const char *path, uint64_t node_id, struct error_text *why)
{
    char *partial = sqlite3_mprintf("%s" STORE_NEW_SUFFIX, path);
    if (partial == NULL)
        return error_set(why, ERROR_NO_MEMORY, "make %s: out of memory", path);
    enum error error = OK;
    int descriptor = open(partial, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0)
        error = folder_problem(why, "make", partial);
    if (error == OK)
        error = fill_new(descriptor, partial, node_id, why);
    if (descriptor >= 0)
        (void)close(descriptor);
    if (error == OK && rename(partial, path) != 0)
        error = folder_problem(why, "rename", partial);
    sqlite3_free(partial);
    return error;
}

/* *best: the slot that counts. */
static enum error choose(const char *path, const struct slot slots[static SLOTS], unsigned *best,
                         struct record *record, struct error_text *why)
{
    struct record found[SLOTS];
    bool is_valid[SLOTS];
    for (unsigned i = 0; i < SLOTS; i++)
        is_valid[i] = unpack(&slots[i], &found[i]);
    if (!is_valid[0] && !is_valid[1])
        return error_set(why, ERROR_CORRUPT, "neither copy in %s is whole; " STORE_DAMAGE_ADVICE,
                         path);
    *best = is_valid[1] && (!is_valid[0] || found[1].generation > found[0].generation);
    *record = found[*best];
    if (record->version != FILE_VERSION)
        return error_set(why, ERROR_VERSION,
                         "%s is of version %llu, and this program reads version %d only; run the "
                         "program that made it",
                         path, (unsigned long long)record->version, FILE_VERSION);
    return OK;
}

static enum error check_node_id(const struct record *record, uint64_t node_id,
                                struct error_text *why)
{
    if (record->node_id == node_id)
        return OK;
    return error_set(why, ERROR_MISMATCH,
                     "it belongs to server %llu, not %llu; choose another data folder or "
                     "start with the other id",
                     (unsigned long long)record->node_id, (unsigned long long)node_id);
}

static enum error write_copy(const struct node_file *node, const struct slot slots[static SLOTS],
                             unsigned from, struct error_text *why)
{
    if (memcmp(&slots[0], &slots[1], sizeof slots[0]) == 0)
        return OK;
    return write_slot(node->descriptor, 1 - from, &slots[from]) == 0 &&
                   fdatasync(node->descriptor) == 0
               ? OK
               : folder_problem(why, "write", node->path);
}

/* A process that is killed between write and sync leaves a record that a loss of power could still
 * take back. So the file is synced before its content counts. */
static enum error read_file(struct node_file *node, uint64_t node_id, struct error_text *why)
{
    struct slot slots[SLOTS];
    struct record record = {0};
    unsigned best = 0;
    if (fdatasync(node->descriptor) != 0)
        return folder_problem(why, "sync", node->path);
    for (unsigned i = 0; i < SLOTS; i++)
        if (read_slot(node->descriptor, i, &slots[i]) != 0)
            return folder_problem(why, "read", node->path);
    enum error error = choose(node->path, slots, &best, &record, why);
    if (error == OK)
        error = check_node_id(&record, node_id, why);
    if (error == OK)
        error = write_copy(node, slots, best, why);
    if (error != OK)
        return error;
    node->durable = best;
    node->generation = record.generation;
    node->node_id = record.node_id;
    node->promised = record.promised;
    return OK;
}

static int open_existing(const char *path)
{
    return open(path, O_RDWR | O_CLOEXEC);
}

enum error node_file_open(struct node_file *node, const char *path, uint64_t node_id, bool may_make,
                          struct error_text *why)
{
    enum error error = OK;
    *node = (struct node_file){.descriptor = open_existing(path)};
    if (node->descriptor < 0 && errno == ENOENT) {
        error = may_make ? make(path, node_id, why)
                         : error_set(why, ERROR_CORRUPT,
                                     "%s is missing beside the database; if this is a backup, put "
                                     "its file there, too; else " STORE_DAMAGE_ADVICE,
                                     path);
        node->descriptor = error == OK ? open_existing(path) : -1;
    }
    if (error == OK && node->descriptor < 0)
        error = folder_problem(why, "open", path);
    if (error == OK)
        error = folder_sync_of(path, why);
    if (error == OK) {
        node->path = sqlite3_mprintf("%s", path);
        error = node->path == NULL ? error_set(why, ERROR_NO_MEMORY, "open %s: out of memory", path)
                                   : read_file(node, node_id, why);
    }
    if (error != OK)
        node_file_close(node);
    return error;
}

void node_file_close(struct node_file *node)
{
    if (node->descriptor >= 0)
        (void)close(node->descriptor);
    node->descriptor = -1;
    sqlite3_free(node->path);
    node->path = NULL;
}

/* ---- changing ---- */

enum error node_file_set(struct node_file *node, uint64_t promised, struct error_text *why)
{
    if (node->descriptor >= 0) {
        const struct record record = {.version = FILE_VERSION,
                                      .generation = node->generation + 1,
                                      .node_id = node->node_id,
                                      .promised = promised};
        struct slot slot = pack(&record);
        if (write_slot(node->descriptor, 1 - node->durable, &slot) != 0)
            return folder_problem(why, "write", node->path);
        if (fdatasync(node->descriptor) != 0)
            return folder_problem(why, "sync", node->path);
        /* Without the copy the record is durable all the same. */
        (void)write_slot(node->descriptor, node->durable, &slot);
        node->durable = 1 - node->durable;
        node->generation = record.generation;
    }
    node->promised = promised;
    return OK;
}
