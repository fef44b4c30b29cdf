/* SPDX-License-Identifier: MIT */
/* The file that a client keeps: cut at every byte, damaged at every byte, with every call that fails
 * or is the last of the process. */
#include "client/state_file.h"
#include "support/faulty_calls.h"
#include "support/folder.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 12u

struct fixture {
    char *folder;
    char path[512];
    unsigned seen; /* records, each as it should be */
    struct error_text why;
};

static void begin(struct fixture *f)
{
    f->folder = folder_new();
    (void)snprintf(f->path, sizeof f->path, "%s/bot.state", f->folder);
}

static void end(struct fixture *f)
{
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    folder_remove(f->folder);
}

/* Record i has 7 * i bytes, all of them i. */
static void make_record(unsigned i, uint8_t *out, size_t *size)
{
    *size = (size_t)7 * i;
    memset(out, (int)i, *size);
}

static enum error visit(void *context, const void *payload, size_t size)
{
    struct fixture *f = context;
    uint8_t expected[4096];
    size_t expected_size;
    make_record(f->seen++, expected, &expected_size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(payload, expected, size);
    return OK;
}

static enum error open_file(struct fixture *f, struct state_file **out)
{
    f->seen = 0;
    return state_file_open(out, f->path, visit, f, &f->why);
}

static struct state_file *open_well(struct fixture *f)
{
    struct state_file *file;
    assert_int_equal(open_file(f, &file), OK);
    return file;
}

/* The file opens, and has so many records. */
static void check_holds(struct fixture *f, unsigned records)
{
    state_file_close(open_well(f));
    assert_int_equal(f->seen, records);
}

static void add_records(struct state_file *file, unsigned from, unsigned to)
{
    uint8_t bytes[4096];
    size_t size;
    for (unsigned i = from; i < to; i++) {
        make_record(i, bytes, &size);
        state_file_add(file, bytes, size);
    }
}

static uint8_t *read_all(const char *path, size_t *size)
{
    uint8_t *bytes = malloc(1 << 20);
    FILE *file = fopen(path, "rb");
    assert_true(bytes != NULL && file != NULL);
    *size = fread(bytes, 1, 1 << 20, file);
    (void)fclose(file);
    return bytes;
}

static void write_all(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void assert_content(const char *path, const uint8_t *bytes, size_t size)
{
    size_t found_size;
    uint8_t *found = read_all(path, &found_size);
    assert_int_equal(found_size, size);
    assert_memory_equal(found, bytes, size);
    free(found);
}

/* A file with all records; its bytes are the caller's. */
static uint8_t *make_file(struct fixture *f, size_t *size)
{
    struct state_file *file = open_well(f);
    add_records(file, 0, RECORDS);
    assert_true(state_file_sync(file));
    state_file_close(file);
    return read_all(f->path, size);
}

TEST_F(test_open__is_private_and_keeps_what_was_added)
{
    struct stat found;
    size_t size;
    (void)umask(0);
    free(make_file(f, &size));
    assert_int_equal(stat(f->path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    struct state_file *file = open_well(f);
    assert_int_equal(f->seen, RECORDS);
    assert_int_equal(state_file_size(file), size);
    state_file_close(file);
}

TEST_F(test_open__one_at_a_time)
{
    struct state_file *file, *other;
    assert_int_equal(open_file(f, &file), OK);
    assert_int_equal(open_file(f, &other), ERROR_IN_USE);
    assert_non_null(strstr(f->why.text, "in use by another client"));
    state_file_begin_rewrite(file); /* the name is another file then, and still held */
    state_file_end_rewrite(file);
    assert_int_equal(open_file(f, &other), ERROR_IN_USE);
    state_file_close(file);
    assert_int_equal(open_file(f, &other), OK);
    state_file_close(other);
}

/* Any prefix is what a kill may leave; what is added after it is found. */
TEST_F(test_open__cut_at_every_byte)
{
    struct state_file *file;
    size_t size;
    uint8_t *bytes = make_file(f, &size);
    unsigned most = 0;
    for (size_t cut = 0; cut <= size; cut++) {
        write_all(f->path, bytes, cut);
        enum error error = open_file(f, &file);
        if (cut < strlen(STATE_FILE_MAGIC)) {
            assert_int_equal(error, ERROR_CORRUPT);
            assert_content(f->path, bytes, cut);
            continue;
        }
        assert_int_equal(error, OK);
        unsigned seen = f->seen;
        assert_true(seen == most || seen == most + 1);
        most = seen;
        add_records(file, seen, seen + 2);
        state_file_close(file);
        check_holds(f, seen + 2);
    }
    assert_int_equal(most, RECORDS);
    free(bytes);
}

/* What was written and then changed is refused, and left as it is. */
TEST_F(test_open__damaged_at_every_byte)
{
    struct state_file *file;
    size_t size;
    uint8_t *bytes = make_file(f, &size);
    for (size_t at = 0; at < size; at++) {
        bytes[at] ^= 0x41;
        write_all(f->path, bytes, size);
        enum error error = open_file(f, &file);
        assert_true(error == ERROR_CORRUPT || error == ERROR_VERSION);
        assert_non_null(strstr(f->why.text, f->path));
        assert_content(f->path, bytes, size);
        bytes[at] ^= 0x41;
    }
    free(bytes);
}

/* A machine without power can leave space that was never filled. */
TEST_F(test_open__zeros_at_the_end)
{
    size_t size;
    free(make_file(f, &size));
    assert_int_equal(truncate(f->path, (off_t)size + 5000), 0);
    check_holds(f, RECORDS);
}

TEST_F(test_open__refused)
{
    struct state_file *file;
    size_t size;
    free(make_file(f, &size));
    assert_int_equal(chmod(f->path, 0640), 0);
    assert_int_equal(open_file(f, &file), ERROR_DENIED);
    assert_non_null(strstr(f->why.text, "chmod 600"));
    assert_int_equal(chmod(f->path, 0600), 0);
    assert_int_equal(truncate(f->path, (off_t)STATE_FILE_BYTES_MAX + 1), 0);
    assert_int_equal(open_file(f, &file), ERROR_TOO_LARGE);
    write_all(f->path, (const uint8_t *)"jackdaw client state 2\n", 23);
    assert_int_equal(open_file(f, &file), ERROR_VERSION);
    write_all(f->path, (const uint8_t *)"", 0);
    assert_int_equal(open_file(f, &file), ERROR_CORRUPT);
    assert_non_null(strstr(f->why.text, "is empty"));
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(open_file(f, &file), ERROR_DENIED);
}

static enum error refuse(void *context, const void *payload, size_t size)
{
    (void)context, (void)payload, (void)size;
    return ERROR_CORRUPT;
}

TEST_F(test_open__a_record_that_makes_no_sense)
{
    struct state_file *file;
    size_t size;
    uint8_t *bytes = make_file(f, &size);
    assert_int_equal(state_file_open(&file, f->path, refuse, NULL, &f->why), ERROR_CORRUPT);
    assert_content(f->path, bytes, size);
    free(bytes);
}

TEST_F(test_rewrite__is_all_there_is)
{
    uint8_t *large = calloc(1, STATE_FILE_RECORD_MAX);
    assert_non_null(large);
    struct state_file *file = open_well(f);
    assert_false(state_file_is_long(file));
    state_file_add(file, large, STATE_FILE_RECORD_MAX);
    state_file_flush(file);
    assert_true(state_file_is_long(file));
    state_file_begin_rewrite(file);
    add_records(file, 0, RECORDS);
    state_file_end_rewrite(file);
    assert_false(state_file_is_long(file));
    assert_true(state_file_size(file) < 4096);
    add_records(file, RECORDS, RECORDS + 3);
    state_file_close(file);
    check_holds(f, RECORDS + 3);
    free(large);
}

/* It has a bound, and says so. */
TEST_F(test_flush__full)
{
    uint8_t *large = calloc(1, STATE_FILE_RECORD_MAX);
    assert_non_null(large);
    struct state_file *file = open_well(f);
    while (state_file_problem(file) == NULL) {
        state_file_add(file, large, STATE_FILE_RECORD_MAX);
        state_file_flush(file);
    }
    assert_in_range(state_file_size(file), STATE_FILE_BYTES_MAX - 2 * STATE_FILE_RECORD_MAX,
                    STATE_FILE_BYTES_MAX);
    assert_non_null(strstr(state_file_problem(file), "File too large"));
    assert_false(state_file_sync(file));
    state_file_close(file);
    free(large);
}

/* Adds all records in steps, with a rewrite in the middle; *synced: how many are said to be safe. */
static void work(struct fixture *f, volatile unsigned *synced)
{
    struct state_file *file;
    if (open_file(f, &file) != OK)
        return;
    for (unsigned i = 0; i < RECORDS; i += 2) {
        if (i == 6) {
            state_file_begin_rewrite(file);
            add_records(file, 0, i);
            state_file_end_rewrite(file);
        }
        add_records(file, i, i + 2);
        if (state_file_sync(file))
            *synced = i + 2;
    }
    assert_true(state_file_problem(file) != NULL || *synced == RECORDS);
    state_file_close(file);
}

/* What was safe before a failure is there after it, and never a record out of its order. */
static void check_after(struct fixture *f, unsigned synced)
{
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    struct state_file *file = open_well(f);
    assert_in_range(f->seen, synced, RECORDS);
    state_file_close(file);
    (void)unlink(f->path);
}

TEST_F(test_calls__each_fails)
{
    static const enum faulty_calls kinds[] = {FAULTY_CALLS_FAIL_ONCE, FAULTY_CALLS_FAIL};
    for (size_t kind = 0; kind < 2; kind++) {
        unsigned failures = 0;
        for (uint64_t k = 1;; k++) {
            unsigned synced = 0;
            faulty_calls_arm(kinds[kind], k, ENOSPC);
            work(f, &synced);
            bool failed = faulty_calls_have_failed();
            check_after(f, synced);
            if (!failed)
                break;
            failures++;
        }
        assert_in_range(failures, 15, 100);
    }
}

TEST_F(test_calls__each_is_the_last)
{
    unsigned deaths = 0;
    volatile unsigned *synced =
        mmap(NULL, sizeof *synced, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(synced != MAP_FAILED);
    for (uint64_t k = 1;; k++) {
        int status;
        *synced = 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            faulty_calls_arm(FAULTY_CALLS_DIE, k, 0);
            work(f, synced);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        check_after(f, *synced);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 0)
            break;
        assert_int_equal(WEXITSTATUS(status), FAULTY_CALLS_EXIT);
        deaths++;
    }
    assert_in_range(deaths, 15, 100);
    (void)munmap((void *)synced, sizeof *synced);
}
