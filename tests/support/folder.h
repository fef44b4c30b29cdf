/* SPDX-License-Identifier: MIT */
/* folder.h - a folder of a test's own, in the system's place for temporary files. */
#ifndef JACKDAW_TESTS_FOLDER_H
#define JACKDAW_TESTS_FOLDER_H

/* Makes an empty one. The caller's: ended with folder_remove. */
char *folder_new(void);

/* Removes it with all that is in it. */
void folder_remove(char *folder);

#endif
