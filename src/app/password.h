/* SPDX-License-Identifier: MIT */
/* password.h - passwords from files. terminal.h reads typed passwords. */
#ifndef JACKDAW_APP_PASSWORD_H
#define JACKDAW_APP_PASSWORD_H

#include "base/error.h"

#define PASSWORD_SIZE 257 /* passwords have 1 to 256 bytes */

/* Reads the first line of a file. ERROR_NOT_FOUND, ERROR_DENIED, ERROR_IO; ERROR_INVALID: it is
 * empty, longer than a password may be, or no text. Sentence in why. */
enum error password_read_file(const char *path, char out[static PASSWORD_SIZE],
                              struct error_text *why);

#endif
