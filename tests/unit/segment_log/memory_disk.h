/* SPDX-License-Identifier: MIT */
/* memory_disk.h - a disk in memory in place of the calls of the system that src/segment_log makes
 * (-Wl,--wrap), with faults by count, kills and power failures.
 *
 * It has the folder MEMORY_DISK, and folders and files in it. Written bytes are in the page cache until
 * fsync or fdatasync; names until fsync of their folder. A failed sync forgets which pages are dirty,
 * as Linux does. All functions fail the test if the code under test misuses a call. One thread. */
#ifndef JACKDAW_TESTS_UNIT_SEGMENT_LOG_MEMORY_DISK_H
#define JACKDAW_TESTS_UNIT_SEGMENT_LOG_MEMORY_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_DISK "/disk"
#define MEMORY_SECTOR 512u

enum memory_fault {
    MEMORY_FAULT_NONE,
    MEMORY_FAULT_ONCE,    /* the k-th call fails; a failed pwrite may have written all the same */
    MEMORY_FAULT_LASTING, /* the k-th and all after it */
    MEMORY_FAULT_DEAD, /* the same, without any effect: the process has ended; half of a pwrite is done */
    MEMORY_FAULT_INTERRUPT, /* the k-th call of those that can be short or interrupted is */
};

/* An empty disk without faults and limits. */
void memory_disk_reset(void);
void memory_disk_release(void);

/* Counts calls from 1 again. number: the errno of those that fail. */
void memory_disk_arm(enum memory_fault fault, uint64_t k, int number);
/* Only calls of this name count ("pwrite"); NULL: all. Stays until memory_disk_reset. */
void memory_disk_watch(const char *name);
uint64_t memory_disk_calls(void);           /* since it was armed */
bool memory_disk_has_failed(void);          /* since it was armed */
void memory_disk_set_space(uint64_t bytes); /* of all files; UINT64_MAX: no limit */
/* Syncs return OK all the same, but do what failed ones do. */
void memory_disk_lie(bool lies);

/* The process ends: descriptors are closed, faults are off. The page cache stays. */
void memory_disk_kill(void);
/* The machine ends. Each sector that is not synced is old, new or a mix, by the seed; 0: all old; 1:
 * all new. So are names. */
void memory_disk_lose_power(uint64_t seed);

/* The bytes of a file, which the caller may change; NULL: there is none. */
uint8_t *memory_disk_bytes(const char *path, size_t *size);
void memory_disk_truncate(const char *path, size_t size);
void memory_disk_write(const char *path, const void *bytes, size_t size); /* makes or replaces it */
void memory_disk_remove(const char *path);
size_t memory_disk_files(void);
size_t memory_disk_open_files(void); /* descriptors */

/* The whole disk, as it is now. */
struct memory_image;
struct memory_image *memory_disk_save(void); /* also makes all of it durable */
void memory_disk_load(
    const struct memory_image *image);                 /* descriptors are closed, faults are off */
bool memory_disk_is(const struct memory_image *image); /* same names and bytes */
void memory_image_free(struct memory_image *image);

#endif
