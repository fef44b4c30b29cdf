/* SPDX-License-Identifier: MIT */
/* Batches from master to slaves, and the pings that show that both are there. */
#include "replication/replica_internal.h"

/* ---- master ---- */

/* Whoever had acked everything begins to owe an ack now. */
static void note_debt(struct replica *r)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        if (r->peers[i].id != 0 && r->peers[i].acked.seq >= r->last.seq)
            r->peers[i].progress_ms = r->now_ms;
}

void append_own(struct replica *r, enum log_entry_kind kind, const uint8_t *bytes, size_t size,
                uint64_t count)
{
    struct log_position before = r->last;
    struct log_entry batch = {
        .kind = kind,
        .epoch = r->epoch,
        .first_seq = before.seq + 1,
        .last_seq = before.seq + count,
        .bytes = bytes,
        .size = size,
    };
    note_debt(r);
    enum error error = log_append(r, &batch);
    ASSERT(error == OK);
    struct log_entry *published = &r->out->items[r->out->count - 1].entry;
    struct replica_message *message = message_with(r, REPLICA_DO_PUBLISH, REPLICA_APPEND, 0);
    message->epoch = r->epoch;
    message->append = (struct replica_append){
        .before = before, .last = r->last, .committed = r->committed, .entry = published};
}

enum error propose(struct replica *r, const struct replica_event *event)
{
    if (r->role != REPLICA_MASTER || event->count == 0)
        return ERROR_REFUSED;
    append_own(r, LOG_ENTRY_CHAT, event->bytes, event->size, event->count);
    return OK;
}

void receive_fetch(struct replica *r, const struct replica_message *message)
{
    const struct replica_fetch *fetch = &message->fetch;
    bool is_slave = r->role == REPLICA_MASTER && message->epoch == r->epoch;
    bool is_candidate = fetch->recovering_log && message->epoch == r->promised;
    if (!is_slave && !is_candidate)
        return;
    bool is_kept = log_has(r, fetch->after) && r->first_seq <= fetch->after.seq + 1;
    struct replica_message *page = message_with(
        r, is_kept ? REPLICA_DO_SEND_ENTRIES : REPLICA_DO_SEND, REPLICA_ENTRIES, message->from);
    page->epoch = message->epoch;
    page->entries = (struct replica_entries){.recovering_log = fetch->recovering_log,
                                             .answer = is_kept ? REPLICA_DELTAS : REPLICA_DIVERGED,
                                             .after = fetch->after,
                                             .last = r->last,
                                             .committed = r->committed};
}

void receive_ping(struct replica *r, const struct replica_message *message)
{
    const struct replica_member *member = member_find(r, message->from);
    if (r->role == REPLICA_MASTER && message->promised > r->epoch && member != NULL &&
        !member->left) {
        renew_epoch(r);
        return;
    }
    if (message->epoch == r->epoch)
        receive_ack(r, message);
    bool is_master = r->role == REPLICA_MASTER;
    struct replica_message *answer = message_to(r, REPLICA_PONG, message->from);
    answer->epoch = is_master ? r->epoch : 0;
    struct replica_pong *pong = &answer->pong;
    pong->role = r->role;
    pong->last = r->last;
    pong->committed = r->committed;
    pong->needed = is_master ? replica_needed_seq(r) : 0;
    pong->disk_age_ms = r->append_since_ms == 0 ? 0 : (uint32_t)(r->now_ms - r->append_since_ms);
    if (is_following(r) && master_is_seen(r))
        pong->leader = message_own_leader(r);
}

/* ---- slave ---- */

bool master_is_seen(const struct replica *r)
{
    if (r->role == REPLICA_MASTER)
        return true;
    return (r->role == REPLICA_JOINING || r->role == REPLICA_SLAVE) &&
           r->now_ms - r->master.last_seen_ms <= r->options.ping_timeout_ms;
}

static bool is_from_master(const struct replica *r, const struct replica_message *message)
{
    return is_following(r) && message->from == r->master.id && message->epoch == r->master.epoch;
}

static void note_master(struct replica *r)
{
    r->master.last_seen_ms = r->now_ms;
    update_follower_role(r);
}

void update_follower_role(struct replica *r)
{
    if (!is_following(r))
        return;
    /* A gap on the way does not unmake a slave, but it takes the whole log to make one. */
    bool is_slave = r->follows && member_is_in_sync(r, r->options.id) &&
                    (r->role == REPLICA_SLAVE || r->catch_up.source == 0);
    become(r, is_slave ? REPLICA_SLAVE : REPLICA_JOINING);
}

void send_ack(struct replica *r)
{
    if (!is_following(r) || !r->follows || r->master.epoch < r->promised)
        return;
    struct replica_message *ack = message_to(r, REPLICA_ACK, r->master.id);
    ack->epoch = r->master.epoch;
    ack->ack.durable = r->durable;
}

void send_ping(struct replica *r)
{
    r->ping_ms = r->now_ms;
    struct replica_message *ping = message_to(r, REPLICA_PING, r->master.id);
    ping->epoch = r->follows ? r->master.epoch : 0;
    ping->ping.durable = r->durable;
}

