/* SPDX-License-Identifier: MIT */
#include "client/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGEST_BYTES 16u
#define SIZE_BYTES 8u /* the size, and what makes sure of it */
#define FRAME_BYTES (SIZE_BYTES + DIGEST_BYTES)
#define MAGIC_BYTES (sizeof STATE_FILE_MAGIC - 1)

struct buffer {
    uint8_t *bytes;
    size_t used, capacity;
};

struct state_file {
    char *path, *new_path, *lock_path;
    int descriptor, lock;
    size_t size;           /* of the file */
    size_t long_size;      /* from here on it should be made anew */
    struct buffer added;   /* and not written */
    struct buffer rewrite; /* all of the file that is being made */
    bool is_rewriting;
    bool unsynced;
    struct error_text problem; /* "": none */
};

static enum error system_error(struct error_text *why, const char *what, const char *path)
{
    int number = errno;
    return error_set(why, error_from_errno(number), "cannot %s the state file %s: %s", what, path,
                     strerror(number));
}

/* Keeps the first problem, because later ones follow from it. */
static void fail(struct state_file *file, const char *what)
{
    if (file->problem.text[0] == '\0')
        (void)system_error(&file->problem, what, file->path);
}

/* ---- bytes ---- */

static bool reserve(struct buffer *buffer, size_t size)
{
    if (buffer->capacity - buffer->used >= size)
        return true;
    size_t larger = (buffer->used + size) * 2;
    uint8_t *bytes = realloc(buffer->bytes, larger);
    if (bytes == NULL)
        return false;
    buffer->bytes = bytes;
    buffer->capacity = larger;
    return true;
}

static void release(struct buffer *buffer)
{
    if (buffer->bytes != NULL)
        sodium_memzero(buffer->bytes, buffer->used); /* it may hold a token */
    free(buffer->bytes);
    *buffer = (struct buffer){.used = 0};
}

static void digest(const uint8_t size[static 4], const void *payload, size_t bytes,
                   uint8_t out[static DIGEST_BYTES])
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, DIGEST_BYTES);
    (void)crypto_generichash_update(&state, size, 4);
    (void)crypto_generichash_update(&state, payload, bytes);
    (void)crypto_generichash_final(&state, out, DIGEST_BYTES);
}

static void put_size(uint8_t out[static SIZE_BYTES], size_t size)
{
    uint8_t sum[DIGEST_BYTES];
    for (size_t i = 0; i < 4; i++)
        out[i] = (uint8_t)(size >> 8 * i);
    digest(out, "", 0, sum);
    memcpy(out + 4, sum, 4);
}

/* False: these bytes are no size. A wrong one must not pass for a record that was cut short. */
static bool get_size(const uint8_t in[static SIZE_BYTES], size_t *out)
{
    uint8_t sum[DIGEST_BYTES];
    *out = (size_t)in[0] | (size_t)in[1] << 8 | (size_t)in[2] << 16 | (size_t)in[3] << 24;
    digest(in, "", 0, sum);
    return memcmp(in + 4, sum, 4) == 0 && *out <= STATE_FILE_RECORD_MAX;
}

