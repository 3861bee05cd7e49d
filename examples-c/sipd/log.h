/* Log lines on stderr, one write(2) each so that lines of several processes never mix. Called from everywhere. */
#ifndef SIPD_LOG_H
#define SIPD_LOG_H
#include <stdbool.h>
#include <sipwire.h>

bool log_set_level(const char *name); /* error, warning, notice, info, debug */
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(SIPWIRE_LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(SIPWIRE_LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(SIPWIRE_LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(SIPWIRE_LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(SIPWIRE_LOG_DEBUG, __VA_ARGS__)

/* The library's log callback. */
void log_on_library(void *user, const sipwire_log_record *record);
#endif