void send_fetch(struct replica *r)
{
    struct catch_up *catch_up = &r->catch_up;
    catch_up->fetching = true;
    catch_up->asked_ms = r->now_ms;
    struct replica_message *fetch = message_to(r, REPLICA_FETCH, catch_up->source);
    bool is_recovering_log = r->role == REPLICA_RECOVERING_LOG;
    fetch->epoch = is_recovering_log ? r->epoch : r->master.epoch;
    fetch->fetch = (struct replica_fetch){.recovering_log = is_recovering_log, .after = r->last};
}

/* The master has more than we have, and it will not come by itself. */
static void fetch_gap(struct replica *r, struct log_position want)
{
    struct catch_up *catch_up = &r->catch_up;
    if (catch_up->source == 0) {
        *catch_up = (struct catch_up){.source = r->master.id, .progress_ms = r->now_ms};
        update_follower_role(r);
    }
    if (want.seq > catch_up->want.seq)
        catch_up->want = want;
    if (!catch_up->fetching)
        send_fetch(r);
}

/* Whether appending makes sense just now; a failing disk is left alone for a moment. */
static bool may_append(const struct replica *r)
{
    return r->failed_ms == 0 || r->now_ms - r->failed_ms >= 2 * RESEND_MS;
}

static bool append_all(struct replica *r, const struct log_entry *entries, size_t count,
                       uint64_t epoch)
{
    for (size_t i = 0; i < count; i++) {
        const struct log_entry *batch = &entries[i];
        if (batch->last_seq <= r->last.seq)
            continue;
        if (!log_is_next(r, batch) || batch->epoch > epoch || !may_append(r) ||
            log_append(r, batch) != OK)
            return false;
    }
    return true;
}

void receive_append(struct replica *r, const struct replica_message *message)
{
    if (!is_from_master(r, message)) {
        receive_announce(r, message);
        return;
    }
    note_master(r);
    if (!r->follows)
        return;
    const struct replica_append *append = &message->append;
    if (log_position_compare(append->before, r->last) == 0)
        append_all(r, append->entry, 1, r->master.epoch);
    else if (append->entry->last_seq > r->last.seq)
        fetch_gap(r, append->last);
    if (r->catch_up.source != 0 && r->last.seq >= r->catch_up.want.seq)
        caught_up(r);
    commit_learn(r, append->committed);
    update_follower_role(r);
}

void receive_entries(struct replica *r, const struct replica_message *message)
{
    struct catch_up *catch_up = &r->catch_up;
    const struct replica_entries *page = &message->entries;
    bool is_recovering_log = r->role == REPLICA_RECOVERING_LOG && page->recovering_log;
    if (message->from != catch_up->source || catch_up->snapshot ||
        !(is_recovering_log ? message->epoch == r->epoch : is_from_master(r, message)))
        return;
    if (!is_recovering_log)
        note_master(r);
    catch_up->fetching = false;
    if (page->answer != REPLICA_DELTAS) {
        if (is_recovering_log) {
            step_down(r);
            return;
        }
        r->follows = false;
        update_follower_role(r);
        ask_to_join(r, r->master.id, NULL, true);
        return;
    }
    if (log_position_compare(page->after, r->last) == 0) {
        uint64_t before = r->last.seq;
        append_all(r, page->entries, page->count, is_recovering_log ? r->epoch : r->master.epoch);
        if (r->last.seq > before)
            catch_up->progress_ms = r->now_ms;
        if (page->last.seq > catch_up->want.seq && !is_recovering_log)
            catch_up->want = page->last;
        if (r->last.seq == before && r->last.seq < catch_up->want.seq)
            return; /* not there yet, or no place for it: ask again later */
    }
    if (r->last.seq < catch_up->want.seq)
        send_fetch(r);
    else
        caught_up(r);
    if (!is_recovering_log)
        commit_learn(r, page->committed);
}

void receive_pong(struct replica *r, const struct replica_message *message)
{
    const struct replica_pong *pong = &message->pong;
    if (!is_following(r) || message->from != r->master.id)
        return;
    if (pong->role != REPLICA_MASTER) {
        const struct replica_leader *leader = &pong->leader;
        suspect(r);
        if (leader->id != 0 && leader->id != r->options.id && leader->epoch >= r->promised)
            ask_to_join(r, leader->id, leader->address, false);
        return;
    }
    if (message->epoch != r->master.epoch) {
        if (message->epoch > r->master.epoch && message->epoch >= r->promised)
            ask_to_join(r, message->from, NULL, false);
        return;
    }
    if (pong->disk_age_ms > r->options.disk_timeout_ms) {
        suspect(r);
        return;
    }
    note_master(r);
    if (!r->follows)
        return;
    if (pong->last.seq > r->last.seq)
        fetch_gap(r, pong->last);
    r->needed = pong->needed;
    commit_learn(r, pong->committed);
    update_follower_role(r);
}

void stream_tick(struct replica *r)
{
    if (r->role != REPLICA_SUSPECTING &&
        r->now_ms - r->master.last_seen_ms > r->options.ping_timeout_ms)
        suspect(r);
    if (r->now_ms - r->ping_ms >= r->options.ping_ms)
        send_ping(r);
}