static bool write_fully(int descriptor, const uint8_t *bytes, size_t size, size_t offset)
{
    while (size > 0) {
        ssize_t written = pwrite(descriptor, bytes, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        size -= (size_t)written;
        offset += (size_t)written;
    }
    return true;
}

/* ---- reading ---- */

static enum error damaged(const struct state_file *file, size_t at, struct error_text *why)
{
    return error_set(
        why, ERROR_CORRUPT,
        "the state file %s is damaged at byte %zu; keep a copy of it, and remove it to log in "
        "again (its unsent messages may be lost)",
        file->path, at);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return sodium_is_zero(bytes, size) != 0;
}

/* A part of a record at the end, or space that was never filled, is what a kill leaves. */
static enum error visit_records(struct state_file *file, const uint8_t *bytes, size_t size,
                                state_file_visit *visit, void *context, struct error_text *why)
{
    size_t at = MAGIC_BYTES;
    while (size - at >= FRAME_BYTES && !is_zero(bytes + at, size - at)) {
        size_t payload;
        if (!get_size(bytes + at, &payload))
            return damaged(file, at, why);
        if (payload > size - at - FRAME_BYTES)
            break;
        uint8_t expected[DIGEST_BYTES];
        digest(bytes + at, bytes + at + FRAME_BYTES, payload, expected);
        if (memcmp(expected, bytes + at + SIZE_BYTES, DIGEST_BYTES) != 0)
            return damaged(file, at, why);
        enum error error = visit(context, bytes + at + FRAME_BYTES, payload);
        if (error == ERROR_NO_MEMORY)
            return error_set(why, error, "read the state file %s: out of memory", file->path);
        if (error != OK)
            return damaged(file, at, why);
        at += FRAME_BYTES + payload;
    }
    file->size = at;
    return OK;
}

static enum error check_beginning(const struct state_file *file, const uint8_t *bytes, size_t size,
                                  struct error_text *why)
{
    static const char name[] = "jackdaw client state ";
    if (size >= MAGIC_BYTES && memcmp(bytes, STATE_FILE_MAGIC, MAGIC_BYTES) == 0)
        return OK;
    if (size >= MAGIC_BYTES && memcmp(bytes, name, sizeof name - 1) == 0)
        return error_set(why, ERROR_VERSION,
                         "the state file %s is of another version of this program", file->path);
    return error_set(why, ERROR_CORRUPT,
                     "%s is %s; it was not touched: name another file for --state, or remove it",
                     file->path, size == 0 ? "empty, and so no state file" : "no state file");
}

static enum error check_kind(const struct state_file *file, const struct stat *found,
                             struct error_text *why)
{
    if (!S_ISREG(found->st_mode))
        return error_set(why, ERROR_DENIED, "the state file %s is no regular file", file->path);
    if ((found->st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return error_set(why, ERROR_DENIED,
                         "the state file %s may be read by others, and it holds the key to a "
                         "session: chmod 600 %s",
                         file->path, file->path);
    if (found->st_size > (off_t)STATE_FILE_BYTES_MAX)
        return error_set(why, ERROR_TOO_LARGE, "the state file %s has more than %u bytes",
                         file->path, STATE_FILE_BYTES_MAX);
    return OK;
}

static bool read_fully(int descriptor, uint8_t *bytes, size_t size)
{
    for (size_t used = 0; used < size;) {
        ssize_t got = pread(descriptor, bytes + used, size - used, (off_t)used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = EIO;
        if (got <= 0)
            return false;
        used += (size_t)got;
    }
    return true;
}

static enum error load(struct state_file *file, state_file_visit *visit, void *context,
                       struct error_text *why)
{
    struct stat found;
    if (fstat(file->descriptor, &found) != 0)
        return system_error(why, "look at", file->path);
    enum error error = check_kind(file, &found, why);
    if (error != OK)
        return error;
    size_t size = (size_t)found.st_size;
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL)
        return error_set(why, ERROR_NO_MEMORY, "read the state file %s: out of memory", file->path);
    if (!read_fully(file->descriptor, bytes, size))
        error = system_error(why, "read", file->path);
    if (error == OK)
        error = check_beginning(file, bytes, size, why);
    if (error == OK)
        error = visit_records(file, bytes, size, visit, context, why);
    sodium_memzero(bytes, size);
    free(bytes);
    if (error == OK && file->size < size && ftruncate(file->descriptor, (off_t)file->size) != 0)
        error = system_error(why, "shorten", file->path);
    file->unsynced = true; /* a client that was killed may not have synced it */
    return error;
}

/* ---- making ---- */

static bool sync_folder_of(const char *path)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    if (slash != NULL)
        (void)snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path),
                       path);
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    bool done = fsync(descriptor) == 0;
    int number = errno;
    (void)close(descriptor);
    errno = number;
    return done;
}

/* Writes a whole file beside the old one and puts it in its place. *replaced: that was done, though
 * it may not outlive the machine. The descriptor, or -1 with errno. */
static int put_new(const struct state_file *file, const struct buffer *content, bool *replaced)
{
    *replaced = false;
    (void)unlink(file->new_path); /* left behind by a kill */
    int descriptor = open(file->new_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0)
        return -1;
    if (write_fully(descriptor, content->bytes, content->used, 0) && fsync(descriptor) == 0 &&
        rename(file->new_path, file->path) == 0) {
        *replaced = true;
        if (sync_folder_of(file->path))
            return descriptor;
    }
    int number = errno;
    (void)close(descriptor);
    if (!*replaced)
        (void)unlink(file->new_path);
    errno = number;
    return -1;
}

static enum error make(struct state_file *file, struct error_text *why)
{
    struct buffer content = {.bytes = (uint8_t *)STATE_FILE_MAGIC, .used = MAGIC_BYTES};
    bool replaced;
    file->descriptor = put_new(file, &content, &replaced);
    if (file->descriptor < 0)
        return system_error(why, "make", file->path);
    file->size = MAGIC_BYTES;
    return OK;
}

static enum error take_lock(struct state_file *file, struct error_text *why)
{
    char text[24] = "";
    file->lock = open(file->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file->lock < 0)
        return system_error(why, "lock", file->path);
    if (flock(file->lock, LOCK_EX | LOCK_NB) == 0) {
        /* For people only: a full disk is no reason to refuse. */
        int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        if (ftruncate(file->lock, 0) == 0 && pwrite(file->lock, text, (size_t)size, 0) == size)
            return OK;
        return OK;
    }
    if (errno != EWOULDBLOCK)
        return system_error(why, "lock", file->path);
    ssize_t got = pread(file->lock, text, sizeof text - 1, 0);
    return error_set(why, ERROR_IN_USE,
                     "the state file %s is in use by another client (process %ld): each needs its "
                     "own",
                     file->path, got > 0 ? strtol(text, NULL, 10) : 0);
}

