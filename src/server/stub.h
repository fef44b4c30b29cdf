#pragma once
#include "chat/chat.h"
#include "store/store.h"
enum error store_install(struct store *store, const char *file, struct position common,
                         struct error_text *why);
enum error store_snapshot_take(struct store *reader, const char *path, struct position *position);
enum chat_taking { CHAT_KNOWN, CHAT_APPLY, CHAT_WAIT, CHAT_DROP };
enum chat_taking chat_take_over(struct chat *chat, struct chat_call *call,
                                const Jackdaw__Delta *orphan);
struct rpc_channel;
static inline void rpc_channel_reconnect(struct rpc_channel *c)
{
    (void)c;
}
