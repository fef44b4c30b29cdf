/* SPDX-License-Identifier: MIT */
#include "replication/members.h"

#include <string.h>

#define MEMBERS_VERSION 1
enum { FLAG_IN_SYNC = 1, FLAG_LEFT = 2, FLAG_VOTER = 4 };

/* ---- bytes ---- */

static uint8_t *put_text(uint8_t *at, const char *text)
{
    size_t size = strlen(text);
    *at++ = (uint8_t)(size >> 8);
    *at++ = (uint8_t)size;
    memcpy(at, text, size);
    return at + size;
}

size_t replica_members_pack(const struct members *members, uint8_t *bytes)
{
    uint8_t *at = bytes;
    *at++ = MEMBERS_VERSION;
    *at++ = (uint8_t)members->count;
    for (size_t i = 0; i < members->count; i++) {
        const struct replica_member *member = &members->items[i];
        *at++ = (uint8_t)(member->id >> 8);
        *at++ = (uint8_t)member->id;
        *at++ = (uint8_t)(member->level >> 8);
        *at++ = (uint8_t)member->level;
        *at++ = (uint8_t)((member->in_sync ? FLAG_IN_SYNC : 0) | (member->left ? FLAG_LEFT : 0) |
                          (member->voter ? FLAG_VOTER : 0));
        at = put_text(at, member->internal);
        at = put_text(at, member->client);
    }
    return (size_t)(at - bytes);
}

static bool take_text(const uint8_t **at, const uint8_t *end, char text[static ADDRESS_TEXT_SIZE])
{
    if (end - *at < 2)
        return false;
    size_t size = (size_t)(*at)[0] << 8 | (*at)[1];
    *at += 2;
    if (size >= ADDRESS_TEXT_SIZE || (size_t)(end - *at) < size || memchr(*at, 0, size) != NULL)
        return false;
    memset(text, 0, ADDRESS_TEXT_SIZE);
    memcpy(text, *at, size);
    *at += size;
    return true;
}

static bool take_member(const uint8_t **at, const uint8_t *end, struct replica_member *member)
{
    if (end - *at < 5)
        return false;
    const uint8_t *head = *at;
    *at += 5;
    member->id = (uint16_t)(head[0] << 8 | head[1]);
    member->level = (uint16_t)(head[2] << 8 | head[3]);
    member->in_sync = (head[4] & FLAG_IN_SYNC) != 0;
    member->left = (head[4] & FLAG_LEFT) != 0;
    member->voter = (head[4] & FLAG_VOTER) != 0;
    return member->id != 0 && take_text(at, end, member->internal) &&
           take_text(at, end, member->client);
}

enum error replica_members_unpack(const uint8_t *bytes, size_t size, struct replica_member *out,
                                  size_t *count)
{
    if (size < 2 || bytes[0] != MEMBERS_VERSION || bytes[1] > REPLICA_MEMBERS_MAX)
        return ERROR_INVALID;
    const uint8_t *at = bytes + 2;
    const uint8_t *end = bytes + size;
    for (size_t i = 0; i < bytes[1]; i++) {
        if (!take_member(&at, end, &out[i]))
            return ERROR_INVALID;
        for (size_t k = 0; k < i; k++)
            if (out[k].id == out[i].id)
                return ERROR_INVALID;
    }
    if (at != end)
        return ERROR_INVALID;
    *count = bytes[1];
    return OK;
}

/* ---- finding ---- */

const struct replica_member *replica_member_find(const struct replica *r, uint16_t id)
{
    for (size_t i = 0; i < r->members.count; i++)
        if (r->members.items[i].id == id)
            return &r->members.items[i];
    return NULL;
}

struct peer *replica_peer_find(struct replica *r, uint16_t id)
{
    for (size_t i = 0; id != 0 && i < REPLICA_MEMBERS_MAX; i++)
        if (r->peers[i].id == id)
            return &r->peers[i];
    return NULL;
}

bool replica_member_is_in_sync(const struct replica *r, uint16_t id)
{
    const struct replica_member *member = replica_member_find(r, id);
    return member != NULL && member->in_sync && !member->left;
}

bool replica_is_member(const struct replica *r)
{
    const struct replica_member *self = replica_member_find(r, r->options.id);
    return self != NULL && !self->left;
}

uint16_t replica_level(const struct replica *r)
{
    uint16_t lowest = UINT16_MAX;
    size_t count = 0;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        if (member->left)
            continue;
        count++;
        lowest = member->level < lowest ? member->level : lowest;
    }
    return count == 0 ? r->options.level : lowest;
}

size_t replica_voters_count(const struct replica *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->members.count; i++)
        count += r->members.items[i].voter && !r->members.items[i].left;
    return count;
}

