/* SPDX-License-Identifier: MIT */
#include "chat/pattern.h"

#include <string.h>

bool pattern_parse(const char *text, struct pattern *out)
{
    if (text[0] == '\0')
        text = "*";
    if (!name_fold(text, out->folded))
        return false;
    out->prefix = strcspn(out->folded, "*?");
    return true;
}

static const char *next_character(const char *text)
{
    do
        text++;
    while (((unsigned char)*text & 0xC0) == 0x80);
    return text;
}

/* Only the last star has to be retried: it can match all that an earlier star could. */
bool pattern_matches(const struct pattern *pattern, const char *folded)
{
    const char *wanted = pattern->folded;
    const char *after_star = NULL;
    const char *retry = NULL;
    while (*folded != '\0') {
        if (*wanted == '*') {
            after_star = ++wanted;
            retry = folded;
        } else if (*wanted == '?') {
            wanted++;
            folded = next_character(folded);
        } else if (*wanted == *folded) {
            wanted++;
            folded++;
        } else if (after_star != NULL) {
            wanted = after_star;
            retry = next_character(retry);
            folded = retry;
        } else {
            return false;
        }
    }
    while (*wanted == '*')
        wanted++;
    return *wanted == '\0';
}
