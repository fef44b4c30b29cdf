/* SPDX-License-Identifier: MIT */
/* hung_disk.c - loaded before the C library (LD_PRELOAD): a disk that hangs when somebody says so.
 *
 * The file named in JACKDAW_TEST_HUNG_DISK holds an int32_t. While that is not 0, fsync and
 * fdatasync do not return, as on a disk that has stopped answering; when it is 0 again, they go on.
 * Whoever decides maps the file and writes. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS 1000000

static const volatile int32_t *hangs;
static int (*real_fsync)(int file);
static int (*real_fdatasync)(int file);

__attribute__((constructor)) static void load(void)
{
    *(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("JACKDAW_TEST_HUNG_DISK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *memory = mmap(NULL, sizeof *hangs, PROT_READ, MAP_SHARED, file, 0);
    (void)close(file);
    if (memory != MAP_FAILED)
        hangs = memory;
}

static void wait_for_disk(void)
{
    while (hangs != NULL && *hangs != 0)
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
}

int fsync(int file)
{
    wait_for_disk();
    return real_fsync(file);
}

int fdatasync(int file)
{
    wait_for_disk();
    return real_fdatasync(file);
}
