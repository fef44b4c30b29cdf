/* SPDX-License-Identifier: MIT */
#include "harness/small_disk.h"

#include "support/test.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void ballast_path(const char *folder, char path[static PROCESS_GROUP_PATH_SIZE])
{
    (void)snprintf(path, PROCESS_GROUP_PATH_SIZE, "%s/ballast", folder);
}

static void unmount(void *folder)
{
    (void)umount2(folder, MNT_DETACH);
}

const char *small_disk_mount(struct process_group *group, unsigned megabytes)
{
    char options[32];
    const char *folder = process_group_path(group, "disk");
    (void)snprintf(options, sizeof options, "size=%um", megabytes);
    if (mkdir(folder, 0700) != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("jackdaw", folder, "tmpfs", 0, options) != 0)
        return NULL;
    process_group_defer(group, unmount, (void *)folder);
    return folder;
}

void small_disk_fill(struct process_group *group, const char *folder)
{
    char path[PROCESS_GROUP_PATH_SIZE];
    static const char zeros[65536];
    ballast_path(folder, path);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    for (size_t size = sizeof zeros; size > 0;) {
        ssize_t wrote = write(file, zeros, size);
        if (wrote <= 0)
            size /= 2;
    }
    (void)close(file);
    process_group_note(group, "the disk is full");
}

void small_disk_make_room(struct process_group *group, const char *folder)
{
    char path[PROCESS_GROUP_PATH_SIZE];
    ballast_path(folder, path);
    assert_int_equal(unlink(path), 0);
    process_group_note(group, "the disk has room");
}
