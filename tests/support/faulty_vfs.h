/* SPDX-License-Identifier: MIT */
/* faulty_vfs.h - a disk that fails on demand: a SQLite VFS around the system's.
 *
 * It counts the operations that change files (write, truncate, sync) and makes the k-th of them
 * fail, alone or with all that follow. A sync that fails loses the writes before it: no later sync brings
 * them to the disk. It also knows what of each file has been synced, so that
 * after a pretended power failure the files can be put into a state that a real one might have
 * left. Files are never really synced: tests are about order, not about the machine's disk.
 *
 * One per process, one thread. Only files that SQLite opens by name are watched. */
#ifndef JACKDAW_TESTS_SUPPORT_FAULTY_VFS_H
#define JACKDAW_TESTS_SUPPORT_FAULTY_VFS_H

#include <stdbool.h>
#include <stdint.h>

enum faulty_kind {
    FAULTY_NONE,
    FAULTY_IO,    /* the operation fails with an input/output error */
    FAULTY_FULL,  /* writes fail because the disk is full; the rest with input/output errors */
    FAULTY_POWER, /* as FAULTY_IO for good: from there on nothing reaches the disk */
};

/* Makes this VFS the default one. Once per process, before the first database is opened. */
void faulty_vfs_install(void);

/* Forgets faults, counts and what is known of files. No database may be open. */
void faulty_vfs_reset(void);

/* The k-th changing operation from now on fails (k from 1), with all after it when lasting. */
void faulty_vfs_fail(enum faulty_kind kind, uint64_t k, bool lasting);

/* Whether a fault has happened since faulty_vfs_fail, and how many operations were counted. */
bool faulty_vfs_has_failed(void);
uint64_t faulty_vfs_count(void);

/* How many reads there were since the process began; each of at most a page. */
uint64_t faulty_vfs_reads(void);

/* What the power failure left: every watched file becomes what was last synced of it, and if seed
 * is not 0 each later write also arrived or did not, or arrived in part, by chance. Databases must
 * be closed. */
void faulty_vfs_lose_power(uint64_t seed);

#endif
