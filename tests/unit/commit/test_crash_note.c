/* SPDX-License-Identifier: MIT */
/* What a process knows of how the one before it died. A process that dies is one that does not close
 * its note in order. */
#include "commit/crash_note.h"
#include "support/folder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    char *folder;
};

static void begin(struct fixture *f)
{
    f->folder = folder_new();
}

static void end(struct fixture *f)
{
    folder_remove(f->folder);
}

static struct crash_note *started(const struct fixture *f, uint64_t last_seq)
{
    struct crash_note *note;
    struct error_text why = {.text = ""};
    if (crash_note_open(&note, f->folder, CRASH_NOTE_APPLYING, (struct log_position){1, last_seq},
                        &why) != OK)
        fail_msg("%s", why.text);
    return note;
}

/* Starts with a log up to before, and dies while it applies, or writes, first to last. */
static void dies(const struct fixture *f, uint64_t before, uint64_t first, uint64_t last)
{
    struct crash_note *note = started(f, before);
    crash_note_begin(note, (struct log_position){1, last}, first);
    crash_note_close(note);
}

static bool has_poison(const struct fixture *f, uint64_t before, struct log_position *at)
{
    struct crash_note *note = started(f, before);
    bool has = crash_note_poison(note, at);
    crash_note_close(note);
    return has;
}

TEST_F(test_note__the_second_death_at_an_entry)
{
    struct log_position at;
    assert_false(has_poison(f, 5, &at));
    dies(f, 5, 6, 8);
    assert_false(has_poison(f, 5, &at));
    dies(f, 5, 6, 8);
    assert_true(has_poison(f, 5, &at));
    assert_int_equal(at.epoch, 1);
    assert_int_equal(at.seq, 8);
    /* At every start, until the entry is in the log. */
    assert_true(has_poison(f, 5, &at));
    assert_false(has_poison(f, 8, &at));
    assert_false(has_poison(f, 5, &at));
}

/* The rows of many entries are written together: the second process finds out which it was. */
TEST_F(test_note__a_range_is_applied_one_by_one)
{
    struct log_position at;
    dies(f, 5, 6, 20);
    struct crash_note *note = started(f, 5);
    assert_true(crash_note_covers(note, 6));
    for (uint64_t seq = 6; seq < 11; seq++) {
        crash_note_begin(note, (struct log_position){1, seq}, seq);
        crash_note_end(note);
        assert_true(crash_note_covers(note, seq + 1));
    }
    crash_note_begin(note, (struct log_position){1, 11}, 11);
    crash_note_close(note);
    assert_true(has_poison(f, 10, &at));
    assert_int_equal(at.seq, 11);
}

/* Only within the range: a database from long before it (an old backup, another epoch) is not filled
 * entry by entry until it gets there. */
TEST_F(test_note__only_the_range_is_applied_one_by_one)
{
    dies(f, 1005, 1006, 1020);
    struct crash_note *note = started(f, 5);
    assert_false(crash_note_covers(note, 6));
    assert_false(crash_note_covers(note, 1005));
    assert_true(crash_note_covers(note, 1006));
    assert_true(crash_note_covers(note, 1020));
    assert_false(crash_note_covers(note, 1021));
    crash_note_close(note);
}

TEST_F(test_note__deaths_elsewhere_do_not_add_up)
{
    struct log_position at;
    dies(f, 5, 6, 6);
    dies(f, 6, 7, 7);
    assert_false(has_poison(f, 6, &at));
    dies(f, 9, 12, 12);
    assert_false(has_poison(f, 11, &at));
}

TEST_F(test_note__an_end_in_order_is_no_death)
{
    struct log_position at;
    for (int i = 0; i < 3; i++) {
        struct crash_note *note = started(f, 5);
        crash_note_begin(note, (struct log_position){1, 6}, 6);
        crash_note_end(note);
        assert_false(crash_note_covers(note, 6));
        crash_note_close(note);
    }
    assert_false(has_poison(f, 5, &at));
}

/* Whatever is in the file. */
TEST_F(test_note__a_damaged_file_tells_nothing)
{
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/%s", f->folder, CRASH_NOTE_APPLYING);
    dies(f, 5, 6, 6);
    for (size_t size = 0; size < 200; size += 7) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        for (size_t i = 0; i < size; i++)
            (void)fputc((int)(i * 37 + size) & 0xff, file);
        assert_int_equal(fclose(file), 0);
        struct log_position at;
        assert_false(has_poison(f, 5, &at));
    }
    dies(f, 5, 6, 6);
    struct crash_note *note = started(f, 5);
    assert_true(crash_note_covers(note, 6));
    assert_false(crash_note_covers(note, 7));
    crash_note_close(note);
}
