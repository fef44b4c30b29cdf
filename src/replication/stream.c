/* SPDX-License-Identifier: MIT */
#include "replication/stream.h"

#include "replication/commit.h"
#include "replication/election.h"
#include "replication/heal.h"
#include "replication/join.h"
#include "replication/log.h"
#include "replication/members.h"
#include "replication/requests.h"
#include "replication/role.h"
#include "replication/send.h"

#include <string.h>

/* ---- master ---- */

enum error replica_propose(struct replica *r, const struct replica_event *event)
{
    if (r->role != REPLICA_MASTER || event->count == 0)
        return ERROR_REFUSED;
    replica_log_append_own(r, LOG_ENTRY_CHAT, event->bytes, event->size, event->count);
    return OK;
}

void replica_tell_committed(const struct replica *r, struct replica_message *out)
{
    ASSERT(r->role == REPLICA_MASTER);
    *out = (struct replica_message){.kind = REPLICA_COMMITTED,
                                    .from = r->options.id,
                                    .promised = r->promised,
                                    .epoch = r->epoch,
                                    .committed = {.seq = r->committed}};
    memcpy(out->cluster, r->cluster, sizeof out->cluster);
}

void replica_receive_fetch(struct replica *r, const struct replica_message *message)
{
    const struct replica_fetch *fetch = &message->fetch;
    bool is_slave = r->role == REPLICA_MASTER && message->epoch == r->epoch;
    bool is_candidate = fetch->recovering_log && message->epoch == r->promised;
    if (!is_slave && !is_candidate)
        return;
    bool is_kept = replica_log_has(r, fetch->after) && r->first_seq <= fetch->after.seq + 1;
    struct replica_message *page = replica_send_with(
        r, is_kept ? REPLICA_DO_SEND_ENTRIES : REPLICA_DO_SEND, REPLICA_ENTRIES, message->from);
    page->epoch = message->epoch;
    page->entries = (struct replica_entries){.recovering_log = fetch->recovering_log,
                                             .answer = is_kept ? REPLICA_DELTAS : REPLICA_DIVERGED,
                                             .after = fetch->after,
                                             .last = r->last,
                                             .committed = r->committed};
}

void replica_receive_ping(struct replica *r, const struct replica_message *message)
{
    const struct replica_member *member = replica_member_find(r, message->from);
    if (r->role == REPLICA_MASTER && message->promised > r->epoch && member != NULL &&
        !member->left) {
        replica_renew_epoch(r);
        return;
    }
    if (message->epoch == r->epoch)
        replica_receive_ack(r, message);
    bool is_master = r->role == REPLICA_MASTER;
    struct replica_message *answer = replica_send(r, REPLICA_PONG, message->from);
    answer->epoch = is_master ? r->epoch : 0;
    struct replica_pong *pong = &answer->pong;
    pong->role = r->role;
    pong->last = r->last;
    pong->committed = r->committed;
    pong->needed = is_master ? replica_needed_seq(r) : 0;
    pong->disk_age_ms = r->append_since_ms == 0 ? 0 : (uint32_t)(r->now_ms - r->append_since_ms);
    if (replica_is_following(r) && replica_sees_master(r))
        pong->leader = replica_own_leader(r);
}

/* ---- slave ---- */

static bool is_from_master(const struct replica *r, const struct replica_message *message)
{
    return replica_is_following(r) && message->from == r->master.id &&
           message->epoch == r->master.epoch;
}

/* Fetches entries that the feed will not bring. want: the end of the master's log. */
static void fetch_gap(struct replica *r, struct log_position want)
{
    struct catch_up *catch_up = &r->catch_up;
    if (catch_up->source == 0)
        *catch_up = (struct catch_up){.source = r->master.id, .progress_ms = r->now_ms};
    if (want.seq > catch_up->want.seq)
        catch_up->want = want;
    if (!catch_up->fetching)
        replica_ask_for_entries(r);
}

/* Whether the disk may be tried: it has not failed within the last two RESEND_MS. */
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
        if (!replica_log_is_next(r, batch) || batch->epoch > epoch || !may_append(r) ||
            replica_log_append(r, batch) != OK)
            return false;
    }
    return true;
}

void replica_receive_append(struct replica *r, const struct replica_message *message)
{
    if (!is_from_master(r, message)) {
        replica_receive_announce(r, message);
        return;
    }
    replica_role_note_master(r);
    if (!r->follows)
        return;
    const struct replica_append *append = &message->append;
    if (log_position_compare(append->before, r->last) == 0)
        append_all(r, append->entry, 1, r->master.epoch);
    else if (append->entry->last_seq > r->last.seq)
        fetch_gap(r, append->last);
    if (r->catch_up.source != 0 && r->last.seq >= r->catch_up.want.seq)
        replica_caught_up(r);
    replica_commit_learn(r, append->committed);
}

void replica_receive_committed(struct replica *r, const struct replica_message *message)
{
    if (!is_from_master(r, message))
        return;
    replica_role_note_master(r);
    replica_commit_learn(r, message->committed.seq);
}

void replica_receive_entries(struct replica *r, const struct replica_message *message)
{
    struct catch_up *catch_up = &r->catch_up;
    const struct replica_entries *page = &message->entries;
    bool is_recovering_log = r->role == REPLICA_RECOVERING_LOG && page->recovering_log;
    if (message->from != catch_up->source || catch_up->snapshot ||
        !(is_recovering_log ? message->epoch == r->epoch : is_from_master(r, message)))
        return;
    if (!is_recovering_log)
        replica_role_note_master(r);
    catch_up->fetching = false;
    if (page->answer != REPLICA_DELTAS) {
        if (is_recovering_log) {
            replica_role_step_down(r);
            return;
        }
        r->follows = false;
        replica_ask_to_join(r, r->master.id, NULL, true);
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
            return; /* the source lacks the entries, or this disk has no room: the tick asks again */
    }
    if (r->last.seq < catch_up->want.seq)
        replica_ask_for_entries(r);
    else
        replica_caught_up(r);
    if (!is_recovering_log)
        replica_commit_learn(r, page->committed);
}

void replica_receive_pong(struct replica *r, const struct replica_message *message)
{
    const struct replica_pong *pong = &message->pong;
    if (!replica_is_following(r) || message->from != r->master.id)
        return;
    if (pong->role != REPLICA_MASTER) {
        const struct replica_leader *leader = &pong->leader;
        replica_role_suspect(r);
        if (leader->id != 0 && leader->id != r->options.id && leader->epoch >= r->promised)
            replica_ask_to_join(r, leader->id, leader->address, false);
        return;
    }
    if (message->epoch != r->master.epoch) {
        if (message->epoch > r->master.epoch && message->epoch >= r->promised)
            replica_ask_to_join(r, message->from, NULL, false);
        return;
    }
    if (pong->disk_age_ms > r->options.disk_timeout_ms) {
        replica_role_suspect(r);
        return;
    }
    replica_role_note_master(r);
    if (!r->follows)
        return;
    if (pong->last.seq > r->last.seq)
        fetch_gap(r, pong->last);
    r->needed = pong->needed;
    replica_commit_learn(r, pong->committed);
}

void replica_stream_tick(struct replica *r)
{
    replica_role_suspect_silence(r, false);
    if (r->now_ms - r->ping_ms >= r->options.ping_ms)
        replica_ping(r);
}
