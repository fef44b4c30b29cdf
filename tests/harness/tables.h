/* SPDX-License-Identifier: MIT */
/* tables.h - what is in a server's database, as sums that can be compared: of each table that must
 * be the same on all servers, and the digest of the log. One thread; what cannot be read fails the
 * test. */
#ifndef JACKDAW_TESTS_TABLES_H
#define JACKDAW_TESTS_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLES_COUNT 6

struct tables {
    uint64_t rows[TABLES_COUNT];
    uint64_t sums[TABLES_COUNT];
};

/* Reads the database at path, which its server may have open. */
void tables_read(const char *path, struct tables *out);

/* What is not the same is named in difference. */
bool tables_are_equal(const struct tables *left, const struct tables *right,
                      char difference[static 128]);

#endif