static enum error open_or_make(struct state_file *file, state_file_visit *visit, void *context,
                               struct error_text *why)
{
    enum error error = take_lock(file, why);
    if (error != OK)
        return error;
    file->descriptor = open(file->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (file->descriptor >= 0)
        return load(file, visit, context, why);
    return errno == ENOENT ? make(file, why) : system_error(why, "open", file->path);
}

enum error state_file_open(struct state_file **out, const char *path, state_file_visit *visit,
                           void *context, struct error_text *why)
{
    struct state_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    file->descriptor = file->lock = -1;
    file->long_size = STATE_FILE_REWRITE_BYTES;
    file->path = realpath(path, NULL); /* a link stays one */
    if (file->path == NULL)
        file->path = strdup(path);
    enum error error = OK;
    if (file->path == NULL || asprintf(&file->new_path, "%s.new", file->path) < 0 ||
        asprintf(&file->lock_path, "%s.lock", file->path) < 0)
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (error == OK)
        error = open_or_make(file, visit, context, why);
    if (error != OK) {
        state_file_close(file);
        return error;
    }
    *out = file;
    return OK;
}

void state_file_close(struct state_file *file)
{
    if (file == NULL)
        return;
    state_file_flush(file);
    if (file->descriptor >= 0)
        (void)close(file->descriptor);
    if (file->lock >= 0)
        (void)close(file->lock);
    release(&file->added);
    release(&file->rewrite);
    free(file->path);
    free(file->new_path);
    free(file->lock_path);
    free(file);
}

/* ---- writing ---- */

void state_file_add(struct state_file *file, const void *payload, size_t size)
{
    struct buffer *buffer = file->is_rewriting ? &file->rewrite : &file->added;
    ASSERT(size <= STATE_FILE_RECORD_MAX);
    if (file->problem.text[0] != '\0')
        return;
    if (!reserve(buffer, FRAME_BYTES + size)) {
        errno = ENOMEM;
        fail(file, "add to");
        return;
    }
    uint8_t *at = buffer->bytes + buffer->used;
    put_size(at, size);
    digest(at, payload, size, at + SIZE_BYTES);
    memcpy(at + FRAME_BYTES, payload, size);
    buffer->used += FRAME_BYTES + size;
}

void state_file_flush(struct state_file *file)
{
    struct buffer *added = &file->added;
    if (added->used == 0 || file->problem.text[0] != '\0')
        return;
    if (file->size + added->used > STATE_FILE_BYTES_MAX)
        errno = EFBIG;
    else if (write_fully(file->descriptor, added->bytes, added->used, file->size)) {
        file->size += added->used;
        file->unsynced = true;
        added->used = 0;
        return;
    }
    fail(file, "write");
}

bool state_file_sync(struct state_file *file)
{
    state_file_flush(file);
    if (file->problem.text[0] == '\0' && file->unsynced) {
        if (fdatasync(file->descriptor) == 0)
            file->unsynced = false;
        else
            fail(file, "sync");
    }
    return file->problem.text[0] == '\0';
}

bool state_file_is_long(const struct state_file *file)
{
    return file->size >= file->long_size;
}

void state_file_begin_rewrite(struct state_file *file)
{
    state_file_flush(file);
    file->is_rewriting = true;
    file->rewrite.used = 0;
    if (!reserve(&file->rewrite, MAGIC_BYTES))
        return; /* end_rewrite sees that it is not there */
    memcpy(file->rewrite.bytes, STATE_FILE_MAGIC, MAGIC_BYTES);
    file->rewrite.used = MAGIC_BYTES;
}

static void use_new(struct state_file *file, int descriptor)
{
    (void)close(file->descriptor);
    file->descriptor = descriptor;
    file->size = file->rewrite.used;
    file->unsynced = false;
}

void state_file_end_rewrite(struct state_file *file)
{
    bool replaced = false;
    file->is_rewriting = false;
    if (file->problem.text[0] == '\0' && file->rewrite.used >= MAGIC_BYTES) {
        int descriptor = put_new(file, &file->rewrite, &replaced);
        if (descriptor >= 0)
            use_new(file, descriptor);
        else if (replaced)
            fail(file, "sync the folder of");
    }
    file->long_size = file->size * 2;
    if (file->long_size < STATE_FILE_REWRITE_BYTES)
        file->long_size = STATE_FILE_REWRITE_BYTES;
    release(&file->rewrite);
}

const char *state_file_problem(const struct state_file *file)
{
    return file->problem.text[0] == '\0' ? NULL : file->problem.text;
}

size_t state_file_size(const struct state_file *file)
{
    return file->size;
}
