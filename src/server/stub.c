#include "server/stub.h"
enum error store_install(struct store *store, const char *file, struct position common, struct error_text *why){(void)store;(void)file;(void)common;return error_set(why, ERROR_INVALID,"stub");}
