/* SPDX-License-Identifier: MIT */
/* Databases that are not what this program wrote: a server that starts with one, or is sent one as a
 * snapshot, says so and never aborts; and a snapshot that was found whole lets a server start. */
#include "base/log.h"
#include "cluster/database_check.h"
#include "support/damage.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <inttypes.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALL_MS 2000
#define MUTATIONS 100

struct fixture {
    char *folder;
    char whole[512]; /* the database as the server left it */
    char live[512];  /* the one it starts with */
    char taken[512]; /* the one it is sent */
};

static void copy_database(const char *from, const char *to)
{
    char command[1200];
    char wal[520];
    (void)snprintf(wal, sizeof wal, "%s-wal", to);
    (void)unlink(to);
    (void)unlink(wal);
    (void)snprintf(command, sizeof command, "VACUUM INTO '%s'", to);
    damage_execute(from, command);
}

/* Two people, a room, a direct conversation, an ended session: something in every table but orphan. */
static void talk(const struct live_server *live)
{
    struct device ann, bob;
    struct answer answer;
    device_enter(&ann, live, "ann", "lobby");
    device_enter(&bob, live, "bob", "lobby");
    assert_int_equal(device_send(&ann, "@bob", "psst"), STATUS_OK);
    for (int i = 0; i < 1200; i++)
        assert_int_equal(device_send(i % 2 == 0 ? &ann : &bob, "lobby", "hello"), STATUS_OK);
    ASK(&bob, &answer, "Logout", Logout, LOGOUT, (r.request = bob.request + 1));
    answer_clear(&answer);
    device_close(&ann);
    device_close(&bob);
}

static void take_snapshot(struct fixture *f)
{
    char folder[512];
    struct store *store;
    struct log_position position;
    struct error_text why;
    (void)snprintf(folder, sizeof folder, "%s/1", f->folder);
    const struct store_options options = {.folder = folder, .node_id = 1};
    assert_int_equal(store_open(&store, &options, &why), OK);
    assert_int_equal(store_snapshot_take(store, f->whole, &position), OK);
    store_close(store);
}

int test_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->folder = folder_new();
    (void)snprintf(f->whole, sizeof f->whole, "%s/whole.db", f->folder);
    (void)snprintf(f->live, sizeof f->live, "%s/1/%s", f->folder, STORE_FILE_NAME);
    (void)snprintf(f->taken, sizeof f->taken, "%s/taken.db", f->folder);
    struct live_server *live = live_server_start(f->folder, NULL);
    talk(live);
    live_server_stop(live);
    take_snapshot(f);
    damage_loosen(f->whole);
    *state = f;
    return 0;
}

int test_teardown(void **state)
{
    struct fixture *f = *state;
    folder_remove(f->folder);
    free(f);
    return 0;
}

/* Makes the server read what the damage may be in. */
static void use(const struct live_server *live)
{
    struct device ann;
    struct answer answer;
    device_open(&ann, live);
    ann.timeout_ms = CALL_MS;
    if (device_login(&ann, "ann") == STATUS_OK) {
        (void)device_join(&ann, "lobby");
        (void)device_send(&ann, "lobby", "hello");
        ASK(&ann, &answer, "History", History, HISTORY, (r.room = (char *)"lobby", r.limit = 100));
        answer_clear(&answer);
    }
    device_close(&ann);
}

/* Starts a server with the changed database. */
static enum error start_with(struct fixture *f, const char *change, struct error_text *why)
{
    copy_database(f->whole, f->live); /* the log begins anew with it */
    damage_execute(f->live, change);
    enum error error = OK;
    why->text[0] = '\0';
    struct live_server *live = live_server_try(f->folder, NULL, why);
    if (live == NULL)
        return ERROR_CORRUPT;
    use(live);
    live_server_stop(live);
    return error;
}

