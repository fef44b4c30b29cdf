/* SPDX-License-Identifier: MIT */
/* jackdaw-admin verify and dump, on logs that segment_log wrote into a folder of the system. */
#include "admin/admin.h"
#include "batch/batch.h"
#include "segment_log/segment_log.h"
#include "spec.pb-c.h"
#include "support/folder.h"
#include "support/test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EPOCH ((uint64_t)3 << 16 | 2)
#define SESSION UINT64_C(0xfedcba9876543210)
#define TIME_MS UINT64_C(1796003265919) /* 2026-11-30T01:47:45.919Z */
#define HEAD_BYTES 512u                 /* of a segment: docs/log.md */
#define RECORD_HEAD_BYTES 112u
#define SECRET "say \"no\" to \033[2J"
#define ENTRIES 12
#define PATH_BYTES 512

struct fixture {
    char *folder;
    struct segment_log_end end;
    char *out; /* of the last run */
    struct error_text why;
};

int test_setup(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

static void begin(struct fixture *f)
{
    f->folder = folder_new();
}

static void end(struct fixture *f)
{
    free(f->out);
    folder_remove(f->folder);
}

/* ---- logs ---- */

static struct segment_log *open_log(const struct fixture *f)
{
    struct segment_log *log;
    struct error_text why;
    const struct segment_log_options options = {
        .folder = f->folder, .segment_bytes = SEGMENT_LOG_BYTES_MIN, .chain = batch_chain};
    if (segment_log_open(&log, &options, &why) != OK)
        fail_msg("%s", why.text);
    return log;
}

static void append(struct segment_log *log, enum log_entry_kind kind, const void *bytes,
                   size_t size, uint64_t deltas)
{
    uint64_t first = segment_log_end(log).position.seq + 1;
    const struct log_entry entry = {.kind = kind,
                                    .epoch = EPOCH,
                                    .first_seq = first,
                                    .last_seq = first + deltas - 1,
                                    .bytes = bytes,
                                    .size = size};
    assert_int_equal(segment_log_append(log, &entry), OK);
    assert_int_equal(segment_log_finish(log, segment_log_write(log)), OK);
}

/* Appends a batch: a room is joined, and a message is sent to it. */
static void append_chat(struct segment_log *log)
{
    Jackdaw__RoomJoined joined = JACKDAW__ROOM_JOINED__INIT;
    Jackdaw__MessageSent sent = JACKDAW__MESSAGE_SENT__INIT;
    Jackdaw__Delta first = JACKDAW__DELTA__INIT;
    Jackdaw__Delta second = JACKDAW__DELTA__INIT;
    Jackdaw__Delta *deltas[] = {&first, &second};
    Jackdaw__Batch batch = JACKDAW__BATCH__INIT;
    uint8_t bytes[1024];
    uint8_t salt[BATCH_SALT_BYTES] = {1, 2, 3};
    first.change_case = JACKDAW__DELTA__CHANGE_ROOM_JOINED;
    first.room_joined = &joined;
    sent.text = (char *)SECRET;
    sent.text_salt = (ProtobufCBinaryData){sizeof salt, salt};
    second.change_case = JACKDAW__DELTA__CHANGE_MESSAGE_SENT;
    second.message_sent = &sent;
    for (size_t i = 0; i < 2; i++) {
        deltas[i]->time_ms = TIME_MS;
        deltas[i]->session = SESSION;
        deltas[i]->request = 7 + i;
    }
    batch.epoch = EPOCH;
    batch.first_seq = segment_log_end(log).position.seq + 1;
    batch.n_deltas = 2;
    batch.deltas = deltas;
    assert_true(jackdaw__batch__get_packed_size(&batch) <= sizeof bytes);
    append(log, LOG_ENTRY_CHAT, bytes, jackdaw__batch__pack(&batch, bytes), 2);
}

/* Writes ENTRIES entries: a list of members and batches. The lists fill more than two segments. */
static void write_log(struct fixture *f)
{
    static const uint8_t members[1000];
    struct segment_log *log = open_log(f);
    for (size_t i = 0; i < ENTRIES / 2; i++) {
        append(log, LOG_ENTRY_MEMBERS, members, sizeof members, 1);
        append_chat(log);
    }
    f->end = segment_log_durable(log);
    segment_log_close(log);
}

static const char *path_of(const struct fixture *f, unsigned segment)
{
    static char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/log/%016u.log", f->folder, segment);
    return path;
}

static void flip_byte(const struct fixture *f, unsigned segment, uint64_t offset)
{
    uint8_t byte;
    int file = open(path_of(f, segment), O_RDWR | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(pread(file, &byte, 1, (off_t)offset), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(file, &byte, 1, (off_t)offset), 1);
    assert_int_equal(close(file), 0);
}

/* ---- runs ---- */

/* Runs `COMMAND FOLDER OPTIONS`; f->out has what it printed. */
static enum error run_in(struct fixture *f, const char *folder, const char *command,
                         const char *option, const char *other)
{
    char *argv[] = {(char *)"jackdaw-admin", (char *)command, (char *)folder, (char *)option,
                    (char *)other};
    int count = option == NULL ? 3 : other == NULL ? 4 : 5;
    struct admin_options options;
    size_t size;
    if (admin_options_parse(count, argv, &options, &f->why) != OK)
        fail_msg("%s", f->why.text);
    free(f->out);
    FILE *file = open_memstream(&f->out, &size);
    assert_non_null(file);
    f->why.text[0] = '\0';
    enum error error = admin_run(&options, file, &f->why);
    assert_int_equal(fclose(file), 0);
    admin_options_release(&options);
    return error;
}

static enum error run(struct fixture *f, const char *command, const char *option)
{
    return run_in(f, f->folder, command, option, NULL);
}

static void expect(const char *text, const char *hint)
{
    if (strstr(text, hint) == NULL)
        fail_msg("no \"%s\" in \"%s\"", hint, text);
}

static void expect_not(const char *text, const char *hint)
{
    if (strstr(text, hint) != NULL)
        fail_msg("\"%s\" in \"%s\"", hint, text);
}

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    while ((text = strstr(text, word)) != NULL) {
        text += strlen(word);
        count++;
    }
    return count;
}

/* Expects one JSON object a line; returns the one of this number, or the last one with SIZE_MAX. */
static json_t *json_line(const struct fixture *f, size_t number)
{
    json_t *found = NULL;
    const char *line = f->out;
    for (size_t i = 0; *line != '\0' && (i <= number || number == SIZE_MAX); i++) {
        const char *line_end = strchr(line, '\n');
        assert_non_null(line_end);
        json_decref(found);
        found = json_loadb(line, (size_t)(line_end - line), 0, NULL);
        assert_true(json_is_object(found));
        line = line_end + 1;
    }
    return found;
}

static uint64_t number_of(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    assert_true(json_is_integer(value));
    return (uint64_t)json_integer_value(value);
}

static const char *text_of(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    assert_true(json_is_string(value));
    return json_string_value(value);
}

/* ---- a whole log ---- */

TEST_F(test_verify__a_whole_log)
{
    char digest[2 * LOG_DIGEST_BYTES + 1];
    char last[64];
    write_log(f);
    (void)sodium_bin2hex(digest, sizeof digest, f->end.digest, LOG_DIGEST_BYTES);
    (void)snprintf(last, sizeof last, "last      epoch %" PRIu64 ", seq %" PRIu64 "\n", EPOCH,
                   f->end.position.seq);
    assert_int_equal(run(f, "verify", NULL), OK);
    expect(f->out, "segments  3\n");
    expect(f->out, "entries   12, ");
    expect(f->out, "first     epoch 196610, seq 1\n");
    expect(f->out, last);
    expect(f->out, digest);
    expect(f->out, "result    whole\n");
    assert_int_equal(count_of(f->out, "\n"), 6);
}

TEST_F(test_verify__a_whole_log_as_json)
{
    char digest[2 * LOG_DIGEST_BYTES + 1];
    write_log(f);
    (void)sodium_bin2hex(digest, sizeof digest, f->end.digest, LOG_DIGEST_BYTES);
    assert_int_equal(run(f, "verify", "--json"), OK);
    assert_int_equal(count_of(f->out, "\n"), 1);
    json_t *summary = json_line(f, 0);
    assert_string_equal(text_of(summary, "type"), "log");
    assert_string_equal(text_of(summary, "folder"), f->folder);
    assert_int_equal(number_of(summary, "segments"), 3);
    assert_int_equal(number_of(summary, "entries"), ENTRIES);
    assert_int_equal(number_of(summary, "bytes"), f->end.bytes);
    assert_int_equal(number_of(json_object_get(summary, "first"), "seq"), 1);
    assert_int_equal(number_of(json_object_get(summary, "last"), "epoch"), EPOCH);
    assert_int_equal(number_of(json_object_get(summary, "last"), "seq"), f->end.position.seq);
    assert_string_equal(text_of(summary, "digest"), digest);
    assert_true(json_is_false(json_object_get(summary, "torn")));
    assert_int_equal(number_of(summary, "damages"), 0);
    json_decref(summary);
}

TEST_F(test_dump__entries_and_their_changes)
{
    write_log(f);
    assert_int_equal(run(f, "dump", NULL), OK);
    assert_int_equal(count_of(f->out, "file segment="), 3);
    assert_int_equal(count_of(f->out, "entry segment="), ENTRIES);
    expect(f->out,
           "entry segment=1 offset=512 epoch=196610 seq=1-1 kind=members bytes=1000 digest=");
    expect(f->out, "entry segment=1 offset=1624 epoch=196610 seq=2-3 kind=chat bytes=");
    expect(f->out, "  delta seq=2 kind=room_joined time=2026-11-30T01:47:45.919Z "
                   "session=fedcba9876543210 request=7\n");
    expect(f->out, "  delta seq=3 kind=message_sent time=2026-11-30T01:47:45.919Z "
                   "session=fedcba9876543210 request=8\n");
    expect(f->out, "result    whole\n");
    expect_not(f->out, "say");
}

TEST_F(test_dump__texts_only_on_demand)
{
    write_log(f);
    assert_int_equal(run(f, "dump", "--text"), OK);
    expect(f->out, "request=8 text=\"say \\\"no\\\" to \\u001B[2J\"\n");
    assert_int_equal(run(f, "dump", "--json"), OK);
    expect_not(f->out, "say");
    assert_int_equal(run_in(f, f->folder, "dump", "--json", "--text"), OK);
    json_t *entry = json_line(f, 2);
    const json_t *delta = json_array_get(json_object_get(entry, "deltas"), 1);
    assert_string_equal(text_of(delta, "text"), SECRET);
    json_decref(entry);
}

static void erase(void *context, const struct log_entry *entry, uint8_t *bytes)
{
    const uint64_t *seq = context;
    assert_int_equal(batch_erase(bytes, entry, seq, 1), 1);
}

TEST_F(test_dump__shows_that_a_text_is_erased)
{
    uint64_t seq = 3;
    struct error_text why;
    write_log(f);
    struct segment_log *log = open_log(f);
    assert_int_equal(segment_log_rewrite(log, &seq, 1, erase, &seq, &why), OK);
    segment_log_close(log);
    assert_int_equal(run(f, "verify", NULL), OK);
    expect(f->out, "result    whole\n");
    assert_int_equal(run(f, "dump", "--text"), OK);
    expect(f->out, "session=fedcba9876543210 request=8 erased\n");
    assert_int_equal(count_of(f->out, "request=8 text="), ENTRIES / 2 - 1);
    assert_int_equal(run_in(f, f->folder, "dump", "--json", "--text"), OK);
    for (size_t line = 2; line <= 4; line += 2) {
        json_t *entry = json_line(f, line);
        const json_t *delta = json_array_get(json_object_get(entry, "deltas"), 1);
        assert_int_equal(json_is_true(json_object_get(delta, "erased")), line == 2);
        assert_int_equal(json_object_get(delta, "text") == NULL, line == 2);
        json_decref(entry);
    }
}

TEST_F(test_dump__as_json)
{
    write_log(f);
    assert_int_equal(run(f, "dump", "--json"), OK);
    json_t *entry = json_line(f, 2); /* behind the file and the members */
    assert_string_equal(text_of(entry, "type"), "entry");
    assert_int_equal(number_of(entry, "segment"), 1);
    assert_int_equal(number_of(entry, "offset"), HEAD_BYTES + RECORD_HEAD_BYTES + 1000);
    assert_int_equal(number_of(entry, "epoch"), EPOCH);
    assert_int_equal(number_of(entry, "first_seq"), 2);
    assert_int_equal(number_of(entry, "last_seq"), 3);
    assert_string_equal(text_of(entry, "kind"), "chat");
    assert_int_equal(strlen(text_of(entry, "digest")), 2 * LOG_DIGEST_BYTES);
    const json_t *deltas = json_object_get(entry, "deltas");
    assert_int_equal(json_array_size(deltas), 2);
    const json_t *delta = json_array_get(deltas, 1);
    assert_int_equal(number_of(delta, "seq"), 3);
    assert_string_equal(text_of(delta, "kind"), "message_sent");
    assert_int_equal(number_of(delta, "time_ms"), TIME_MS);
    assert_string_equal(text_of(delta, "session"), "fedcba9876543210");
    assert_int_equal(number_of(delta, "request"), 8);
    json_decref(entry);
    json_t *summary = json_line(f, SIZE_MAX);
    assert_string_equal(text_of(summary, "type"), "log");
    json_decref(summary);
}

TEST_F(test_dump__an_entry_that_cannot_be_decoded)
{
    struct segment_log *log = open_log(f);
    append(log, LOG_ENTRY_CHAT, "\xff\xff", 2, 1);
    append(log, LOG_ENTRY_CHAT, "", 0, 3); /* a batch without deltas */
    segment_log_close(log);
    assert_int_equal(run(f, "dump", NULL), OK);
    assert_int_equal(count_of(f->out, "cannot be decoded\n"), 2);
    assert_int_equal(run(f, "dump", "--json"), OK);
    json_t *entry = json_line(f, 1);
    assert_true(json_is_null(json_object_get(entry, "deltas")));
    json_decref(entry);
}

TEST_F(test_dump__to_a_full_disk)
{
    char *argv[] = {(char *)"jackdaw-admin", (char *)"dump", f->folder};
    struct admin_options options;
    write_log(f);
    assert_int_equal(admin_options_parse(3, argv, &options, &f->why), OK);
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(setvbuf(full, NULL, _IONBF, 0), 0);
    assert_int_equal(admin_run(&options, full, &f->why), ERROR_IO);
    expect(f->why.text, "standard output");
    (void)fclose(full);
    admin_options_release(&options);
}

/* ---- a log that is not whole ---- */

/* The last record, which no other one proves, is an interrupted write. */
TEST_F(test_verify__a_torn_end)
{
    char line[PATH_BYTES + 128];
    struct segment_log *log = open_log(f);
    append(log, LOG_ENTRY_MEMBERS, "12345678", 8, 1);
    append(log, LOG_ENTRY_MEMBERS, "12345678", 8, 1);
    segment_log_close(log);
    flip_byte(f, 1, HEAD_BYTES + 2 * RECORD_HEAD_BYTES + 8);
    assert_int_equal(run(f, "verify", NULL), OK);
    (void)snprintf(line, sizeof line, "torn segment=1 offset=632 bytes=120 after_seq=1 path=%s\n",
                   path_of(f, 1));
    expect(f->out, line);
    expect(f->out, "entries   1, 8 bytes\n");
    expect(f->out, "result    whole, with a torn end");
    assert_int_equal(run(f, "verify", "--json"), OK);
    json_t *torn = json_line(f, 0);
    assert_string_equal(text_of(torn, "type"), "torn");
    assert_int_equal(number_of(torn, "offset"), 632);
    assert_int_equal(number_of(json_object_get(torn, "last"), "seq"), 1);
    json_decref(torn);
    json_t *summary = json_line(f, 1);
    assert_true(json_is_true(json_object_get(summary, "torn")));
    json_decref(summary);
}

/* The next segment, of which the first write did not finish. */
TEST_F(test_verify__a_torn_segment)
{
    static const uint8_t members[1000];
    struct segment_log *log = open_log(f);
    while (segment_log_size(log) <= 2 * SEGMENT_LOG_BYTES_MIN)
        append(log, LOG_ENTRY_MEMBERS, members, sizeof members, 1);
    segment_log_close(log);
    flip_byte(f, 3, 0);
    assert_int_equal(run(f, "verify", NULL), OK);
    expect(f->out, "torn segment=3 offset=0 ");
    expect(f->out, "segments  2\n");
    expect(f->out, "result    whole, with a torn end");
    segment_log_close(open_log(f)); /* a start agrees */
    assert_int_equal(run(f, "verify", NULL), OK);
    expect(f->out, "result    whole\n");
}

static void expect_damage(struct fixture *f, const char *line, const char *problem)
{
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(run(f, i == 0 ? "verify" : "dump", NULL), ERROR_CORRUPT);
        expect(f->out, line);
        expect(f->out, problem);
        expect(f->out, "result    damaged, places: 1\n");
        expect(f->why.text, f->folder);
        expect(f->why.text, "docs/operations.md");
    }
}

