/* SPDX-License-Identifier: MIT */
#include "chat/password.h"

#include <sodium.h>
#include <string.h>

_Static_assert(PASSWORD_HASH_SIZE == crypto_pwhash_STRBYTES, "password.h and libsodium differ");

enum error password_hash(const char *password, enum password_cost cost,
                         char hash[static PASSWORD_HASH_SIZE])
{
    bool is_minimal = cost == PASSWORD_COST_MINIMAL;
    unsigned long long passes =
        is_minimal ? crypto_pwhash_argon2id_OPSLIMIT_MIN : crypto_pwhash_OPSLIMIT_INTERACTIVE;
    size_t memory =
        is_minimal ? crypto_pwhash_argon2id_MEMLIMIT_MIN : crypto_pwhash_MEMLIMIT_INTERACTIVE;
    if (sodium_init() < 0)
        return ERROR_INTERNAL;
    int result = crypto_pwhash_str_alg(hash, password, strlen(password), passes, memory,
                                       crypto_pwhash_ALG_ARGON2ID13);
    return result == 0 ? OK : ERROR_NO_MEMORY;
}

bool password_verify(const char *password, const char *hash)
{
    if (sodium_init() < 0 || strlen(hash) >= PASSWORD_HASH_SIZE)
        return false;
    return crypto_pwhash_str_verify(hash, password, strlen(password)) == 0;
}
