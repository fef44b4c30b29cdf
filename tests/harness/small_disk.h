/* SPDX-License-Identifier: MIT */
/* small_disk.h - a file system in memory that can be filled to the last byte, seen by this test and
 * its processes only. The stage unmounts it. One thread. */
#ifndef JACKDAW_TESTS_SMALL_DISK_H
#define JACKDAW_TESTS_SMALL_DISK_H

#include "harness/process.h"

/* Its folder, "disk" of the stage, with so many megabytes; NULL where nothing can be mounted: errno
 * tells why. One for each stage. */
const char *small_disk_mount(struct process_group *group, unsigned megabytes);

/* Leaves not a byte; gives back what that took. */
void small_disk_fill(struct process_group *group, const char *folder);
void small_disk_make_room(struct process_group *group, const char *folder);

#endif
