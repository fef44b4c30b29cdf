/* SPDX-License-Identifier: MIT */
#include "server/news.h"

#include "server/core.h"

#include <stdio.h>

void news_restart(struct news *news)
{
    news->number = 0;
    news->presence_count = news->typing_count = news->notices_count = 0;
}

/* ---- on the master ---- */

void news_add_presence(struct core *core, uint64_t session, bool is_present)
{
    struct news *news = &core->news;
    if (news->presence_count == NEWS_ITEMS_MAX)
        news_publish(core);
    news->presence[news->presence_count++] =
        (struct news_presence){.session = session, .is_present = is_present};
}

void news_add_typing(struct core *core, const struct chat_event *event)
{
    struct news *news = &core->news;
    if (news->typing_count == NEWS_ITEMS_MAX)
        news_publish(core);
    news->typing[news->typing_count++] = (struct news_typing){
        .room = event->room, .account = event->account, .is_typing = event->active};
}

void news_add_notice(struct core *core, const char *text)
{
    struct news *news = &core->news;
    if (news->notices_count == NEWS_NOTICES_MAX)
        news_publish(core);
    (void)snprintf(news->notices[news->notices_count++], NEWS_NOTICE_BYTES, "%s", text);
}

/* A session counts by its last change. */
static bool is_last_change(const struct news *news, size_t index)
{
    for (size_t i = index + 1; i < news->presence_count; i++)
        if (news->presence[i].session == news->presence[index].session)
            return false;
    return true;
}

static void fill_presence(const struct news *news, Jackdaw__News *out)
{
    for (size_t i = 0; i < news->presence_count; i++) {
        const struct news_presence *each = &news->presence[i];
        if (!is_last_change(news, i))
            continue;
        if (each->is_present)
            out->present[out->n_present++] = each->session;
        else
            out->silent[out->n_silent++] = each->session;
    }
}

void news_publish(struct core *core)
{
    struct news *news = &core->news;
    if (news->presence_count + news->typing_count + news->notices_count == 0)
        return;
    uint64_t present[NEWS_ITEMS_MAX];
    uint64_t silent[NEWS_ITEMS_MAX];
    Jackdaw__News__Typing typing[NEWS_ITEMS_MAX];
    Jackdaw__News__Typing *typing_list[NEWS_ITEMS_MAX];
    char *notices[NEWS_NOTICES_MAX];
    Jackdaw__News out = JACKDAW__NEWS__INIT;
    out.number = ++news->number;
    out.time_ms = core->wall_ms;
    out.present = present;
    out.silent = silent;
    fill_presence(news, &out);
    for (size_t i = 0; i < news->typing_count; i++) {
        jackdaw__news__typing__init(&typing[i]);
        typing[i].room = news->typing[i].room;
        typing[i].account = news->typing[i].account;
        typing[i].active = news->typing[i].is_typing;
        typing_list[i] = &typing[i];
    }
    out.typing = typing_list;
    out.n_typing = news->typing_count;
    for (size_t i = 0; i < news->notices_count; i++)
        notices[i] = news->notices[i];
    out.notices = notices;
    out.n_notices = news->notices_count;
    cluster_publish_news(core->cluster, &out);
    news->presence_count = news->typing_count = news->notices_count = 0;
}

/* ---- on a slave ---- */

static bool take_presence(struct news *news, const uint64_t *sessions, size_t count,
                          bool is_present)
{
    if (count > NEWS_ITEMS_MAX - news->presence_count)
        return false;
    for (size_t i = 0; i < count; i++)
        news->presence[news->presence_count++] =
            (struct news_presence){.session = sessions[i], .is_present = is_present};
    return true;
}

bool news_take(struct core *core, const Jackdaw__News *in)
{
    struct news *news = &core->news;
    news->time_ms = in->time_ms;
    for (size_t i = 0; i < in->n_typing && news->typing_count < NEWS_ITEMS_MAX; i++)
        news->typing[news->typing_count++] =
            (struct news_typing){.room = in->typing[i]->room,
                                 .account = in->typing[i]->account,
                                 .is_typing = in->typing[i]->active};
    for (size_t i = 0; i < in->n_notices && news->notices_count < NEWS_NOTICES_MAX; i++)
        (void)snprintf(news->notices[news->notices_count++], NEWS_NOTICE_BYTES, "%s",
                       in->notices[i]);
    if (in->number <= news->number)
        return true; /* the presence of all sessions that was asked for contains it */
    bool is_next = in->number == news->number + 1;
    news->number = in->number;
    bool is_taken = take_presence(news, in->present, in->n_present, true) &&
                    take_presence(news, in->silent, in->n_silent, false);
    return is_next && is_taken;
}

void news_tell(struct core *core)
{
    struct news *news = &core->news;
    for (size_t i = 0; i < news->presence_count; i++)
        chat_set_present(core->chat, news->presence[i].session, news->presence[i].is_present,
                         core->now_ms, news->time_ms);
    for (size_t i = 0; i < news->typing_count; i++)
        chat_tell_typing(core->chat, news->typing[i].room, news->typing[i].account,
                         news->typing[i].is_typing, news->time_ms);
    for (size_t i = 0; i < news->notices_count; i++)
        subscriptions_notice(core->subscriptions, news->notices[i], news->time_ms);
    news->presence_count = news->typing_count = news->notices_count = 0;
}
