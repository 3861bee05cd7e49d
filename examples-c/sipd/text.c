/* Pieces of buffers and growing buffers; see text.h. Called by every other file of sipd. */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct str str_of(const char *text)
{
    return (struct str){text, strlen(text)};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && is_space(s.s[0]))
        s.s++, s.len--;
    while (s.len > 0 && is_space(s.s[s.len - 1]))
        s.len--;
    return s;
}

bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.s, b.s, a.len) == 0);
}

bool str_equal_nocase(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.s, b.s, a.len) == 0);
}

bool str_number(struct str s, unsigned long max, unsigned long *out)
{
    unsigned long value = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned long digit = (unsigned long)(s.s[i] - '0');
        if (s.s[i] < '0' || s.s[i] > '9' || digit > max || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

void text_clear(struct text *t)
{
    t->length = 0;
    t->failed = false;
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

/* Room for `more` bytes and a NUL. Doubling keeps a worker that relays the same traffic free of allocation. */
static bool text_reserve(struct text *t, size_t more)
{
    size_t capacity = t->capacity ? t->capacity : 4096;
    char *data;

    if (t->failed)
        return false;
    if (t->capacity - t->length > more)
        return true;
    while (capacity - t->length <= more)
        capacity *= 2;
    data = realloc(t->data, capacity);
    if (data == NULL) {
        t->failed = true;
        return false;
    }
    t->data = data;
    t->capacity = capacity;
    return true;
}

void text_add(struct text *t, struct str s)
{
    if (s.len == 0 || !text_reserve(t, s.len))
        return;
    memcpy(t->data + t->length, s.s, s.len);
    t->length += s.len;
    t->data[t->length] = '\0';
}

void text_add_unfolded(struct text *t, struct str s)
{
    size_t start = t->length;

    text_add(t, s);
    for (size_t i = start; i < t->length; i++)
        if (t->data[i] == '\r' || t->data[i] == '\n')
            t->data[i] = ' ';
}

void text_addf(struct text *t, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || !text_reserve(t, (size_t)length))
        return;
    va_start(arguments, format);
    vsnprintf(t->data + t->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    t->length += (size_t)length;
}
