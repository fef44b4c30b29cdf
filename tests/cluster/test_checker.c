/* SPDX-License-Identifier: MIT */
/* The checker finds what is wrong in histories made by hand, and nothing where nothing is. */
#include "harness/checker.h"
#include "support/test.h"

#include <stdbool.h>
#include <stdio.h>

#define EVER UINT64_MAX
#define EPOCH 65537

/* ann and bob write into the room, and cat reads. dan and eve are not in the room. */
enum who { ANN = 1, BOB, CAT, DAN, EVE, ALL /* in the room */ };
static const char *const names[ALL] = {
    [ANN] = "ann", [BOB] = "bob", [CAT] = "cat", [DAN] = "dan", [EVE] = "eve"};

struct fixture {
    struct checker *checker;
    struct checker_client *clients[ALL];
    uint64_t now_us;
};

static void begin(struct fixture *f)
{
    f->checker = checker_new();
    for (enum who who = ANN; who <= EVE; who++) {
        f->clients[who] = checker_add(f->checker, names[who], names[who]);
        if (who <= CAT)
            checker_was_in(f->clients[who], "room", 1, EVER);
    }
}

static void end(struct fixture *f)
{
    checker_free(f->checker);
}

/* A client's observation of a request of the author's. */
struct step {
    enum observation_kind kind;
    enum who who;
    enum who author;
    unsigned request; /* it makes the uid */
    unsigned text;    /* the request that has this text */
    uint64_t number;
    uint64_t epoch;
    uint64_t seq;
};

/* Numbers and positions go together: number n is at EPOCH/(100 + n). */
#define ASKS(who, request)                                  \
    {                                                       \
        OBSERVED_ASKED, who, who, request, request, 0, 0, 0 \
    }
#define IS_SENT(who, request, number)                                            \
    {                                                                            \
        OBSERVED_SENT, who, who, request, request, number, EPOCH, 100 + (number) \
    }
#define FAILS(who, request)                                  \
    {                                                        \
        OBSERVED_FAILED, who, who, request, request, 0, 0, 0 \
    }
#define SEES_TEXT(who, author, request, number, text)                               \
    {                                                                               \
        OBSERVED_MESSAGE, who, author, request, text, number, EPOCH, 100 + (number) \
    }
#define SEES(who, author, request, number) SEES_TEXT(who, author, request, number, request)
#define SEES_AT(who, author, request, number, seq)                          \
    {                                                                       \
        OBSERVED_MESSAGE, who, author, request, request, number, EPOCH, seq \
    }
#define SEES_CHANGE(who, epoch, seq)                  \
    {                                                 \
        OBSERVED_OTHER, who, who, 0, 0, 0, epoch, seq \
    }
#define IS_AWAY(who)                           \
    {                                          \
        OBSERVED_AWAY, who, who, 0, 0, 0, 0, 0 \
    }

static void observe_as(struct fixture *f, enum who who, const struct step *step)
{
    char uid[32];
    char text[32];
    (void)snprintf(uid, sizeof uid, "%s5e55:%u", names[step->author], step->request);
    (void)snprintf(text, sizeof text, "text %u", step->text);
    bool is_message = step->kind == OBSERVED_MESSAGE;
    bool has_room = is_message || step->kind == OBSERVED_SENT || step->kind == OBSERVED_AWAY;
    bool has_uid = is_message || step->kind == OBSERVED_SENT || step->kind == OBSERVED_FAILED;
    const struct observation observation = {
        .kind = step->kind,
        .time_us = ++f->now_us,
        .room = has_room ? "room" : NULL,
        .from = is_message ? names[step->author] : NULL,
        .uid = has_uid ? uid : NULL,
        .text = is_message || step->kind == OBSERVED_ASKED ? text : NULL,
        .number = step->number,
        .epoch = step->epoch,
        .seq = step->seq,
    };
    checker_observe(f->clients[who], &observation);
}

