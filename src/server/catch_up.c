/* SPDX-License-Identifier: MIT */
#include "server/catch_up.h"

#include "server/subscription.h"

#include <stddef.h>
#include <stdlib.h>

#define CATCH_UPS_MAX 256 /* of a server; further ones wait for the next delivery */
#define READ_ARENA_BYTES (4u * 1024u * 1024u)

struct catch_up {
    struct commit_waiter
        commit_waiter; /* first: opens when `until` is committed, and the reader sees it */
    struct task task;
    struct subscription_context *context;
    struct subscription *subscription; /* NULL: gone meanwhile, or started anew */
    struct arena arena;
    struct chat_plan *plan;
    struct chat_page page;
    uint64_t until;
    enum error error;
};

static struct catch_up *catch_up_of(struct task *task)
{
    return (struct catch_up *)((char *)task - offsetof(struct catch_up, task));
}

static void free_catch_up(struct catch_up *catch_up)
{
    catch_up->context->stats.reading--;
    arena_clear(&catch_up->arena);
    free(catch_up);
}

static void finish_reading(struct task *task)
{
    struct catch_up *catch_up = catch_up_of(task);
    struct subscription *subscription = catch_up->subscription;
    if (subscription != NULL) {
        if (catch_up->error == OK)
            subscription_take_page(subscription, &catch_up->page, catch_up->until);
        else
            subscription_fail_read(subscription, catch_up->error);
    }
    free_catch_up(catch_up);
}

/* The reader's thread, or the core's without a reader. */
static void read_now(struct task *task)
{
    struct catch_up *catch_up = catch_up_of(task);
    const struct subscriptions_options *options = &catch_up->context->options;
    struct store *store = options->reader_store == NULL ? options->store : options->reader_store;
    catch_up->error = chat_read(catch_up->plan, store, &catch_up->arena, &catch_up->page);
    catch_up->task.run = finish_reading;
    task_queue_push(options->queue, &catch_up->task);
}

static void on_readable(struct commit_waiter *commit_waiter, bool committed)
{
    struct catch_up *catch_up = (struct catch_up *)commit_waiter;
    struct subscription *subscription = catch_up->subscription;
    const struct subscriptions_options *options = &catch_up->context->options;
    if (!committed || subscription == NULL) {
        if (subscription != NULL)
            subscription_start_lagging(subscription, subscription->cursor.seq);
        free_catch_up(catch_up);
    } else if (options->reader == NULL) {
        read_now(&catch_up->task);
    } else {
        worker_push(options->reader, &catch_up->task);
    }
}

static enum error plan_reading(struct catch_up *catch_up, const struct subscription *subscription,
                               struct chat_session *session)
{
    struct chat_call call = {.session = session, .arena = &catch_up->arena};
    return chat_plan_receive(subscription->context->chat, &call, subscription->filled,
                             catch_up->until, &catch_up->plan);
}

struct catch_up *catch_up_new(struct subscription *subscription, uint64_t until)
{
    struct subscription_context *context = subscription->context;
    if (context->stats.reading >= CATCH_UPS_MAX)
        return NULL;
    struct chat_session *session = chat_find_session(context->chat, subscription->session);
    ASSERT(session != NULL);
    struct catch_up *catch_up = calloc(1, sizeof *catch_up);
    if (catch_up == NULL)
        return NULL;
    context->stats.reading++;
    catch_up->context = context;
    catch_up->subscription = subscription;
    catch_up->task.run = read_now;
    catch_up->commit_waiter.open = on_readable;
    catch_up->until = until;
    arena_init(&catch_up->arena, READ_ARENA_BYTES);
    if (plan_reading(catch_up, subscription, session) == OK)
        return catch_up;
    free_catch_up(catch_up);
    return NULL;
}

void catch_up_start(struct catch_up *catch_up)
{
    catch_up->context->stats.store_reads++;
    commit_log_wait(catch_up->context->options.commit_log, &catch_up->commit_waiter);
}

void catch_up_abandon(struct catch_up *catch_up)
{
    if (catch_up != NULL)
        catch_up->subscription = NULL;
}