/* Looks at it as at a snapshot. */
static enum error take(struct fixture *f, const char *change, struct error_text *why)
{
    atomic_bool is_wanted = true;
    struct store *store = NULL;
    copy_database(f->whole, f->taken);
    damage_execute(f->taken, change);
    damage_execute(f->taken, "PRAGMA journal_mode = WAL");
    enum error error = store_open_check(&store, f->taken, why);
    if (error == OK)
        error = database_check(store, &is_wanted, why);
    store_close(store);
    return error;
}

enum finder { CHECK, START }; /* who finds it: only who reads all, or whoever starts with it, too */

TEST(test_database__one_field_is_not_as_it_should_be)
{
    struct fixture *f = *state;
    static const struct {
        enum finder finding;
        const char *change;
        const char *word; /* in the sentence */
    } cases[] = {
        {START, "UPDATE cluster_members SET bytes = x'ff00'", "cluster_members"},
        {START, "UPDATE cluster_members SET bytes = x''", "cluster_members"},
        {START, "UPDATE cluster_members SET bytes = bytes || x'00'", "cluster_members"},
        {START, "UPDATE cluster_members SET bytes = zeroblob(60000)", "cluster_members"},
        {START, "UPDATE cluster_members SET bytes = 'text'", "cluster_members"},
        {START, "UPDATE cluster_members SET seq = 1 << 62", "cluster_members"},
        {START, "UPDATE epoch_start SET epoch = 1", "epoch_start"},
        {START, "UPDATE epoch_start SET epoch = -1", "epoch_start"},
        {START, "UPDATE epoch_start SET first_seq = 1000000", "epoch_start"},
        {START, "UPDATE log_end SET epoch = -1", "log"},
        {START, "UPDATE log_end SET epoch = 1 << 62", "log"},
        {START, "UPDATE log_end SET seq = 9223372036854775807", "log"},
        {START, "UPDATE log_end SET digest = zeroblob(32)", "log"},
        {START, "UPDATE log_end SET digest = x'00'", "log"},
        {START, "UPDATE log_end SET bytes = bytes + 1", "log"},
        {START, "DELETE FROM log_base", "log"},
        {START, "UPDATE log_base SET seq = 1", "log_copy"},
        {START, "UPDATE log_base SET digest = x'00'", "log_base"},
        {START, "DELETE FROM log_copy", "log_copy"},
        {START, "DELETE FROM log_copy WHERE first_seq = 20", "log_copy"},
        {START, "UPDATE log_copy SET entry = x'00' WHERE first_seq < 100", "log_copy"},
        {START, "UPDATE log_copy SET kind = 7", "log_copy"},
        {START, "UPDATE account SET id = 0 WHERE name = 'ann'", "account with id = 0"},
        {START, "UPDATE account SET nonce = x'00'", "nonce"},
        {START, "UPDATE session SET id = 0 WHERE id = (SELECT max(id) FROM session)",
         "session with id = 0"},
        {START, "UPDATE session SET account = 4711", "session"},
        {START, "UPDATE session SET token_hash = x'00'", "token_hash"},
        {START, "UPDATE room SET id = 0 WHERE name = 'lobby'", "room with id = 0"},
        {START, "UPDATE room SET owner = 4711", "room"},
        {START, "UPDATE room SET direct_low = 0 WHERE name = ''", "room"},
        {START, "UPDATE OR IGNORE member SET room = 4711", "member"},
        {START, "UPDATE member SET account = account + 1", "member"},
        {START, "UPDATE member SET state = 9", "state"},
        {START, "UPDATE run_tail SET last_seq = 'x'", "last_seq"},
        {START, "UPDATE outcome_tail SET last_request = -1", "last_request"},
        {START, "INSERT INTO orphan VALUES (-7, 1, 1, 2, x'00')", "orphan"},
        {CHECK, "UPDATE run_tail SET runs = x'ff'", "run_tail"},
        {CHECK, "UPDATE run_tail SET runs = x''", "run_tail"},
        {CHECK, "UPDATE run_tail SET page = 1000", "missing"},
        {CHECK, "UPDATE run_page SET runs = x'ff'", "run_page"},
        {CHECK, "DELETE FROM run_page", "missing"},
        {CHECK, "DELETE FROM run_tail WHERE room = (SELECT min(room) FROM run_tail)", "event"},
        {CHECK, "UPDATE event SET room = room + 1 WHERE id = 700", "event"},
        {CHECK, "DELETE FROM event WHERE id = 700", "event"},
        {CHECK, "UPDATE event SET text = x'00' WHERE id = 700", "event"},
        {CHECK, "UPDATE event SET kind = -1 WHERE id = 700", "event"},
        {CHECK, "UPDATE outcome_tail SET outcomes = x'ff'", "outcome_tail"},
        {CHECK, "UPDATE outcome_part SET outcomes = zeroblob(100)", "outcome_part"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error_text why = {.text = ""};
        enum error error = take(f, cases[i].change, &why);
        if (error != ERROR_CORRUPT || strstr(why.text, cases[i].word) == NULL)
            fail_msg("taken: %s: %s: %s", cases[i].change, error_name(error), why.text);
        error = start_with(f, cases[i].change, &why);
        if (cases[i].finding == CHECK)
            continue; /* it may start, and end later, but never abort */
        if (error != ERROR_CORRUPT || strstr(why.text, cases[i].word) == NULL ||
            strstr(why.text, "keep the data folder") == NULL)
            fail_msg("start: %s: %s: %s", cases[i].change, error_name(error), why.text);
    }
}

static void expect_bad_node(struct fixture *f, const char *word)
{
    struct error_text why;
    if (start_with(f, "PRAGMA user_version", &why) != ERROR_CORRUPT ||
        strstr(why.text, word) == NULL || strstr(why.text, "keep the data folder") == NULL)
        fail_msg("not \"%s\": %s", word, why.text);
}

/* What is the node's own, and in no snapshot. */
TEST(test_database__the_file_of_the_node)
{
    struct fixture *f = *state;
    char folder[512], node[520], kept[520];
    struct error_text why;
    struct store *store;
    (void)snprintf(folder, sizeof folder, "%s/1", f->folder);
    (void)snprintf(node, sizeof node, "%s/node", folder);
    (void)snprintf(kept, sizeof kept, "%s/kept", folder);
    assert_int_equal(rename(node, kept), 0);
    expect_bad_node(f, "node is missing");
    FILE *file = fopen(node, "we");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    expect_bad_node(f, "node is whole");
    assert_int_equal(unlink(node), 0);
    assert_int_equal(unlink(f->live), 0);
    const struct store_options options = {.folder = folder, .node_id = 1};
    assert_int_equal(store_open(&store, &options, &why), OK);
    assert_int_equal(store_set_promised(store, UINT64_MAX), OK); /* no epoch */
    store_close(store);
    expect_bad_node(f, "promise");
    assert_int_equal(rename(kept, node), 0);
}

TEST(test_database__a_whole_one)
{
    struct fixture *f = *state;
    struct error_text why = {.text = ""};
    if (take(f, "PRAGMA user_version", &why) != OK)
        fail_msg("%s", why.text);
    assert_int_equal(start_with(f, "PRAGMA user_version", &why), OK);
}

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static const struct {
    const char *table;
    const char *columns[10]; /* ends with NULL */
} tables[] = {
    {"cluster_members", {"epoch", "seq", "bytes"}},
    {"epoch_start", {"epoch", "first_seq"}},
    {"log_end", {"epoch", "seq", "bytes", "digest", "time_ms", "has_chat"}},
    {"log_base", {"epoch", "seq", "bytes", "digest"}},
    {"log_copy", {"first_seq", "last_seq", "epoch", "kind", "entry"}},
    {"account",
     {"id", "name", "folded", "password_hash", "nonce", "created_ms", "deleted_ms",
      "delivered_seq"}},
    {"session", {"id", "account", "token_hash", "device", "started_ms"}},
    {"room",
     {"id", "name", "folded", "topic", "owner", "is_private", "direct_low", "direct_high",
      "created_ms"}},
    {"member", {"room", "account", "state", "since_seq", "until_seq"}},
    {"event", {"id", "room", "number", "seq", "kind", "account", "session", "request", "text"}},
    {"run_tail", {"room", "page", "last_number", "last_seq", "runs"}},
    {"run_page", {"page", "runs"}},
    {"outcome_tail", {"session", "part", "last_request", "outcomes"}},
    {"outcome_part", {"slot", "outcomes"}},
};

static size_t count_columns(void)
{
    size_t count = 0;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (size_t k = 0; tables[i].columns[k] != NULL; k++)
            count++;
    return count;
}

/* Finds a column by its place among those of all tables; returns its table. */
static const char *find_column(uint64_t place, const char **column)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (size_t k = 0; tables[i].columns[k] != NULL; k++)
            if (place-- == 0) {
                *column = tables[i].columns[k];
                return tables[i].table;
            }
    fail_msg("there are fewer columns");
    return NULL;
}

