/* SPDX-License-Identifier: MIT */
/* faulty_calls.h - system calls that fail on demand, in this program and in its libraries.
 *
 * Linked into a test, this takes the place of the C library's calls that change files and folders:
 * pwrite, ftruncate, fsync, fdatasync, unlink, rename, link. It counts them, makes the k-th fail or
 * end the process, and can write down what they did. Nothing is ever really synced: tests are about
 * order, not about the machine's disk. One thread. */
#ifndef JACKDAW_TESTS_SUPPORT_FAULTY_CALLS_H
#define JACKDAW_TESTS_SUPPORT_FAULTY_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#define FAULTY_CALLS_EXIT 99 /* the status of a process that was ended */

enum faulty_calls {
    FAULTY_CALLS_NONE,
    FAULTY_CALLS_FAIL_ONCE,
    FAULTY_CALLS_FAIL, /* the k-th and all after it */
    FAULTY_CALLS_DIE,  /* instead of the k-th call; of a write, one half is done */
};

/* The k-th call from now on (k from 1). number: the errno of those that fail. */
void faulty_calls_arm(enum faulty_calls kind, uint64_t k, int number);
/* link fails with this errno, as on file systems without hard links, and is not counted; 0: it works. */
void faulty_calls_refuse_links(int number);
bool faulty_calls_have_failed(void);

/* Calls see every call that succeeds from now on; NULL: no more. name: the call's; path: what it
 * was about; other: the second path of rename and link, else "". */
typedef void faulty_calls_watcher(void *context, const char *name, const char *path,
                                  const char *other);
void faulty_calls_watch(faulty_calls_watcher *watcher, void *context);

#endif
