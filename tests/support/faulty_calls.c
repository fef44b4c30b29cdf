/* SPDX-License-Identifier: MIT */
#include "support/faulty_calls.h"

#include "base/error.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static struct {
    enum faulty_calls kind;
    uint64_t fail_at;
    uint64_t count;
    int number;
    bool has_failed;
    int link_number;
    faulty_calls_watcher *watcher;
    void *context;
} calls;

void faulty_calls_arm(enum faulty_calls kind, uint64_t k, int number)
{
    calls.kind = kind;
    calls.fail_at = k;
    calls.count = 0;
    calls.number = number;
    calls.has_failed = false;
}

void faulty_calls_refuse_links(int number)
{
    calls.link_number = number;
}

bool faulty_calls_have_failed(void)
{
    return calls.has_failed;
}

void faulty_calls_watch(faulty_calls_watcher *watcher, void *context)
{
    calls.watcher = watcher;
    calls.context = context;
}

static bool is_turn(void)
{
    calls.count++;
    return calls.kind != FAULTY_CALLS_NONE &&
           (calls.count == calls.fail_at ||
            (calls.kind == FAULTY_CALLS_FAIL && calls.count > calls.fail_at));
}

/* Whether this call fails; errno is set then. */
static bool fails(void)
{
    if (!is_turn())
        return false;
    if (calls.kind == FAULTY_CALLS_DIE)
        _exit(FAULTY_CALLS_EXIT);
    calls.has_failed = true;
    errno = calls.number;
    return true;
}

static int tell(int result, const char *name, const char *path, const char *other)
{
    if (result == 0 && calls.watcher != NULL)
        calls.watcher(calls.context, name, path, other);
    return result;
}

static int tell_of(int result, const char *name, int descriptor)
{
    if (calls.watcher == NULL)
        return result;
    char link_name[64], path[4096];
    (void)snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link_name, path, sizeof path - 1);
    ASSERT(size > 0);
    path[size] = '\0';
    return tell(result, name, path, "");
}

static void *find(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    ASSERT(found != NULL);
    return found;
}

static ssize_t real_pwrite(int descriptor, const void *bytes, size_t size, off_t offset)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (real == NULL)
        *(void **)&real = find("pwrite");
    return real(descriptor, bytes, size, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset)
{
    if (calls.kind == FAULTY_CALLS_DIE && calls.count + 1 == calls.fail_at)
        (void)real_pwrite(descriptor, bytes, size / 2, offset);
    if (fails())
        return -1;
    ssize_t written = real_pwrite(descriptor, bytes, size, offset);
    (void)tell_of(written < 0 ? -1 : 0, "write", descriptor);
    return written;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off_t offset)
{
    return pwrite(descriptor, bytes, size, offset);
}

int ftruncate(int descriptor, off_t size)
{
    static int (*real)(int, off_t);
    if (real == NULL)
        *(void **)&real = find("ftruncate");
    return fails() ? -1 : tell_of(real(descriptor, size), "write", descriptor);
}

int ftruncate64(int descriptor, off_t size)
{
    return ftruncate(descriptor, size);
}

int fsync(int descriptor)
{
    return fails() ? -1 : tell_of(0, "sync", descriptor);
}

int fdatasync(int descriptor)
{
    return fails() ? -1 : tell_of(0, "sync", descriptor);
}

int unlink(const char *path)
{
    static int (*real)(const char *);
    if (real == NULL)
        *(void **)&real = find("unlink");
    return fails() ? -1 : tell(real(path), "unlink", path, "");
}

int rename(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);
    if (real == NULL)
        *(void **)&real = find("rename");
    return fails() ? -1 : tell(real(from, to), "rename", from, to);
}

int link(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);
    if (real == NULL)
        *(void **)&real = find("link");
    if (calls.link_number != 0) {
        errno = calls.link_number;
        return -1;
    }
    return fails() ? -1 : tell(real(from, to), "link", from, to);
}
