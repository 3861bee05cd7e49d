/* A request that fails after it was queued; see failure.h. tm takes transport errors from the call that sends, or waits for
 * its timer. The one way in that it has for news of a branch is an answer: so an answer is made, as the destination would
 * have made it, and received. tm finds the branch by the Via; a request that was forwarded without a transaction has the
 * answer sent back its way. */
#include "failure.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "address.h"
#include "events.h"
#include "listeners.h"
#include "processes.h"
#include "receive.h"

static const char *answered; /* the request whose failure is being received in this process */

/* Of a message that Kamailio has made: the Via that it has put on top, with the branch. */
static const char *top_via(const char *data, size_t *length)
{
    const char *via = strchr(data, '\n');

    *length = via == NULL ? 0 : strcspn(via + 1, "\n");
    return via == NULL ? data : via + 1;
}

bool failure_was_answered(const char *data)
{
    size_t length, its_length;
    const char *via, *its_via;

    if (answered == NULL || strncmp(data, "ACK ", 4) != 0)
        return false;
    via = top_via(data, &length);
    its_via = top_via(answered, &its_length);
    return length == its_length && memcmp(via, its_via, length) == 0;
}

/* Who answers an answer, an ACK or a CANCEL? tm watches a CANCEL's INVITE. */
static bool wants_answer(const char *data)
{
    static const char *const never[] = {"SIP/", "ACK ", "CANCEL "};

    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strncmp(data, never[i], strlen(never[i])) == 0)
            return false;
    return true;
}

static bool is_named(const char *line, const char *full, char compact)
{
    size_t length = strlen(full);

    if (strncasecmp(line, full, length) == 0)
        line += length;
    else if (compact != '\0' && (line[0] | 0x20) == compact)
        line += 1;
    else
        return false;
    return line[strspn(line, " \t")] == ':';
}

static bool is_copied(const char *line, bool *is_to)
{
    *is_to = is_named(line, "To", 't');
    return *is_to || is_named(line, "Via", 'v') || is_named(line, "From", 'f') || is_named(line, "Call-ID", 'i') ||
           is_named(line, "CSeq", '\0');
}

/* The end of a header, its folded lines included: behind its last line break. */
static const char *header_end(const char *header)
{
    const char *end = header;

    do {
        end += strcspn(end, "\n");
        if (*end == '\0')
            return end;
        end++;
    } while (*end == ' ' || *end == '\t');
    return end;
}

static bool has_tag(const char *header, const char *end)
{
    const char *p = memrchr(header, '>', (size_t)(end - header)); /* what is before belongs to the URI */

    for (p = p != NULL ? p : header; (p = memchr(p, ';', (size_t)(end - p))) != NULL;) {
        p++;
        if (strncasecmp(p + strspn(p, " \t"), "tag", 3) == 0)
            return true;
    }
    return false;
}

/* The core tries the next address of a name after a 503, and gives other codes back as they are. */
static const char *status_line(void)
{
    return cfg_get(core, core_cfg, use_dns_failover) ? "SIP/2.0 503 Next Hop Unreachable\r\n"
                                                     : "SIP/2.0 477 Next Hop Unreachable\r\n";
}

/* Its length; 0: no room. The request is what we have sent: complete, and with line ends of CRLF. */
static size_t make_answer(const char *request, char *out, size_t size)
{
    static unsigned number;
    size_t length = (size_t)snprintf(out, size, "%s", status_line());
    bool is_to;

    for (const char *end, *header = header_end(request); *header != '\r' && *header != '\n' && *header != '\0'; header = end) {
        end = header_end(header);
        if (!is_copied(header, &is_to))
            continue;
        size_t copied = (size_t)(end - header);
        bool add_tag = is_to && !has_tag(header, end);
        while (add_tag && copied > 0 && strchr("\r\n \t", header[copied - 1]) != NULL)
            copied--;
        if (length + copied + 64 > size)
            return 0;
        memcpy(out + length, header, copied);
        length += copied;
        if (add_tag) /* an answer has one (RFC 3261 8.2.6.2) */
            length += (size_t)snprintf(out + length, size - length, ";tag=sipwire-%x-%x\r\n", (unsigned)getpid(), number++);
    }
    length += (size_t)snprintf(out + length, size - length, "Content-Length: 0\r\n\r\n");
    return length;
}

static struct socket_info *socket_of(const sipwire_failure *failure)
{
    struct socket_info *si = (struct socket_info *)(uintptr_t)failure->cookie;

    return si != NULL ? si : listener_of_dialled(&failure->remote);
}

void failure_on_send_failed(void *user, sipwire_instance *from, sipwire_failure *failure)
{
    static char answer[BUF_SIZE];
    struct socket_info *si = socket_of(failure);
    sipwire_addr local = address_from_ip(&si->address, si->port_no);
    receive_info_t info;
    size_t length;

    (void)user, (void)from;
    if (processes_are_ending())
        return;
    receive_info_of(&info, failure->conn_id, &failure->remote, &local, -1);
    info.bind_address = si;
    events_failed(failure, &info);
    if (!wants_answer(failure->data))
        return;
    length = make_answer(failure->data, answer, sizeof answer);
    if (length == 0)
        return;
    answered = failure->data;
    receive_message(answer, length, &info);
    answered = NULL;
}
