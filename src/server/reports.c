/* SPDX-License-Identifier: MIT */
#include "server/reports.h"

#include "server/core.h"

#include <stdlib.h>
#include <string.h>

#define REPORT_MS 1000u
#define REPORT_SOON_MS 20u  /* between two, also urgent ones */
#define REPORT_AGAIN_MS 50u /* after one that failed */
#define UNKNOWN_MS 5000u    /* until an older master is asked again: it may be upgraded */
#define HEARD_FIRST 64

void reports_init(struct reports *reports, struct core *core)
{
    *reports = (struct reports){.core = core, .period = 1};
}

void reports_release(struct reports *reports)
{
    free(reports->heard);
    reports->heard = NULL;
    reports->heard_count = reports->heard_capacity = 0;
}

/* ---- on a slave ---- */

void reports_restart(struct reports *reports)
{
    reports->state = REPORTS_NEW;
    reports->next_ms = reports->core->now_ms;
    reports->wants_presence = true;
    reports->told_news = 0;
}

void reports_want_presence(struct reports *reports)
{
    reports->wants_presence = true;
    reports->is_urgent = true;
}

static bool make_room(struct reports *reports)
{
    if (reports->heard_count < reports->heard_capacity)
        return true;
    size_t capacity = reports->heard_capacity == 0 ? HEARD_FIRST : 2 * reports->heard_capacity;
    if (capacity > REPORTS_HEARD_MAX)
        return false;
    uint64_t *heard = reallocarray(reports->heard, capacity, sizeof *heard);
    if (heard == NULL)
        return false;
    reports->heard = heard;
    reports->heard_capacity = capacity;
    return true;
}

void reports_note_heard(struct reports *reports, struct chat_session *session)
{
    if (!chat_session_is_present(session))
        reports->is_urgent = true;
    if (chat_session_mark_heard(session, reports->period) == reports->period || !make_room(reports))
        return;
    reports->heard[reports->heard_count++] = chat_session_id(session);
}

static void drop_sent(struct reports *reports)
{
    reports->heard_count -= reports->sent;
    memmove(reports->heard, reports->heard + reports->sent,
            reports->heard_count * sizeof *reports->heard);
}

/* News and list come over two connections, so news that follow the list may come first. */
static void take_presence(struct reports *reports, const Jackdaw__ReportReply *reply)
{
    struct core *core = reports->core;
    bool is_first = reports->state != REPORTS_ACCEPTED;
    const struct chat_presence_list list = {
        .sessions = reply->sessions,
        .count = reply->n_sessions,
        .are_present = reply->are_present,
        .is_newest = reply->news >= core->news.number,
        .tells = !is_first,
        .time_ms = reply->time_ms,
    };
    chat_set_presence(core->chat, &list, core->now_ms);
    if (list.is_newest) {
        core->news.number = reply->news;
        core->news.presence_count = 0; /* older than the reply */
    }
    if (is_first && reply->notice[0] != '\0')
        core_take_failover_notice(core, reply->notice, reply->time_ms);
    reports->state = REPORTS_ACCEPTED;
}

void reports_take_reply(struct reports *reports, const Jackdaw__ReportReply *reply)
{
    if (reports->sent > 0)
        drop_sent(reports);
    if (reply->has_presence)
        take_presence(reports, reply);
    else if (reports->core->news.number < reports->told_news)
        reports_want_presence(reports); /* the news of before the last report have not come */
    reports->told_news = reply->news;
    reports->asked_presence = reports->asked_presence && !reply->has_presence;
}

static void on_reply(const Jackdaw__ReportReply *reply, void *context)
{
    struct reports *reports = context;
    struct core *core = reports->core;
    reports->is_under_way = false;
    bool is_of_epoch = reports->epoch == replica_epoch(cluster_replica(core->cluster)) &&
                       core->role == REPLICA_SLAVE;
    if (reply != NULL && is_of_epoch) {
        reports_take_reply(reports, reply);
    } else if (reports->result.status == STATUS_UNIMPLEMENTED) {
        reports->state = REPORTS_UNKNOWN;
        reports->next_ms = core->now_ms + UNKNOWN_MS;
    } else {
        reports->next_ms = core->now_ms + REPORT_AGAIN_MS;
    }
    reports->sent = 0;
    if (reports->asked_presence)
        reports->wants_presence = true;
}

static void add_delivered(void *context, uint64_t account, uint64_t seq)
{
    Jackdaw__ReportRequest *request = context;
    request->accounts[request->n_accounts++] = account;
    request->seqs[request->n_seqs++] = seq;
}

