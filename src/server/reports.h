/* SPDX-License-Identifier: MIT */
/* reports.h - what a slave tells its master about the clients that it serves, and what it learns.
 *
 * A slave reports every second: the sessions that it heard, and up to where accounts have received
 * events. So the master knows when each session was last heard on any server. The slave asks for the
 * presence of all sessions when it begins to follow an epoch, and after a gap in the news (news.h). Number
 * and marks (chat_ask_presence) bring this list and the news into one order, whichever comes first.
 *
 *             another epoch                  the master answers
 *     NEW <------------------ any state      NEW ---------------> ACCEPTED: this slave answers reads
 *                                            NEW ---------------> UNKNOWN: the master is too old; this
 *                                                 UNIMPLEMENTED            slave forwards every request
 *
 * Core thread only. */
#ifndef JACKDAW_SERVER_REPORTS_H
#define JACKDAW_SERVER_REPORTS_H

#include "base/arena.h"
#include "base/error.h"
#include "chat/chat.h"
#include "rpc/channel.h"
#include "spec.pb-c.h"

struct core;

#define REPORTS_HEARD_MAX \
    65536 /* sessions between two reports; later ones count when heard again */
#define REPORTS_DELIVERED_MAX 4096  /* accounts of one report; the others follow */
#define REPORTS_SESSIONS_MAX 500000 /* in the presence of all sessions; others count as silent */

enum reports_state { REPORTS_NEW, REPORTS_ACCEPTED, REPORTS_UNKNOWN };

struct reports {
    struct rpc_result result; /* first: of the report under way */
    struct core *core;
    enum reports_state state;
    uint64_t epoch; /* that state, and the report under way, are of */
    bool is_under_way;
    bool wants_presence; /* in the next report */
    bool asked_presence; /* in the report under way */
    bool is_urgent;      /* a session was heard after a silence */
    bool told_readers;   /* the last report told that there are readers */
    uint64_t next_ms;    /* when the next one is due */
    uint64_t sent_ms;    /* when the last one was sent */
    uint64_t period;     /* counts the reports sent */
    uint64_t *heard;     /* session ids; the first `sent` are in the report under way */
    size_t heard_count;
    size_t heard_capacity;
    size_t sent;
    uint64_t told_news; /* number of the last news, by the answer before */
};

void reports_init(struct reports *reports, struct core *core);
void reports_release(struct reports *reports);

/* ---- on a slave ---- */

/* The role or the epoch has changed. */
void reports_restart(struct reports *reports);

/* This slave has heard the session. */
void reports_note_heard(struct reports *reports, struct chat_session *session);

/* The next report asks for the presence of all sessions, and is due now. */
void reports_want_presence(struct reports *reports);

/* Takes the master's answer to the report under way. For tests. */
void reports_take_reply(struct reports *reports, const Jackdaw__ReportReply *reply);

/* Sends a report that is due. Once a turn. */
void reports_work(struct reports *reports);

/* ---- on the master ---- */

/* Takes a report of a slave and fills *reply; parts in the arena. */
void reports_take(struct core *core, const Jackdaw__ReportRequest *request, struct arena *arena,
                  Jackdaw__ReportReply *reply);

#endif
