/* SPDX-License-Identifier: MIT */
/* poison.c - loaded before the C library (LD_PRELOAD): a text that ends the server.
 *
 * A process that binds a text which contains the one in JACKDAW_TEST_POISON to a statement of SQLite
 * says so on standard error and aborts, as it would at a failed assertion; or, where
 * JACKDAW_TEST_POISON_LOOPS is set, computes for ever. */
#include <dlfcn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int bind_text64(sqlite3_stmt *statement, int parameter, const char *text,
                        sqlite3_uint64 size, void (*destructor)(void *), unsigned char encoding);

static bind_text64 *real_bind;
static const char *poison;

__attribute__((constructor)) static void load(void)
{
    *(void **)&real_bind = dlsym(RTLD_NEXT, "sqlite3_bind_text64");
    poison = getenv("JACKDAW_TEST_POISON");
}

static void die(void)
{
    volatile unsigned turns = 0;
    while (getenv("JACKDAW_TEST_POISON_LOOPS") != NULL)
        turns++;
    (void)fprintf(stderr, "poison: %s\n", poison);
    abort();
}

int sqlite3_bind_text64(sqlite3_stmt *statement, int parameter, const char *text,
                        sqlite3_uint64 size, void (*destructor)(void *), unsigned char encoding)
{
    if (poison != NULL && text != NULL && memmem(text, size, poison, strlen(poison)) != NULL)
        die();
    return real_bind(statement, parameter, text, size, destructor, encoding);
}