/* A step whose who is 0 ends the steps. */
static void observe(struct fixture *f, const struct step *steps)
{
    for (const struct step *step = steps; step->who != 0; step++) {
        enum who first = step->who == ALL ? ANN : step->who;
        enum who last = step->who == ALL ? CAT : step->who;
        for (enum who who = first; who <= last; who++)
            observe_as(f, who, step);
    }
}

/* ann: 1 2 3, bob: 1 2, as numbers 1 3 5 and 2 4. */
static const struct step conversation[][4] = {
    {ASKS(ANN, 1), SEES(ALL, ANN, 1, 1), IS_SENT(ANN, 1, 1)},
    {ASKS(BOB, 1), IS_SENT(BOB, 1, 2), SEES(ALL, BOB, 1, 2)},
    {ASKS(ANN, 2), SEES(ALL, ANN, 2, 3), IS_SENT(ANN, 2, 3)},
    {ASKS(BOB, 2), IS_SENT(BOB, 2, 4), SEES(ALL, BOB, 2, 4)},
    {ASKS(ANN, 3), SEES(ALL, ANN, 3, 5), IS_SENT(ANN, 3, 5)},
};

static void converse(struct fixture *f)
{
    for (size_t i = 0; i < sizeof conversation / sizeof conversation[0]; i++)
        observe(f, conversation[i]);
}

#define STEPS_MAX 10

/* The observations after the conversation, and the rules that find a violation in them. */
struct row {
    const char *name;
    unsigned found;
    struct step steps[STEPS_MAX];
    size_t violations; /* 0: any number */
};

