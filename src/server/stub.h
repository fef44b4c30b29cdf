#pragma once
#include "store/store.h"
#include "chat/chat.h"
enum error store_install(struct store *store, const char *file, struct position common, struct error_text *why);
struct rpc_channel; static inline void rpc_channel_reconnect(struct rpc_channel *c){(void)c;}
