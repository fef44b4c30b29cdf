/* SPDX-License-Identifier: MIT */
#include "commit/group_commit.h"

void group_commit_answered(struct group_commit *group, uint64_t answered, uint64_t count)
{
    if (answered > 0)
        *group = (struct group_commit){.expected = answered + count, .count = count};
}

bool group_commit_waits(struct group_commit *group, uint64_t count, uint64_t now_us)
{
    if (group->expected == 0)
        return false;
    if (group->end_us == 0)
        group->end_us = now_us + GROUP_COMMIT_US_MAX;
    bool is_quiet = count <= group->count && group->quiet_us != 0 && now_us >= group->quiet_us;
    if (is_quiet || count >= group->expected || now_us >= group->end_us) {
        *group = (struct group_commit){0};
        return false;
    }
    if (count > group->count)
        group->quiet_us = 0;
    group->count = count;
    return true;
}

uint64_t group_commit_deadline_us(struct group_commit *group, uint64_t now_us)
{
    if (group->end_us == 0)
        return UINT64_MAX;
    if (group->quiet_us == 0)
        group->quiet_us = now_us + GROUP_COMMIT_QUIET_US;
    return group->quiet_us < group->end_us ? group->quiet_us : group->end_us;
}
