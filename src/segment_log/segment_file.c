/* SPDX-License-Identifier: MIT */
/* Segment files and their folder: every call of the system is here. */
#include "segment_log/segment_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES 65536u
#define NAME_DIGITS 16
#define NAME_BYTES 32 /* "/", up to 20 digits, ".log", the final zero */

enum error segment_file_problem(struct error_text *why, const char *what, const char *path)
{
    int number = errno;
    enum error error = error_from_errno(number);
    if (error != ERROR_DISK_FULL && error != ERROR_NO_MEMORY && error != ERROR_DENIED)
        error = ERROR_IO;
    return error_set(why, error, "%s %s: %s", what, path, strerror(number));
}

static enum error file_problem(struct error_text *why, const char *what, const char *folder,
                               uint64_t number)
{
    char path[SEGMENT_PATH_SIZE];
    int saved = errno;
    segment_file_name(path, folder, number);
    errno = saved;
    return segment_file_problem(why, what, path);
}

/* ---- folder ---- */

void segment_file_name(char path[static SEGMENT_PATH_SIZE], const char *folder, uint64_t number)
{
    int length = number == SEGMENT_OVERWRITE_NUMBER
                     ? snprintf(path, SEGMENT_PATH_SIZE, "%s/overwrite", folder)
                     : snprintf(path, SEGMENT_PATH_SIZE, "%s/%0*" PRIu64 ".log", folder,
                                NAME_DIGITS, number);
    ASSERT(length > 0 && length < SEGMENT_PATH_SIZE);
}

enum error segment_folder_name(char path[static SEGMENT_PATH_SIZE], const char *data_folder,
                               struct error_text *why)
{
    int length = snprintf(path, SEGMENT_PATH_SIZE, "%s/%s", data_folder, SEGMENT_LOG_FOLDER);
    if (length < 0 || length > SEGMENT_PATH_SIZE - NAME_BYTES)
        return error_set(why, ERROR_INVALID, "the name of the data folder is too long");
    return OK;
}

/* The name is synced also if the folder exists: the process that made it may have died before that. */
enum error segment_folder_make(const char *folder, const char *data_folder, struct error_text *why)
{
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return segment_file_problem(why, "make folder", folder);
    return segment_folder_sync(data_folder, why);
}

enum error segment_folder_sync(const char *folder, struct error_text *why)
{
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return segment_file_problem(why, "open folder", folder);
    enum error error = OK;
    if (fsync(descriptor) != 0)
        error = segment_file_problem(why, "sync folder", folder);
    (void)close(descriptor);
    return error;
}

/* Returns the number in the name of a segment file; 0: the name is another's. */
static uint64_t number_of(const char *name)
{
    char expected[NAME_BYTES];
    uint64_t number = strtoull(name, NULL, 10);
    (void)snprintf(expected, sizeof expected, "%0*" PRIu64 ".log", NAME_DIGITS, number);
    return number <= INT64_MAX && strcmp(name, expected) == 0 ? number : 0;
}

static int compare_numbers(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static bool add_number(uint64_t **numbers, size_t *count, size_t *capacity, uint64_t number)
{
    if (*count == *capacity) {
        size_t larger = *capacity == 0 ? 16 : 2 * *capacity;
        uint64_t *moved = realloc(*numbers, larger * sizeof *moved);
        if (moved == NULL)
            return false;
        *numbers = moved;
        *capacity = larger;
    }
    (*numbers)[(*count)++] = number;
    return true;
}

static enum error read_names(DIR *directory, const char *folder, uint64_t **numbers, size_t *count,
                             struct error_text *why)
{
    size_t capacity = 0;
    for (;;) {
        errno = 0;
        const struct dirent *name = readdir(directory);
        if (name == NULL)
            return errno == 0 ? OK : segment_file_problem(why, "read folder", folder);
        uint64_t number = number_of(name->d_name);
        if (number != 0 && !add_number(numbers, count, &capacity, number))
            return error_set(why, ERROR_NO_MEMORY, "read folder %s: out of memory", folder);
    }
}

enum error segment_folder_list(const char *folder, uint64_t **numbers, size_t *count,
                               struct error_text *why)
{
    uint64_t *found = NULL;
    size_t found_count = 0;
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        bool is_missing = errno == ENOENT;
        enum error error = segment_file_problem(why, "open folder", folder);
        return is_missing ? ERROR_NOT_FOUND : error;
    }
    enum error error = read_names(directory, folder, &found, &found_count, why);
    (void)closedir(directory);
    if (error != OK) {
        free(found);
        return error;
    }
    if (found_count > 0)
        qsort(found, found_count, sizeof *found, compare_numbers);
    *numbers = found;
    *count = found_count;
    return OK;
}

