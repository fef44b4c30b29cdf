/* SPDX-License-Identifier: MIT */
/* convert.h - between generated messages (proto/spec.proto) and the types of base/. Pure; any thread. */
#ifndef JACKDAW_PROTO_CONVERT_H
#define JACKDAW_PROTO_CONVERT_H

#include "base/log_entry.h"
#include "spec.pb-c.h"

/* Returns the position of a message; (0, 0) for NULL, which is a position that was not sent. */
static inline struct log_position proto_position(const Jackdaw__Position *position)
{
    if (position == NULL)
        return (struct log_position){0, 0};
    return (struct log_position){.epoch = position->epoch, .seq = position->seq};
}

static inline Jackdaw__Position proto_position_message(struct log_position position)
{
    Jackdaw__Position message = JACKDAW__POSITION__INIT;
    message.epoch = position.epoch;
    message.seq = position.seq;
    return message;
}

#endif
