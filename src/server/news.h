/* SPDX-License-Identifier: MIT */
/* news.h - events that no log keeps, for the clients of all servers: presence, typing, notices.
 *
 * The master collects the news of a turn and publishes them by its feed (Jackdaw__News). A slave keeps
 * what arrives until its store is free, and then tells the chat and the subscriptions. The feed loses
 * messages; the numbers show which. Then the slave asks for the presence of all sessions by its next
 * report (reports.h); typing and notices are lost.
 *
 * Core thread only. */
#ifndef JACKDAW_SERVER_NEWS_H
#define JACKDAW_SERVER_NEWS_H

#include "chat/chat.h"
#include "spec.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct core;

#define NEWS_ITEMS_MAX 256    /* of each kind: the master publishes then, a slave drops the rest */
#define NEWS_NOTICES_MAX 4    /* of one turn */
#define NEWS_NOTICE_BYTES 256 /* with NUL; a longer one is cut */

struct news_presence {
    uint64_t session;
    bool is_present;
};

struct news_typing {
    uint64_t room;
    uint64_t account;
    bool is_typing;
};

/* A news filled with zeros is empty. */
struct news {
    uint64_t number;  /* of the last one published, or taken, in this epoch */
    uint64_t time_ms; /* slave: of the last one taken */
    struct news_presence presence[NEWS_ITEMS_MAX];
    size_t presence_count;
    struct news_typing typing[NEWS_ITEMS_MAX];
    size_t typing_count;
    char notices[NEWS_NOTICES_MAX][NEWS_NOTICE_BYTES];
    size_t notices_count;
};

/* Begins the numbers of another epoch, and drops what is collected. */
void news_restart(struct news *news);

/* ---- on the master ---- */

void news_add_presence(struct core *core, uint64_t session, bool is_present);
void news_add_typing(struct core *core, const struct chat_event *event);
void news_add_notice(struct core *core, const char *text);

/* Publishes the collected news, if there are any. At the end of each turn, and before another module reads
 * the number. */
void news_publish(struct core *core);

/* ---- on a slave ---- */

/* Takes the news of the feed. Returns false if one before it is missing, or there is no room for all of it:
 * the slave must ask for the presence of all sessions. */
bool news_take(struct core *core, const Jackdaw__News *news);

/* Tells chat and subscriptions what was taken. While the commit log is free. */
void news_tell(struct core *core);

#endif
