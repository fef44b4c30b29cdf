/* SPDX-License-Identifier: MIT */
/* database_digest.h - what is in a server's database, as sums that can be compared: of each table that must
 * be the same on all servers, and the digest of the log. One thread; what cannot be read fails the
 * test. */
#ifndef JACKDAW_TESTS_DATABASE_DIGEST_H
#define JACKDAW_TESTS_DATABASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATABASE_DIGEST_TABLES 6

struct database_digest {
    uint64_t last_seq; /* of the log; 0: empty */
    uint64_t rows[DATABASE_DIGEST_TABLES];
    uint64_t sums[DATABASE_DIGEST_TABLES];
};

/* Reads the database at path, in one transaction: its server may have it open. */
void database_digest_read(const char *path, struct database_digest *out);

/* What is not the same is named in difference. */
bool database_digests_are_equal(const struct database_digest *left,
                                const struct database_digest *right, char difference[static 128]);

#endif
