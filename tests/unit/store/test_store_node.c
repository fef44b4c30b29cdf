/* SPDX-License-Identifier: MIT */
/* The file of the node: whatever byte is lost, whatever call fails and whenever the power fails, an
 * acknowledged promise is there, or the file is refused. */
#include "store/store_internal.h"

#include "support/faulty_calls.h"
#include "support/test.h"
#include "test_store_support.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOT NODE_FILE_SLOT_BYTES
#define SIZE (2 * SLOT)
#define RECORD 72 /* bytes of a slot that are not zeros */
#define SECTOR 512

struct image {
    uint8_t bytes[SIZE];
};

struct fixture {
    char folder[TEST_PATH_SIZE];
    char path[TEST_PATH_SIZE]; /* of the file */
    struct node_file node;     /* open from begin_open on */
};

static void begin(struct fixture *f)
{
    make_folder(f->folder);
    join_path(f->path, f->folder, NODE_FILE_NAME);
    f->node.descriptor = -1;
}

static enum error open_node(struct fixture *f, struct error_text *why)
{
    why->text[0] = '\0';
    return node_file_open(&f->node, f->path, TEST_NODE, true, why);
}

static void reopen(struct fixture *f)
{
    struct error_text why;
    node_file_close(&f->node);
    if (open_node(f, &why) != OK)
        fail_msg("%s", why.text);
}

static void begin_open(struct fixture *f)
{
    begin(f);
    reopen(f);
}

static void end(struct fixture *f)
{
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    faulty_calls_watch(NULL, NULL);
    node_file_close(&f->node);
    remove_folder(f->folder);
}

#define NODE_TEST(name) TEST_ON(name, struct fixture, begin_open, end)

static void set(struct fixture *f, uint64_t promised)
{
    struct error_text why;
    if (node_file_set(&f->node, promised, &why) != OK)
        fail_msg("%s", why.text);
}

static struct image read_image(const char *path)
{
    struct image image;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(descriptor >= 0);
    assert_int_equal(read(descriptor, image.bytes, SIZE), SIZE);
    assert_int_equal(close(descriptor), 0);
    return image;
}

