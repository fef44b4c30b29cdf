/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <string.h>

static void add_to_history(struct cursor *cursor, struct log_position last)
{
    if (last.epoch == 0)
        return;
    size_t remaining = cursor->history_count < CLIENT_CURSOR_HISTORY_MAX
                           ? cursor->history_count
                           : CLIENT_CURSOR_HISTORY_MAX - 1;
    memmove(&cursor->history[1], &cursor->history[0], remaining * sizeof cursor->history[0]);
    cursor->history[0] = last;
    cursor->history_count = remaining + 1;
}

void cursor_move(struct cursor *cursor, struct log_position to)
{
    if (to.epoch > cursor->at.epoch)
        add_to_history(cursor, cursor->at);
    cursor->at = to;
}

void cursor_reset(struct cursor *cursor, struct log_position to)
{
    size_t gone = 0;
    while (gone < cursor->history_count && cursor->history[gone].epoch >= to.epoch)
        gone++;
    cursor->history_count -= gone;
    memmove(&cursor->history[0], &cursor->history[gone],
            cursor->history_count * sizeof cursor->history[0]);
    cursor->at = to;
}

static void write_position(Jackdaw__Position *out, struct log_position position)
{
    jackdaw__position__init(out);
    out->epoch = position.epoch;
    out->seq = position.seq;
}

void cursor_write(const struct cursor *cursor, struct read_position *out)
{
    write_position(&out->after, cursor->at);
    out->count = cursor->history_count;
    for (size_t i = 0; i < out->count; i++) {
        write_position(&out->cursor_history[i], cursor->history[i]);
        out->list[i] = &out->cursor_history[i];
    }
}
