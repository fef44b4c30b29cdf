/* SPDX-License-Identifier: MIT */
/* outcome.h - the flags of struct outcome_row. Numbers are in databases: never reused. */
#ifndef JACKDAW_CHAT_OUTCOME_H
#define JACKDAW_CHAT_OUTCOME_H

#define OUTCOME_CREATED 1u /* JoinRoom made the room */

#endif
