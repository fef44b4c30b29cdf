/* SPDX-License-Identifier: MIT */
#include "base/epoch_history.h"

/* Returns the index after the last start whose first_seq is at most seq. */
static size_t index_after(struct epoch_history history, uint64_t seq)
{
    size_t low = 0;
    size_t high = history.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (history.starts[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t epoch_history_last(struct epoch_history history)
{
    return history.count == 0 ? 0 : history.starts[history.count - 1].epoch;
}

bool epoch_history_ascends(struct epoch_history history, struct epoch_start start)
{
    if (start.epoch == 0 || start.first_seq == 0 || history.count == 0)
        return start.epoch != 0 && start.first_seq != 0;
    const struct epoch_start *last = &history.starts[history.count - 1];
    return start.epoch > last->epoch && start.first_seq > last->first_seq;
}

uint64_t epoch_history_at(struct epoch_history history, uint64_t seq)
{
    size_t index = index_after(history, seq);
    return index == 0 ? 0 : history.starts[index - 1].epoch;
}

struct log_position epoch_history_end(struct epoch_history history, uint64_t epoch,
                                      uint64_t last_seq)
{
    for (size_t i = history.count; i > 0 && history.starts[i - 1].epoch >= epoch; i--)
        if (history.starts[i - 1].epoch == epoch)
            return (struct log_position){
                .epoch = epoch,
                .seq = i < history.count ? history.starts[i].first_seq - 1 : last_seq,
            };
    return (struct log_position){0, 0};
}

struct log_position epoch_history_common(struct epoch_history left, uint64_t left_last,
                                         struct epoch_history right, uint64_t right_last)
{
    for (size_t i = left.count; i > 0; i--) {
        uint64_t epoch = left.starts[i - 1].epoch;
        struct log_position here = epoch_history_end(left, epoch, left_last);
        struct log_position there = epoch_history_end(right, epoch, right_last);
        if (there.epoch != 0)
            return here.seq < there.seq ? here : there;
    }
    return (struct log_position){0, 0};
}