/* Unlike pwrite, fwrite never fails on purpose. */
static void write_image(const char *path, const struct image *image, size_t size)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(image->bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The result of opening such a file; *promised on OK. */
static enum error open_image(struct fixture *f, const struct image *image, uint64_t *promised)
{
    struct error_text why;
    write_image(f->path, image, SIZE);
    node_file_close(&f->node);
    enum error error = open_node(f, &why);
    if (error == OK)
        *promised = f->node.promised;
    else if (error == ERROR_CORRUPT)
        assert_non_null(strstr(why.text, "keep the data folder"));
    return error;
}

static bool is_same(const void *left, const void *right, size_t size)
{
    return memcmp(left, right, size) == 0;
}

NODE_TEST(test_node__has_each_record_twice)
{
    struct stat status;
    assert_int_equal(stat(f->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(status.st_size, SIZE);
    for (uint64_t promised = 0; promised < 5; promised++) {
        struct image image = read_image(f->path);
        assert_true(is_same(image.bytes, image.bytes + SLOT, SLOT));
        set(f, promised + 1);
        if (promised % 2 == 0)
            reopen(f);
        assert_int_equal(f->node.promised, promised + 1);
    }
}

/* The format: another program reads it so. */
TEST_F(test_node__format)
{
    static const uint8_t start[40] = {'J',      'K',      'D', 'W', 'N', 'O', 'D', 'E', 1, [16] = 2,
                                      [24] = 7, [32] = 8, 7,   6,   5,   4,   3,   2,   1};
    static const uint8_t zeros[SLOT];
    reopen(f);
    set(f, 1);
    set(f, UINT64_C(0x0102030405060708));
    struct image image = read_image(f->path);
    assert_memory_equal(image.bytes, start, sizeof start);
    assert_memory_equal(image.bytes + RECORD, zeros, SLOT - RECORD);
    assert_memory_equal(image.bytes + SLOT, image.bytes, SLOT);
}

NODE_TEST(test_node__one_byte_is_damaged)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    set(f, 70);
    set(f, 90);
    const struct image whole = read_image(f->path);
    for (size_t at = 0; at < SIZE; at += at % SLOT < RECORD ? 1 : 97) {
        for (size_t i = 0; i < sizeof changes; i++) {
            struct image image = whole;
            uint64_t promised = 0;
            image.bytes[at] ^= changes[i];
            assert_int_equal(open_image(f, &image, &promised), OK);
            assert_int_equal(promised, 90);
            image = read_image(f->path); /* it is repaired */
            assert_memory_equal(image.bytes, whole.bytes, RECORD);
            assert_memory_equal(image.bytes + SLOT, whole.bytes + SLOT, RECORD);
        }
    }
}

/* Even if both slots are damaged, none of the two is taken for less than it was. */
NODE_TEST(test_node__one_byte_of_each_slot_is_damaged)
{
    set(f, 90);
    const struct image whole = read_image(f->path);
    for (size_t at = 0; at < RECORD; at++) {
        struct image image = whole;
        uint64_t promised;
        image.bytes[at] ^= 0x10;
        image.bytes[SLOT + (at + 31) % RECORD] ^= 0x10;
        assert_int_equal(open_image(f, &image, &promised), ERROR_CORRUPT);
        struct image after = read_image(f->path); /* refusing changes nothing */
        assert_memory_equal(after.bytes, image.bytes, SIZE);
    }
}

NODE_TEST(test_node__is_cut_off)
{
    set(f, 90);
    const struct image whole = read_image(f->path);
    for (size_t size = 0; size < SIZE; size += 61) {
        struct error_text why;
        node_file_close(&f->node);
        write_image(f->path, &whole, size);
        assert_int_equal(open_node(f, &why), size >= RECORD ? OK : ERROR_CORRUPT);
        assert_int_equal(f->node.promised, size >= RECORD ? 90 : 0);
    }
}

/* The other slot is of an earlier record: that of a change which never ended. */
NODE_TEST(test_node__higher_generation_counts)
{
    set(f, 90);
    struct image image = read_image(f->path);
    set(f, 0); /* a reset lowers it */
    struct image later = read_image(f->path);
    for (size_t i = 0; i < 2; i++) {
        struct image mixed = image;
        uint64_t promised = 1;
        memcpy(mixed.bytes + i * SLOT, later.bytes, SLOT);
        assert_int_equal(open_image(f, &mixed, &promised), OK);
        assert_int_equal(promised, 0);
    }
}

static void sign(struct image *image)
{
    for (size_t i = 0; i < 2; i++)
        (void)crypto_generichash(image->bytes + i * SLOT + 40, 32, image->bytes + i * SLOT, 40,
                                 NULL, 0);
}

NODE_TEST(test_node__of_another_version_or_node)
{
    uint64_t promised;
    struct image image = read_image(f->path);
    image.bytes[8] = image.bytes[SLOT + 8] = 2;
    assert_int_equal(open_image(f, &image, &promised), ERROR_CORRUPT);
    sign(&image);
    assert_int_equal(open_image(f, &image, &promised), ERROR_VERSION);
    image.bytes[8] = image.bytes[SLOT + 8] = 1;
    image.bytes[25] = image.bytes[SLOT + 25] = 1;
    sign(&image);
    assert_int_equal(open_image(f, &image, &promised), ERROR_MISMATCH);
    image.bytes[25] = image.bytes[SLOT + 25] = 0;
    sign(&image);
    assert_int_equal(open_image(f, &image, &promised), OK);
}

TEST_F(test_node__may_not_be_made)
{
    struct error_text why;
    assert_int_equal(node_file_open(&f->node, f->path, TEST_NODE, false, &why), ERROR_CORRUPT);
    assert_non_null(strstr(why.text, "keep the data folder"));
    assert_false(file_exists(f->path));
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(open_node(f, &why), ERROR_IO);
    assert_non_null(strstr(why.text, f->path));
    assert_int_equal(rmdir(f->path), 0);
}

/* ---- calls that fail ---- */

static bool is_expected(enum error error, int number)
{
    return error == ERROR_IO || (number == ENOSPC && error == ERROR_DISK_FULL);
}

/* Makes the file, and raises the promise twice; whether a call failed. */
static bool try_fault(struct fixture *f, enum faulty_calls kind, uint64_t k, int number)
{
    struct error_text why;
    uint64_t acked = 0;
    uint64_t tried = 0;
    node_file_close(&f->node);
    (void)unlink(f->path);
    faulty_calls_arm(kind, k, number);
    enum error error = open_node(f, &why);
    if (error != OK)
        assert_true(is_expected(error, number) && why.text[0] != '\0');
    for (uint64_t promised = 5; promised <= 6 && error == OK; promised++) {
        tried = promised;
        error = node_file_set(&f->node, promised, &why);
        assert_true(error == OK || is_expected(error, number));
        acked = error == OK ? promised : acked;
        assert_int_equal(f->node.promised, acked);
    }
    bool has_failed = faulty_calls_have_failed();
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    if (error != OK && f->node.descriptor >= 0) { /* the next change repairs it */
        set(f, 7);
        acked = tried = 7;
    }
    reopen(f);
    assert_in_range(f->node.promised, acked, tried);
    return has_failed;
}

static void every_fault(struct fixture *f, enum faulty_calls kind, int number)
{
    uint64_t k = 1;
    while (try_fault(f, kind, k, number))
        k++;
    assert_true(k > 10);
}

TEST_F(test_node__one_call_fails)
{
    every_fault(f, FAULTY_CALLS_FAIL_ONCE, EIO);
    every_fault(f, FAULTY_CALLS_FAIL_ONCE, ENOSPC);
}

TEST_F(test_node__calls_go_on_failing)
{
    every_fault(f, FAULTY_CALLS_FAIL, EIO);
    every_fault(f, FAULTY_CALLS_FAIL, ENOSPC);
}

static _Noreturn void promise_and_die(struct fixture *f, int reports, uint64_t k)
{
    struct error_text why;
    faulty_calls_arm(FAULTY_CALLS_DIE, k, 0);
    if (open_node(f, &why) != OK)
        _exit(2);
    for (uint64_t promised = 5; promised <= 7; promised++)
        if (node_file_set(&f->node, promised, &why) != OK ||
            write(reports, &promised, sizeof promised) != sizeof promised)
            _exit(3);
    _exit(0);
}

static bool try_death(struct fixture *f, uint64_t k)
{
    int reports[2];
    uint64_t acked = 0;
    (void)unlink(f->path);
    assert_int_equal(pipe2(reports, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        promise_and_die(f, reports[1], k);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(close(reports[1]), 0);
    while (read(reports[0], &acked, sizeof acked) == sizeof acked)
        continue;
    assert_int_equal(close(reports[0]), 0);
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FAULTY_CALLS_EXIT);
    assert_true(WEXITSTATUS(status) == 0 || acked < 7 || file_exists(f->path));
    reopen(f);
    assert_in_range(f->node.promised, acked, acked < 5 ? 5 : acked + 1);
    node_file_close(&f->node);
    return WEXITSTATUS(status) == FAULTY_CALLS_EXIT;
}

TEST_F(test_node__process_dies)
{
    uint64_t k = 1;
    while (try_death(f, k))
        k++;
    assert_true(k > 10);
}

/* ---- the power fails ---- */

#define VERSIONS 8

/* A disk holds of each slot the last synced write, or any later one, each whole or torn. */
struct power {
    struct fixture *f;
    struct image versions[VERSIONS]; /* the first one is synced */
    size_t count;
    bool is_named; /* the name of the file is durable */
    bool has_name;
    bool is_new_dirty; /* what gets the name */
    uint64_t acked;
    uint64_t tried;
    size_t syncs;
    size_t states; /* looked at */
};

/* The next state of a slot, with place from 0 on; false: there are no more. */
static bool take_state(const struct power *power, size_t slot, size_t place, uint8_t *out)
{
    size_t tears = SLOT / SECTOR + 4;
    size_t version = (place + tears - 1) / tears;
    size_t tear = version == 0 ? 0 : (place - 1) % tears;
    if (version >= power->count)
        return false;
    size_t kept = tear < 5 ? tear * 17 : (tear - 4) * SECTOR; /* of the new bytes, at the start */
    const uint8_t *after = power->versions[version].bytes + slot * SLOT;
    const uint8_t *before = power->versions[version == 0 ? 0 : version - 1].bytes + slot * SLOT;
    memcpy(out, version == 0 ? after : before, SLOT);
    if (version > 0)
        memcpy(out, after, tear + 1 == tears ? SLOT : kept);
    return true;
}

static void check_states(struct power *power, const char *path)
{
    struct fixture other = {.node = {.descriptor = -1}};
    struct image image;
    (void)snprintf(other.path, sizeof other.path, "%s", path);
    for (size_t i = 0; take_state(power, 0, i, image.bytes); i++) {
        for (size_t j = 0; take_state(power, 1, j, image.bytes + SLOT); j++) {
            uint64_t promised = 0;
            assert_int_equal(open_image(&other, &image, &promised), OK);
            if (promised < power->acked || promised > power->tried)
                fail_msg("%zu, %zu: %u, not %u to %u", i, j, (unsigned)promised,
                         (unsigned)power->acked, (unsigned)power->tried);
            power->states++;
        }
    }
    node_file_close(&other.node);
}

static void watch_power(void *context, const char *name, const char *path, const char *other)
{
    struct power *power = context;
    if (strcmp(path, power->f->folder) == 0 && strcmp(name, "sync") == 0)
        power->is_named = power->has_name;
    if (strcmp(path + strlen(path) - strlen(STORE_NEW_SUFFIX), STORE_NEW_SUFFIX) == 0)
        power->is_new_dirty =
            strcmp(name, "write") == 0 || (power->is_new_dirty && strcmp(name, "sync") != 0);
    if (strcmp(name, "rename") == 0) {
        assert_string_equal(other, power->f->path);
        assert_false(power->is_new_dirty);
        power->has_name = true;
        power->versions[0] = read_image(power->f->path);
        power->count = 1;
    }
    if (strcmp(path, power->f->path) != 0)
        return;
    if (strcmp(name, "write") == 0) {
        assert_true(power->count < VERSIONS);
        power->versions[power->count++] = read_image(path);
    } else if (strcmp(name, "sync") == 0) {
        power->versions[0] = power->versions[power->count - 1];
        power->count = 1;
        power->syncs++;
    }
}

/* Watches the calls, and looks at each state that the disk may have after each of them. */
static void watch_and_check(void *context, const char *name, const char *path, const char *other)
{
    struct power *power = context;
    char elsewhere[TEST_PATH_SIZE];
    watch_power(context, name, path, other);
    if (!power->is_named)
        return;
    faulty_calls_watch(NULL, NULL);
    join_path(elsewhere, power->f->folder, "elsewhere");
    check_states(power, elsewhere);
    faulty_calls_watch(watch_and_check, power);
}

TEST_F(test_node__power_fails)
{
    static struct power power;
    power = (struct power){.f = f};
    faulty_calls_watch(watch_and_check, &power);
    reopen(f);
    assert_true(power.is_named);
    for (uint64_t promised = 5; promised <= 8; promised++) {
        power.tried = promised;
        power.syncs = 0;
        set(f, promised);
        assert_int_equal(power.syncs, 1); /* an election waits for it */
        power.acked = promised;
    }
    faulty_calls_watch(NULL, NULL);
    assert_true(power.states > 1000);
}

/* A process dies between write and sync. The next one must not count on what it reads before a sync, nor
 * write the copy before it. */
TEST_F(test_node__power_fails_after_the_next_start)
{
    static struct power power;
    struct error_text why;
    reopen(f);
    set(f, 5);
    node_file_close(&f->node);
    power = (struct power){.f = f, .count = 1, .is_named = true, .has_name = true};
    power.versions[0] = read_image(f->path);
    reopen(f);
    faulty_calls_watch(watch_power, &power);
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, 2, EIO); /* the sync */
    assert_int_equal(node_file_set(&f->node, 6, &why), ERROR_IO);
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    assert_int_equal(power.count, 2);
    power.acked = 5;
    power.tried = 6;
    faulty_calls_watch(watch_and_check, &power);
    reopen(f);
    faulty_calls_watch(NULL, NULL);
    assert_int_equal(f->node.promised, 6);
    power.acked = power.tried = 6;
    check_states(&power, f->path);
}

/* A child that was made by fork leaves the file alone. */
TEST_F(test_store_isolate__a_promise_stays_in_memory)
{
    struct store *store = open_store(f->folder);
    assert_ok(store, store_set_promised(store, 5));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        store_isolate(store);
        _exit(store_set_promised(store, 9) == OK && store_promised(store) == 9 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    store_close(store);
    store = open_store(f->folder);
    assert_int_equal(store_promised(store), 5);
    store_close(store);
}

/* ---- with the database ---- */

static const uint8_t cluster[STORE_CLUSTER_BYTES] = {1};

static bool is_reset(struct store *store)
{
    uint8_t found[STORE_CLUSTER_BYTES];
    store_cluster(store, found);
    return found[0] == 0;
}

/* A reset fails at each call: if the promise has gone, the cluster has gone before it. */
static bool try_reset(struct fixture *f, uint64_t k)
{
    struct store *store = open_store(f->folder);
    assert_ok(store, store_set_cluster(store, cluster));
    assert_ok(store, store_set_promised(store, 5));
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, k, EIO);
    enum error error = store_reset(store);
    bool has_failed = faulty_calls_have_failed();
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    assert_true(error == OK || error == ERROR_IO);
    assert_true(store_promised(store) == 5 || is_reset(store));
    assert_true(error != OK || (store_promised(store) == 0 && is_reset(store)));
    assert_ok(store, store_reset(store)); /* again */
    assert_int_equal(store_promised(store), 0);
    assert_true(is_reset(store));
    store_close(store);
    return has_failed;
}

TEST_F(test_store_reset__one_call_fails)
{
    uint64_t k = 1;
    while (try_reset(f, k))
        k++;
    assert_true(k > 3);
}

TEST_F(test_store_set_promised__has_a_sentence)
{
    struct store *store = open_store(f->folder);
    assert_ok(store, store_begin(store));
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, 1, ENOSPC);
    assert_int_equal(store_set_promised(store, 5), ERROR_DISK_FULL);
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    assert_non_null(strstr(store_last_problem(store), f->path));
    assert_int_equal(store_promised(store), 0);
    assert_ok(store, work_write(store, 1)); /* the transaction is not broken */
    assert_ok(store, store_commit(store));
    work_check(store, 1);
    store_close(store);
}

TEST_PREPARE()
{
    faulty_memory_install();
    return sodium_init() >= 0 ? 0 : 1;
}