/* ---- file ---- */

enum error segment_file_open(struct segment_file *file, const char *folder, uint64_t number,
                             bool is_writable, struct error_text *why)
{
    char path[SEGMENT_PATH_SIZE];
    struct stat found;
    segment_file_name(path, folder, number);
    int descriptor = open(path, (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (descriptor < 0) {
        bool is_missing = errno == ENOENT;
        enum error error = segment_file_problem(why, "open", path);
        return is_missing ? ERROR_NOT_FOUND : error;
    }
    if (fstat(descriptor, &found) != 0) {
        enum error error = segment_file_problem(why, "look at", path);
        (void)close(descriptor);
        return error;
    }
    *file = (struct segment_file){
        .descriptor = descriptor, .number = number, .size = (uint64_t)found.st_size};
    return OK;
}

/* fsync writes the size, which fdatasync of later batches then need not do. */
static enum error fill(const struct segment_file *file, const char *folder, struct error_text *why)
{
    enum error error = segment_file_zero(file, folder, 0, file->size, why);
    if (error == OK && fsync(file->descriptor) != 0)
        error = file_problem(why, "sync", folder, file->number);
    return error == OK ? segment_folder_sync(folder, why) : error;
}

enum error segment_file_create(struct segment_file *file, const char *folder, uint64_t number,
                               uint64_t size, struct error_text *why)
{
    char path[SEGMENT_PATH_SIZE];
    segment_file_name(path, folder, number);
    int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0)
        return segment_file_problem(why, "make", path);
    struct segment_file made = {.descriptor = descriptor, .number = number, .size = size};
    enum error error = fill(&made, folder, why);
    if (error != OK) {
        segment_file_close(&made);
        (void)unlink(path);
        return error;
    }
    *file = made;
    return OK;
}

void segment_file_close(struct segment_file *file)
{
    if (file->descriptor >= 0)
        (void)close(file->descriptor);
    file->descriptor = -1;
}

enum error segment_file_remove(const char *folder, uint64_t number, struct error_text *why)
{
    char path[SEGMENT_PATH_SIZE];
    segment_file_name(path, folder, number);
    if (unlink(path) != 0 && errno != ENOENT)
        return segment_file_problem(why, "remove", path);
    return OK;
}

enum error segment_file_read(const struct segment_file *file, const char *folder, void *bytes,
                             size_t size, uint64_t offset, struct error_text *why)
{
    for (size_t done = 0; done < size;) {
        ssize_t count =
            pread(file->descriptor, (uint8_t *)bytes + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count == 0)
            errno = EIO;
        if (count <= 0)
            return file_problem(why, "read", folder, file->number);
        done += (size_t)count;
    }
    return OK;
}

enum error segment_file_write(const struct segment_file *file, const char *folder,
                              const void *bytes, size_t size, uint64_t offset,
                              struct error_text *why)
{
    for (size_t done = 0; done < size;) {
        ssize_t count = pwrite(file->descriptor, (const uint8_t *)bytes + done, size - done,
                               (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count == 0)
            errno = EIO;
        if (count <= 0)
            return file_problem(why, "write", folder, file->number);
        done += (size_t)count;
    }
    return OK;
}

enum error segment_file_zero(const struct segment_file *file, const char *folder, uint64_t from,
                             uint64_t to, struct error_text *why)
{
    static const uint8_t zeros[CHUNK_BYTES];
    enum error error = OK;
    while (from < to && error == OK) {
        size_t size = to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros;
        error = segment_file_write(file, folder, zeros, size, from, why);
        from += size;
    }
    return error;
}

enum error segment_file_sync(const struct segment_file *file, const char *folder,
                             struct error_text *why)
{
    while (fdatasync(file->descriptor) != 0)
        if (errno != EINTR)
            return file_problem(why, "sync", folder, file->number);
    return OK;
}

enum error segment_file_content_end(const struct segment_file *file, const char *folder,
                                    uint64_t from, uint64_t *end, struct error_text *why)
{
    uint8_t *chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL)
        return error_set(why, ERROR_NO_MEMORY, "read the log: out of memory");
    enum error error = OK;
    *end = from;
    for (uint64_t at = from; at < file->size && error == OK; at += CHUNK_BYTES) {
        size_t size = file->size - at < CHUNK_BYTES ? (size_t)(file->size - at) : CHUNK_BYTES;
        error = segment_file_read(file, folder, chunk, size, at, why);
        while (error == OK && size > 0 && chunk[size - 1] == 0)
            size--;
        if (error == OK && size > 0)
            *end = at + size;
    }
    free(chunk);
    return error;
}
