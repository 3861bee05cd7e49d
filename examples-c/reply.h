/* For the examples: a 200 to a request, as pieces for sipwire_send. It copies Via, From, To, Call-ID and CSeq, and gives
 * To a tag; the lines stay in the message, which has to live until the pieces are sent. */
#ifndef REPLY_H
#define REPLY_H

#include <string.h>
#include <strings.h>
#include <sipwire.h>

enum { REPLY_PARTS = 128 };

/* Behind the URI: a parameter inside <> is the URI's own. */
static inline int reply_has_tag(const char *line, const char *end)
{
    const char *at = line;

    for (const char *c = line; c < end; c++)
        if (*c == '>')
            at = c;
    while (at < end && (at = memchr(at, ';', (size_t)(end - at))) != NULL) {
        at += 1 + strspn(at + 1, " \t\r\n");
        if (strncasecmp(at, "tag", 3) == 0 && at[3 + strspn(at + 3, " \t\r\n")] == '=')
            return 1;
    }
    return 0;
}

/* How many pieces; 0: an ACK or a response, which get no answer; -1: more headers than there is room for. */
static inline int reply_200(const sipwire_message *message, sipwire_iov parts[REPLY_PARTS])
{
    static const char *const copied[] = {"To", "t", "Via", "v", "From", "f", "Call-ID", "i", "CSeq"};
    const char *next = message->data, *end = next + message->header_length;
    int count = 0;

    if (strncmp(next, "SIP/", 4) == 0 || strncmp(next, "ACK ", 4) == 0)
        return 0;
    parts[count++] = (sipwire_iov){"SIP/2.0 200 OK\r\n", 16};
    while (next < end) {
        const char *line = next;
        size_t length, name;

        do { /* a line goes on while the next one begins with white space (RFC 3261 7.3.1) */
            next = memchr(next, '\n', (size_t)(end - next));
            next = next != NULL ? next + 1 : end;
        } while (next < end && (*next == ' ' || *next == '\t'));
        length = strcspn(line, " \t:\r\n");
        for (name = 0; name < 9; name++)
            if (strlen(copied[name]) == length && strncasecmp(copied[name], line, length) == 0)
                break;
        if (name == 9)
            continue;
        if (count + 3 > REPLY_PARTS)
            return -1;
        for (length = (size_t)(next - line); line[length - 1] == '\n' || line[length - 1] == '\r'; length--) {
        }
        parts[count++] = (sipwire_iov){line, length};
        parts[count++] = name > 1 || reply_has_tag(line, next) ? (sipwire_iov){"\r\n", 2} : (sipwire_iov){";tag=host\r\n", 11};
    }
    parts[count++] = (sipwire_iov){"Content-Length: 0\r\n\r\n", 21};
    return count;
}

#endif