/* Another value for one column of one row, or of all rows. */
static void mutate(uint64_t *random, char change[static 512])
{
    const char *name = NULL;
    const char *table = find_column(next_random(random) % count_columns(), &name);
    char value[160];
    uint64_t bits = next_random(random);
    unsigned place = 1 + (unsigned)(next_random(random) % 40);
    switch (next_random(random) % 7) {
    case 0: /* a byte of a blob or a text is another */
        (void)snprintf(value, sizeof value,
                       "CAST(substr(%s, 1, %u) || x'%02x' || substr(%s, %u) AS BLOB)", name, place,
                       (unsigned)(bits & 0xff), name, place + 2);
        break;
    case 1: /* it is cut */
        (void)snprintf(value, sizeof value, "substr(%s, 1, %u)", name, place - 1);
        break;
    case 2:
        (void)snprintf(value, sizeof value, "%s + %d", name, (int)(bits % 5) - 2);
        break;
    case 3:
        (void)snprintf(value, sizeof value, "%" PRId64, (int64_t)bits);
        break;
    case 4:
        (void)snprintf(value, sizeof value, "%s", bits % 2 == 0 ? "0" : "9223372036854775807");
        break;
    case 5:
        (void)snprintf(value, sizeof value, "%s", bits % 2 == 0 ? "NULL" : "zeroblob(1000)");
        break;
    default:
        (void)snprintf(value, sizeof value, "x'%08x'", (unsigned)bits);
        break;
    }
    const char *key = strcmp(table, "member") == 0 || strcmp(table, "run_page") == 0 ||
                              strcmp(table, "outcome_part") == 0
                          ? ""
                          : "rowid";
    if (key[0] == '\0' || bits % 4 == 0)
        (void)snprintf(change, 512, "UPDATE OR IGNORE %s SET %s = %s", table, name, value);
    else
        (void)snprintf(
            change, 512,
            "UPDATE OR IGNORE %s SET %s = %s WHERE rowid = (SELECT rowid FROM %s ORDER BY"
            " rowid LIMIT 1 OFFSET %u)",
            table, name, value, table, (unsigned)(bits % 8));
}

/* SQLite refuses some values for a key, or a second one. */
static bool can_execute(const char *path, const char *sql)
{
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    int code = sqlite3_exec(database, sql, NULL, NULL, NULL);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    return code == SQLITE_OK;
}

TEST(test_database__mutated_at_random)
{
    struct fixture *f = *state;
    uint64_t random = 20261130;
    unsigned refused = 0, whole = 0;
    for (int i = 0; i < MUTATIONS; i++) {
        char change[512];
        mutate(&random, change);
        copy_database(f->whole, f->taken);
        if (!can_execute(f->taken, change))
            continue;
        struct error_text why = {.text = ""}, reason = {.text = ""};
        enum error error = take(f, change, &why);
        enum error started = start_with(f, change, &reason);
        if (error == OK && started != OK)
            fail_msg("found whole, but a server does not start: %s: %s", change, reason.text);
        refused += error != OK;
        whole += error == OK;
    }
    assert_true(refused > MUTATIONS / 4);
    assert_true(whole > MUTATIONS / 20); /* a time, a name: another one, but one */
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    assert_true(sodium_init() >= 0);
    return 0;
}
