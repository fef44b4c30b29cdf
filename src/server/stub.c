#include "server/stub.h"
enum error store_install(struct store *store, const char *file, struct position common,
                         struct error_text *why)
{
    (void)store;
    (void)file;
    (void)common;
    return error_set(why, ERROR_INVALID, "stub");
}
enum error store_snapshot_take(struct store *reader, const char *path, struct position *position)
{
    (void)reader;
    (void)path;
    (void)position;
    return ERROR_INVALID;
}
enum chat_taking chat_take_over(struct chat *chat, struct chat_call *call,
                                const Jackdaw__Delta *orphan)
{
    (void)chat;
    (void)call;
    (void)orphan;
    return CHAT_KNOWN;
}
