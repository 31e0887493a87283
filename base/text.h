// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_TEXT_H
#define TT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Text from outside, made fit to be shown: one line of valid UTF-8. */

/* Replace control characters and whatever is not UTF-8 (also a character that was cut at the
 * end) by '?', in place. */
void tt_text_clean(char *s);

/* Bytes of the UTF-8 character at s, of which n are left; 0: not one. */
size_t tt_text_char(const char *s, size_t n);

#endif