/* Leaves it out without memory: an account stays noted until a delta has it. */
static void fill_delivered(struct core *core, struct arena *arena, Jackdaw__ReportRequest *request)
{
    request->accounts = arena_alloc(arena, REPORTS_DELIVERED_MAX * sizeof *request->accounts);
    request->seqs = arena_alloc(arena, REPORTS_DELIVERED_MAX * sizeof *request->seqs);
    if (request->accounts != NULL && request->seqs != NULL)
        chat_each_noted(core->chat, REPORTS_DELIVERED_MAX, add_delivered, request);
}

static void send_report(struct reports *reports)
{
    struct core *core = reports->core;
    struct arena arena;
    Jackdaw__ReportRequest request = JACKDAW__REPORT_REQUEST__INIT;
    arena_init(&arena, 3 * REPORTS_DELIVERED_MAX * sizeof(uint64_t));
    fill_delivered(core, &arena, &request);
    request.heard = reports->heard;
    request.n_heard = reports->heard_count;
    request.has_readers = reports->told_readers = reads_have_readers(core);
    request.wants_presence = reports->asked_presence = reports->wants_presence;
    reports->wants_presence = false;
    if (request.wants_presence)
        chat_ask_presence(core->chat);
    reports->is_under_way = true;
    reports->sent = reports->heard_count;
    reports->epoch = replica_epoch(cluster_replica(core->cluster));
    reports->is_urgent = false;
    reports->sent_ms = core->now_ms;
    reports->next_ms = core->now_ms + REPORT_MS;
    reports->period++;
    bool is_sent = cluster_report(core->cluster, &request, on_reply, reports);
    arena_clear(&arena);
    if (is_sent)
        return;
    reports->is_under_way = false;
    reports->sent = 0;
    reports->wants_presence = reports->asked_presence;
    reports->next_ms = core->now_ms + REPORT_AGAIN_MS;
}

/* The master tells commits to slaves with readers only, so it must learn of the first one soon. */
static bool is_urgent(const struct reports *reports)
{
    return reports->is_urgent || (!reports->told_readers && reads_have_readers(reports->core));
}

void reports_work(struct reports *reports)
{
    struct core *core = reports->core;
    if (core->role != REPLICA_SLAVE || core->forward == NULL || reports->is_under_way)
        return;
    bool is_due = core->now_ms >= reports->next_ms;
    if (is_due || (reports->state != REPORTS_UNKNOWN && is_urgent(reports) &&
                   core->now_ms >= reports->sent_ms + REPORT_SOON_MS))
        send_report(reports);
}

/* ---- on the master ---- */

struct presence_list {
    uint64_t *sessions;
    size_t present;
    size_t silent;
    size_t most;
    bool are_present;
    size_t count;
};

static void count_session(void *context, struct chat_session *session)
{
    struct presence_list *list = context;
    list->present += chat_session_is_present(session);
    list->silent += !chat_session_is_present(session);
}

static void list_session(void *context, struct chat_session *session)
{
    struct presence_list *list = context;
    if (chat_session_is_present(session) == list->are_present && list->count < list->most)
        list->sessions[list->count++] = chat_session_id(session);
}

static void fill_presence(struct core *core, struct arena *arena, Jackdaw__ReportReply *reply)
{
    struct presence_list list = {.most = REPORTS_SESSIONS_MAX};
    chat_each_session(core->chat, count_session, &list);
    list.are_present = list.present <= list.silent;
    size_t shorter = list.are_present ? list.present : list.silent;
    list.most = shorter < list.most ? shorter : list.most;
    list.sessions = arena_alloc(arena, list.most * sizeof *list.sessions);
    if (list.sessions == NULL)
        return; /* the slave asks again */
    chat_each_session(core->chat, list_session, &list);
    reply->has_presence = true;
    reply->are_present = list.are_present;
    reply->sessions = list.sessions;
    reply->n_sessions = list.count;
}

void reports_take(struct core *core, const Jackdaw__ReportRequest *request, struct arena *arena,
                  Jackdaw__ReportReply *reply)
{
    for (size_t i = 0; i < request->n_heard; i++) {
        struct chat_session *session = chat_find_session(core->chat, request->heard[i]);
        if (session != NULL)
            chat_touch(core->chat, session, core->now_ms, core->wall_ms);
    }
    for (size_t i = 0; i < request->n_accounts; i++)
        chat_note_account_delivered(core->chat, request->accounts[i], request->seqs[i]);
    news_publish(core);
    reply->news = core->news.number;
    reply->time_ms = core->wall_ms;
    if (core->failover_notice_until_ms != 0)
        reply->notice = core->failover_notice;
    if (request->wants_presence)
        fill_presence(core, arena, reply);
}