TEST_F(test_verify__a_damaged_record)
{
    write_log(f);
    flip_byte(f, 1, HEAD_BYTES + RECORD_HEAD_BYTES + 999);
    expect_damage(f, "damage segment=1 offset=512 ", "the record of seq 1 at byte 512");
    expect(f->out, "entry segment=2 offset=512 "); /* it goes on */
    expect(f->out, "entry segment=3 offset=512 ");
    assert_int_equal(run(f, "verify", "--json"), ERROR_CORRUPT);
    json_t *damage = json_line(f, 0);
    assert_string_equal(text_of(damage, "type"), "damage");
    assert_int_equal(number_of(damage, "segment"), 1);
    assert_int_equal(number_of(damage, "offset"), 512);
    assert_string_equal(text_of(damage, "path"), path_of(f, 1));
    expect(text_of(damage, "problem"), "seq 1");
    json_decref(damage);
    json_t *summary = json_line(f, 1);
    assert_int_equal(number_of(summary, "damages"), 1);
    json_decref(summary);
}

TEST_F(test_verify__a_missing_segment)
{
    write_log(f);
    assert_int_equal(unlink(path_of(f, 2)), 0);
    expect_damage(f, "damage segment=3 offset=0 ", "the segment before it is missing");
}

TEST_F(test_verify__an_empty_log)
{
    segment_log_close(open_log(f));
    assert_int_equal(run(f, "verify", NULL), OK);
    expect(f->out, "entries   0, 0 bytes\nfirst     -\nlast      -\n");
    expect(f->out, "result    whole\n");
    assert_int_equal(run(f, "verify", "--json"), OK);
    json_t *summary = json_line(f, 0);
    assert_true(json_is_null(json_object_get(summary, "last")));
    json_decref(summary);
}

