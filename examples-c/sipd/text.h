/* Bytes: `str`, a piece of somebody else's buffer, and `text`, a buffer that grows while a message is
 * written into it. Called by every other file of sipd; depends on nothing. */
#ifndef SIPD_TEXT_H
#define SIPD_TEXT_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct str {
    const char *s;
    size_t len;
};
#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_FMT(x) (int)(x).len, (x).s /* for "%.*s" */

struct str str_of(const char *text);
struct str str_trim(struct str s); /* white space and line ends at both ends */
bool str_equal(struct str a, struct str b);
bool str_equal_nocase(struct str a, struct str b);
bool str_number(struct str s, unsigned long max, unsigned long *out); /* digits only, at most max */

/* `failed` is set when memory ran out: what was added since is missing, the text must not be used. */
struct text {
    char *data;
    size_t length, capacity;
    bool failed;
};

void text_clear(struct text *t);
void text_free(struct text *t);
void text_add(struct text *t, struct str s);
void text_add_unfolded(struct text *t, struct str s); /* line ends become spaces (RFC 3261 7.3.1) */
void text_addf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
#endif