static const struct row rows[] = {
    {"a refused request leaves a hole in the session's numbers, not in the room's", 0,
     .steps = {ASKS(ANN, 4), FAILS(ANN, 4), ASKS(ANN, 5), IS_SENT(ANN, 5, 6),
               SEES(ALL, ANN, 5, 6)}},
    {"a message that was seen need not have been acknowledged yet", 0,
     .steps = {ASKS(ANN, 4), SEES(ALL, ANN, 4, 6)}},
    {"the absent may miss messages", 0,
     .steps = {SEES(DAN, ANN, 1, 1), IS_AWAY(DAN), SEES(DAN, BOB, 2, 4)}},
    {"an owner who leaves makes two events of one position; presence has none", 0,
     .steps = {SEES_CHANGE(CAT, EPOCH, 200), SEES_CHANGE(CAT, EPOCH, 200), SEES_CHANGE(CAT, 0, 0)}},
    {"of texts typed twice, the order cannot be told", 0,
     .steps = {ASKS(ANN, 5), ASKS(ANN, 4), ASKS(ANN, 5), SEES(ALL, ANN, 4, 6),
               SEES(ALL, ANN, 5, 7)}},
    {"lost: acknowledged and not seen", CHECK_LOST,
     .steps = {ASKS(ANN, 4), IS_SENT(ANN, 4, 6), SEES(ANN, ANN, 4, 6), SEES(BOB, ANN, 4, 6)},
     .violations = 1},
    {"lost: acknowledged and seen by nobody", CHECK_LOST,
     .steps = {ASKS(BOB, 9), IS_SENT(BOB, 9, 6)}, .violations = 3},
    {"lost: not acknowledged but seen by another", CHECK_LOST,
     .steps = {ASKS(ANN, 4), SEES(ANN, ANN, 4, 6), SEES(CAT, ANN, 4, 6)}},
    {"doubled: a retry that was carried out again", CHECK_DOUBLED | CHECK_ORDER | CHECK_SENDER,
     .steps = {ASKS(ANN, 3), SEES(ALL, ANN, 3, 6)}},
    {"doubled: a page delivered twice",
     CHECK_DOUBLED | CHECK_HOLES | CHECK_ORDER | CHECK_SENDER | CHECK_FORWARD,
     .steps = {SEES(CAT, ANN, 3, 5)}},
    {"doubled: acknowledged twice", CHECK_DOUBLED, .steps = {IS_SENT(ANN, 3, 5)}},
    {"doubled: acknowledged and failed", CHECK_DOUBLED | CHECK_FAILED, .steps = {FAILS(ANN, 3)}},
    {"holes: nobody ever sees number 6", CHECK_HOLES,
     .steps = {ASKS(ANN, 4), SEES(ALL, ANN, 4, 7)}},
    {"order: two readers disagree", CHECK_ORDER,
     .steps = {ASKS(ANN, 4), ASKS(BOB, 3), SEES(ANN, ANN, 4, 6), SEES(ANN, BOB, 3, 7),
               SEES(BOB, ANN, 4, 6), SEES(BOB, BOB, 3, 7), SEES(CAT, BOB, 3, 6),
               SEES(CAT, ANN, 4, 7)}},
    {"order: acknowledged as another number", CHECK_ORDER,
     .steps = {ASKS(ANN, 4), SEES(ALL, ANN, 4, 6), IS_SENT(ANN, 4, 7)}},
    {"order: another position", CHECK_ORDER,
     .steps = {ASKS(ANN, 4), SEES(ANN, ANN, 4, 6), SEES(BOB, ANN, 4, 6),
               SEES_AT(CAT, ANN, 4, 6, 107)}},
    {"order: numbers against positions", CHECK_ORDER | CHECK_FORWARD,
     .steps = {ASKS(ANN, 4), ASKS(BOB, 3), SEES_AT(ALL, ANN, 4, 6, 108),
               SEES_AT(ALL, BOB, 3, 7, 107)}},
    {"order: a number seen late", CHECK_ORDER | CHECK_HOLES | CHECK_FORWARD,
     .steps = {SEES(DAN, BOB, 1, 2), SEES(DAN, ANN, 1, 1)}},
    {"order: another text", CHECK_ORDER,
     .steps = {ASKS(ANN, 4), ASKS(ANN, 5), SEES(ANN, ANN, 4, 6), SEES(BOB, ANN, 4, 6),
               SEES_TEXT(CAT, ANN, 4, 6, 5)}},
    {"sender: overtaken", CHECK_SENDER,
     .steps = {ASKS(ANN, 5), ASKS(ANN, 4), SEES(ALL, ANN, 5, 6), SEES(ALL, ANN, 4, 7)}},
    {"forward: the position goes back", CHECK_FORWARD, .steps = {SEES_CHANGE(CAT, EPOCH, 50)}},
    {"forward: the epoch goes back", CHECK_FORWARD, .steps = {SEES_CHANGE(CAT, 2, 5000)}},
    {"failed: appears all the same", CHECK_FAILED,
     .steps = {ASKS(ANN, 4), FAILS(ANN, 4), SEES(ALL, ANN, 4, 6)}},
    {"time: bob asks after number 7 was acknowledged, and still gets number 6", CHECK_TIME,
     .steps = {ASKS(ANN, 4), IS_SENT(ANN, 4, 7), ASKS(BOB, 3), IS_SENT(BOB, 3, 6),
               SEES(ALL, BOB, 3, 6), SEES(ALL, ANN, 4, 7)}},
    {"invented: nobody typed it", CHECK_INVENTED, .steps = {SEES(ALL, ANN, 4, 6)}},
    {"invented: another typed it", CHECK_INVENTED, .steps = {ASKS(BOB, 4), SEES(ALL, ANN, 4, 6)}},
    {"typed: seen in another order than typed, though the requests' numbers ascend", CHECK_TYPED,
     .steps = {ASKS(ANN, 5), ASKS(ANN, 4), SEES(ALL, ANN, 4, 6), SEES(ALL, ANN, 5, 7)}},
};

/* Each rule of the row finds a violation, and no other does. */
static void judge(struct fixture *f, const struct row *row)
{
    unsigned found = 0;
    for (unsigned rule = 1; rule < CHECK_ALL; rule <<= 1) {
        if (checker_run(f->checker, rule) > 0) {
            assert_int_equal(checker_violation(f->checker, 0)->rule, rule);
            found |= rule;
        }
    }
    size_t all = checker_run(f->checker, CHECK_ALL);
    if (found != row->found || (all > 0) != (found != 0))
        fail_msg("%s: found by rules %#x, not by %#x", row->name, found, row->found);
    if (row->violations != 0 && all != row->violations)
        fail_msg("%s: %zu violations, not %zu", row->name, all, row->violations);
}

