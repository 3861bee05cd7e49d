/* Log lines on stderr; see log.h. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"", "error", "warning", "notice", "info", "debug"};
static int threshold = SIPWIRE_LOG_NOTICE;

bool log_set_level(const char *name)
{
    for (int level = SIPWIRE_LOG_ERROR; level <= SIPWIRE_LOG_DEBUG; level++)
        if (strcmp(name, names[level]) == 0) {
            threshold = level;
            return true;
        }
    return false;
}

void log_line(int level, const char *format, ...)
{
    char line[2048];
    va_list arguments;
    int length, more;

    if (level > threshold || level < SIPWIRE_LOG_ERROR)
        return;
    length = snprintf(line, sizeof line, "sipd: %s: ", names[level]);
    va_start(arguments, format);
    more = vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
    va_end(arguments);
    if (more < 0)
        return;
    length += more;
    if (length > (int)sizeof line - 2)
        length = (int)sizeof line - 2;
    for (int i = 0; i < length; i++)
        if ((unsigned char)line[i] < ' ') /* what a peer sent must not start a line of its own */
            line[i] = line[i] == '\t' ? ' ' : line[i] == '\n' ? '|' : '?';
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        return; /* nowhere left to say so */
}

void log_on_library(void *user, const sipwire_log_record *record)
{
    (void)user;
    if (record->suppressed > 0)
        log_line(record->level, "sipwire: %.*s (%u more like it left out)", (int)record->length, record->text,
                 record->suppressed);
    else
        log_line(record->level, "sipwire: %.*s", (int)record->length, record->text);
}