TEST_F(test_verify__no_log)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/missing", f->folder);
    const char *const folders[] = {f->folder, path};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(run_in(f, folders[i], "verify", NULL, NULL), ERROR_NOT_FOUND);
        expect(f->why.text, folders[i]);
        expect(f->why.text, "name the data folder of one server");
        assert_string_equal(f->out, "");
    }
}

/* The superuser may read all. */
TEST_F(test_verify__a_log_of_another_user)
{
    char path[PATH_BYTES];
    write_log(f);
    (void)snprintf(path, sizeof path, "%s/log", f->folder);
    assert_int_equal(chmod(path, 0), 0);
    enum error error = run(f, "verify", NULL);
    assert_int_equal(chmod(path, 0700), 0);
    if (geteuid() == 0)
        skip();
    assert_int_equal(error, ERROR_DENIED);
    expect(f->why.text, "as the user of the server");
}

/* ---- options ---- */

static void expect_mistake(int count, const char *const *words, const char *hint)
{
    char *argv[5] = {(char *)"jackdaw-admin"};
    struct admin_options options;
    struct error_text why;
    for (int i = 0; i < count; i++)
        argv[i + 1] = (char *)words[i];
    assert_int_equal(admin_options_parse(count + 1, argv, &options, &why), ERROR_INVALID);
    expect(why.text, hint);
}

TEST(test_options__of_logs)
{
    expect_mistake(1, (const char *const[]){"verify"}, "data folder of a server is missing");
    expect_mistake(1, (const char *const[]){"dump"}, "data folder of a server is missing");
    expect_mistake(3, (const char *const[]){"dump", "a", "b:1"}, "one data folder");
    expect_mistake(3, (const char *const[]){"verify", "a", "--text"}, "--text goes with dump");
    expect_mistake(3, (const char *const[]){"status", "a:1", "--text"}, "--text goes with dump");
}
