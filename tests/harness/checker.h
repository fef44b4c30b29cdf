/* SPDX-License-Identifier: MIT */
/* checker.h - judges what several clients of one system saw and were told.
 *
 * A history is what one client observed, in the order it did: lines it was given, acknowledgements,
 * messages. The checker compares them with each other and with the promises of the system; it knows
 * neither servers nor how the histories came about. How a violation reads is for people; tests
 * count them and look at their rule. Unit tests: tests/cluster/test_checker.c. */
#ifndef JACKDAW_TESTS_CHECKER_H
#define JACKDAW_TESTS_CHECKER_H

#include <stddef.h>
#include <stdint.h>

enum checker_rule {
    /* What was acknowledged, or seen by anybody, was seen by everyone who was in the room. */
    CHECK_LOST = 1 << 0,
    /* No uid is seen, acknowledged or given up twice by one client, none is both of the latter. */
    CHECK_DOUBLED = 1 << 1,
    /* A reader sees a room's numbers without holes: each is one more than the one before. */
    CHECK_HOLES = 1 << 2,
    /* The same for everybody: which message a number of a room is, who sent it, where it lies in
     * the log; numbers and positions ascend together, for every reader. */
    CHECK_ORDER = 1 << 3,
    /* A session's requests are seen in the order of their numbers. */
    CHECK_SENDER = 1 << 4,
    /* The positions of what one client sees never go back. */
    CHECK_FORWARD = 1 << 5,
    /* What was given up never appears. */
    CHECK_FAILED = 1 << 6,
    /* What was typed after something else had been acknowledged comes behind it. */
    CHECK_TIME = 1 << 7,
    /* Every object has the fields that its kind must have. */
    CHECK_FORM = 1 << 8,
    /* What is seen of an account with recorded clients was typed at one of them. */
    CHECK_INVENTED = 1 << 9,
    /* What was typed at a client is seen in the order in which it was (texts typed once). */
    CHECK_TYPED = 1 << 10,

    CHECK_ALL = (1 << 11) - 1,
};

enum observation_kind {
    OBSERVED_ASKED,   /* the client was given text to send */
    OBSERVED_SENT,    /* a message of its own was acknowledged */
    OBSERVED_FAILED,  /* ... was given up */
    OBSERVED_MESSAGE, /* a message was shown */
    OBSERVED_OTHER,   /* another event with a position: joined, topic, ... */
    OBSERVED_AWAY,    /* the client is no longer in room, or was not for a while */
};

/* Strings: NULL where there is none. */
struct observation {
    enum observation_kind kind;
    uint64_t time_us; /* when; one clock for all clients */
    const char *room; /* as the client calls it: a direct conversation is "@other" */
    const char *from;
    const char *uid; /* SESSION:REQUEST */
    const char *text;
    uint64_t number;
    uint64_t epoch;
    uint64_t seq;
};

struct checker;
struct checker_client;

struct checker *checker_new(void);
void checker_free(struct checker *checker); /* NULL is allowed */

/* One more client: a device on which account is logged in. label: for people. */
struct checker_client *checker_add(struct checker *checker, const char *account, const char *label);

/* The next thing that this client observed. Everything is copied. */
void checker_observe(struct checker_client *client, const struct observation *observation);

/* The client was in the room from the message with number first until the one with number last
 * (UINT64_MAX: it still is), so it must have seen them. */
void checker_was_in(struct checker_client *client, const char *room, uint64_t first, uint64_t last);

/* Judges by the rules given. Returns the number of violations; the first ones are kept. */
size_t checker_run(struct checker *checker, unsigned rules);

struct checker_violation {
    enum checker_rule rule;
    char text[480];
};
/* NULL: there are not so many, or this one was not kept. */
const struct checker_violation *checker_violation(const struct checker *checker, size_t i);

/* Runs, and fails the test with the first violations if there is one. */
void checker_verify(struct checker *checker, unsigned rules);

/* How many messages were acknowledged; how many observations there are. */
size_t checker_acknowledged(const struct checker *checker);
size_t checker_observations(const struct checker *checker);

#endif