const struct peer *replica_peer_look(const struct replica *r, uint16_t id)
{
    for (size_t i = 0; id != 0 && i < REPLICA_MEMBERS_MAX; i++)
        if (r->peers[i].id == id)
            return &r->peers[i];
    return NULL;
}

bool replica_member_has_promised(const struct replica *r, const struct replica_member *member)
{
    const struct peer *peer = replica_peer_look(r, member->id);
    return member->id == r->options.id || (peer != NULL && peer->promised);
}

/* ---- keeping peers beside the list ---- */

static void sync_peers(struct replica *r)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        if (r->peers[i].id != 0 && replica_member_find(r, r->peers[i].id) == NULL)
            r->peers[i] = (struct peer){0};
    for (size_t i = 0; i < r->members.count; i++) {
        uint16_t id = r->members.items[i].id;
        if (id == r->options.id || replica_peer_find(r, id) != NULL)
            continue;
        for (size_t k = 0; k < REPLICA_MEMBERS_MAX; k++)
            if (r->peers[k].id == 0) {
                r->peers[k] = (struct peer){.id = id, .last_seen_ms = r->now_ms};
                if (id == r->master.id &&
                    replica_is_following(r)) /* the list may have its old address */
                    memcpy(r->peers[k].told, r->master.address, sizeof r->peers[k].told);
                break;
            }
    }
}

static bool comes_before(const struct replica_member *left, const struct replica_member *right)
{
    struct address a, b;
    bool is_left = address_parse(left->internal, &a, NULL) == OK;
    bool is_right = address_parse(right->internal, &b, NULL) == OK;
    if (is_left != is_right)
        return is_left;
    int order = is_left ? address_compare(&a, &b) : strcmp(left->internal, right->internal);
    return order != 0 ? order < 0 : left->id < right->id;
}

static void sort(struct members *members)
{
    for (size_t i = 1; i < members->count; i++)
        for (size_t k = i; k > 0 && comes_before(&members->items[k], &members->items[k - 1]); k--) {
            struct replica_member moved = members->items[k];
            members->items[k] = members->items[k - 1];
            members->items[k - 1] = moved;
        }
}

enum error replica_members_read(struct replica *r, const uint8_t *bytes, size_t size)
{
    struct members *next = &r->next_members;
    enum error error = replica_members_unpack(bytes, size, next->items, &next->count);
    r->members_changed = false;
    if (error == OK)
        sort(next);
    return error;
}

void replica_members_adopt(struct replica *r, struct log_position position)
{
    r->members = r->next_members;
    r->members_position = position;
    sync_peers(r);
}

void replica_members_clear(struct replica *r)
{
    r->members.count = 0;
    r->members_position = (struct log_position){0, 0};
    r->members_changed = false;
    memset(r->peers, 0, sizeof r->peers);
}

/* ---- changing the list (the master) ---- */

static void begin_change(struct replica *r)
{
    if (!r->members_changed)
        r->next_members = r->members;
    r->members_changed = true;
}

struct replica_member *replica_members_edit(struct replica *r, uint16_t id)
{
    begin_change(r);
    for (size_t i = 0; i < r->next_members.count; i++)
        if (r->next_members.items[i].id == id)
            return &r->next_members.items[i];
    return NULL;
}

struct replica_member *replica_members_add(struct replica *r, uint16_t id, const char *internal,
                                           const char *client)
{
    struct replica_member *member = replica_members_edit(r, id);
    if (member == NULL) {
        if (r->next_members.count == REPLICA_MEMBERS_MAX)
            return NULL;
        member = &r->next_members.items[r->next_members.count++];
        *member = (struct replica_member){.id = id};
    }
    memset(member->internal, 0, sizeof member->internal);
    memset(member->client, 0, sizeof member->client);
    memcpy(member->internal, internal, strlen(internal));
    memcpy(member->client, client, strlen(client));
    return member;
}

/* ---- who is in sync ---- */

void replica_in_sync_update(struct replica_in_sync_set *set,
                            const struct replica_in_sync_set *other)
{
    if (other->count > 0 && log_position_compare(other->position, set->position) > 0)
        *set = *other;
}

struct replica_in_sync_set replica_in_sync_own(const struct replica *r)
{
    struct replica_in_sync_set set = {.position = r->members_position};
    for (size_t i = 0; i < r->members.count; i++)
        if (r->members.items[i].in_sync && !r->members.items[i].left)
            set.ids[set.count++] = r->members.items[i].id;
    return set;
}

bool replica_in_sync_has(const struct replica_in_sync_set *set, uint16_t id)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->ids[i] == id)
            return true;
    return false;
}
