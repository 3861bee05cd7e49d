/* What every thread or process of one sipd shares: the options and the library's instance. Filled by main.c before any
 * thread or child exists, only read afterwards. */
#ifndef SIPD_SERVER_H
#define SIPD_SERVER_H
#include <stdbool.h>
#include <stddef.h>
#include <sipwire.h>

struct server {
    bool processes;
    int workers;   /* TCP workers: numbers 0 .. workers-1 */
    int receivers; /* UDP receivers: the numbers after them */
    const char *script, *script_name;
    size_t script_length;
    size_t longest_message;     /* of both transports */
    unsigned grace_s;           /* how long a stop may take */
    const char *pcap;           /* the file for what passes on TCP, NULL: none */
    bool hints;                 /* say at the start what to type next */
    sipwire_instance *instance; /* NULL while the script is tried before the start */
};
extern struct server server;
#endif
