/* The library's statistics as Kamailio's counters, group "sipwire", and by name for the RPC. */
#ifndef SIPWIRE_KAMAILIO_STATISTICS_H
#define SIPWIRE_KAMAILIO_STATISTICS_H
#include "module.h"

bool statistics_register(void); /* mod_init */

/* The n-th one of `stats` and its name; NULL: there are no more. */
const char *statistic(const sipwire_stats *stats, int n, uint64_t *value);
#endif
