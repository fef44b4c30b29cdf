/* SPDX-License-Identifier: MIT */
/* password.h - argon2id through libsodium (RFC 9106). Slow on purpose (tens of milliseconds, tens
 * of megabytes): call on a worker thread, never on the core thread. Thread safe. */
#ifndef JACKDAW_CHAT_PASSWORD_H
#define JACKDAW_CHAT_PASSWORD_H

#include "base/error.h"

#include <stdbool.h>

#define PASSWORD_HASH_SIZE 128 /* libsodium's crypto_pwhash_STRBYTES */

/* How much work a hash is: interactive for real use, minimal for tests and load generators. */
enum password_cost { PASSWORD_COST_INTERACTIVE, PASSWORD_COST_MINIMAL };

/* Hashes the password into text form. ERROR_NO_MEMORY. */
enum error password_hash(const char *password, enum password_cost cost,
                         char hash[static PASSWORD_HASH_SIZE]);

/* Whether the password is the one that hash was made from; false for a malformed hash too. */
bool password_verify(const char *password, const char *hash);

#endif