TEST(test_checker__finds_what_breaks_a_rule)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture fixture = {.now_us = 0};
        begin(&fixture);
        converse(&fixture);
        observe(&fixture, rows[i].steps);
        judge(&fixture, &rows[i]);
        end(&fixture);
    }
}

TEST_F(test_checker__finds_nothing_in_a_good_history)
{
    converse(f);
    checker_verify(f->checker, CHECK_ALL);
    assert_int_equal(checker_acknowledged(f->checker), 5);
    assert_int_equal(checker_observations(f->checker), 5 + 5 + 15);
}

TEST_F(test_checker__finds_nothing_in_nothing)
{
    assert_int_equal(checker_run(f->checker, CHECK_ALL), 0);
    assert_null(checker_violation(f->checker, 0));
}

TEST_F(test_checker__knows_a_direct_conversation_from_both_ends)
{
    checker_was_in(f->clients[ANN], "@bob", 1, EVER);
    checker_was_in(f->clients[BOB], "@ann", 1, EVER);
    struct observation seen = {.kind = OBSERVED_MESSAGE,
                               .room = "@bob",
                               .from = "ann",
                               .uid = "a:1",
                               .text = "psst",
                               .number = 1,
                               .epoch = 1,
                               .seq = 1};
    const struct observation asked = {.kind = OBSERVED_ASKED, .text = "psst"};
    checker_observe(f->clients[ANN], &asked);
    checker_observe(f->clients[ANN], &seen);
    judge(f, &(struct row){.name = "bob has not seen it", .found = CHECK_LOST});
    seen.room = "@ann";
    checker_observe(f->clients[BOB], &seen);
    checker_verify(f->checker, CHECK_ALL);
    seen.room = "@cat";
    seen.number = 2;
    checker_observe(f->clients[BOB], &seen);
    judge(f, &(struct row){.name = "the same uid in another conversation",
                           .found = CHECK_DOUBLED | CHECK_ORDER | CHECK_SENDER | CHECK_FORWARD});
}

/* Who comes later, or goes, need not see what was before or after. */
TEST_F(test_checker__asks_only_those_who_were_there)
{
    checker_was_in(f->clients[DAN], "room", 4, EVER);
    checker_was_in(f->clients[EVE], "room", 1, 2);
    converse(f);
    observe(f, (const struct step[]){SEES(DAN, BOB, 2, 4), SEES(DAN, ANN, 3, 5), {0}});
    observe(f, (const struct step[]){SEES(EVE, ANN, 1, 1), SEES(EVE, BOB, 1, 2), {0}});
    checker_verify(f->checker, CHECK_ALL);
}

TEST_F(test_form__no_number)
{
    checker_observe(f->clients[CAT], &(struct observation){.kind = OBSERVED_MESSAGE,
                                                           .room = "other",
                                                           .from = "gus",
                                                           .uid = "e:1",
                                                           .text = "x",
                                                           .epoch = 1,
                                                           .seq = 1});
    judge(f, &(struct row){.name = "no number", .found = CHECK_FORM});
}

TEST_F(test_form__no_uid)
{
    static const char *const uids[] = {NULL, "", ":", ":1", "abc", "abc:", "abc:x", "abc:1x"};
    for (size_t i = 0; i < sizeof uids / sizeof uids[0]; i++) {
        struct checker_client *client = checker_add(f->checker, "fay", "fay's client");
        checker_observe(client, &(struct observation){.kind = OBSERVED_MESSAGE,
                                                      .room = "other",
                                                      .from = "gus",
                                                      .uid = uids[i],
                                                      .text = "x",
                                                      .number = i + 1,
                                                      .epoch = 1,
                                                      .seq = i + 1});
        assert_int_equal(checker_run(f->checker, CHECK_FORM), i + 1);
    }
}
