/* SPDX-License-Identifier: MIT */
#include "commit/crash_note.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATH_SIZE 4200
#define MAGIC UINT64_C(0x4a4b44574e4f5445) /* "JKDWNOTE" */

/* Entries of the log, by the seqs of their deltas. */
struct span {
    uint64_t epoch; /* of the last one */
    uint64_t first_seq;
    uint64_t last_seq;
};

/* The file. */
struct crash_record {
    uint64_t magic;
    uint64_t is_applying; /* 1: the entries of `now` are being applied */
    struct span now;
    uint64_t deaths; /* of processes in a row, at `died` */
    struct span died;
};

struct crash_note {
    struct crash_record *noted;
};

static bool is_within(const struct span *inner, const struct span *outer)
{
    return inner->first_seq >= outer->first_seq && inner->last_seq <= outer->last_seq;
}

static bool is_sound(const struct span *span)
{
    return span->first_seq > 0 && span->first_seq <= span->last_seq;
}

static void count_death(struct crash_record *noted, struct log_position last)
{
    if (noted->magic != MAGIC || noted->deaths > CRASH_NOTE_DEATHS_MAX ||
        (noted->deaths > 0 && !is_sound(&noted->died)))
        *noted = (struct crash_record){.magic = MAGIC};
    if (noted->is_applying == 1 && is_sound(&noted->now)) {
        bool is_again = noted->deaths > 0 && is_within(&noted->now, &noted->died);
        noted->died = noted->now;
        noted->deaths = !is_again                               ? 1
                        : noted->deaths < CRASH_NOTE_DEATHS_MAX ? noted->deaths + 1
                                                                : noted->deaths;
    }
    if (noted->died.last_seq <= last.seq)
        noted->deaths = 0; /* it is in the log: all is well */
    noted->is_applying = 0;
}

static enum error map(const char *path, struct crash_record **out)
{
    static const struct crash_record nothing = {0};
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        return error_from_errno(errno);
    enum error error = OK;
    off_t size = lseek(file, 0, SEEK_END);
    /* Written, not only lengthened: a full disk must show here, and not at the first store. */
    if (size != (off_t)sizeof nothing &&
        (ftruncate(file, 0) != 0 ||
         pwrite(file, &nothing, sizeof nothing, 0) != (ssize_t)sizeof nothing))
        error = error_from_errno(errno != 0 ? errno : ENOSPC);
    void *memory = error != OK
                       ? MAP_FAILED
                       : mmap(NULL, sizeof nothing, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (error == OK && memory == MAP_FAILED)
        error = error_from_errno(errno);
    (void)close(file);
    *out = memory;
    return error;
}

enum error crash_note_open(struct crash_note **out, const char *folder, const char *name,
                           struct log_position last, struct error_text *why)
{
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(why, ERROR_INVALID, "the data folder's name is too long");
    struct crash_note *note = calloc(1, sizeof *note);
    if (note == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    enum error error = map(path, &note->noted);
    if (error != OK) {
        free(note);
        return error_set(why, error, "open %s: %s", path, error_name(error));
    }
    count_death(note->noted, last);
    *out = note;
    return OK;
}

void crash_note_close(struct crash_note *note)
{
    if (note == NULL)
        return;
    (void)munmap(note->noted, sizeof *note->noted);
    free(note);
}

void crash_note_begin(struct crash_note *note, struct log_position last, uint64_t first_seq)
{
    note->noted->now =
        (struct span){.epoch = last.epoch, .first_seq = first_seq, .last_seq = last.seq};
    note->noted->is_applying = 1;
}

void crash_note_end(struct crash_note *note)
{
    note->noted->is_applying = 0;
}

bool crash_note_covers(const struct crash_note *note, uint64_t seq)
{
    const struct span *died = &note->noted->died;
    return note->noted->deaths > 0 && seq >= died->first_seq && seq <= died->last_seq;
}

bool crash_note_poison(const struct crash_note *note, struct log_position *at)
{
    const struct crash_record *noted = note->noted;
    *at = (struct log_position){.epoch = noted->died.epoch, .seq = noted->died.last_seq};
    return noted->deaths >= CRASH_NOTE_DEATHS_MAX;
}
