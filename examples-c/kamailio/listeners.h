/* The core's TCP listen sockets: which ones the library serves, and their take-over. */
#ifndef SIPWIRE_KAMAILIO_LISTENERS_H
#define SIPWIRE_KAMAILIO_LISTENERS_H
#include "module.h"

/* modparam "keep": "tcp:ADDR:PORT" stays with the core. */
int listeners_keep(modparam_t type, void *value);

/* mod_init: decides which ones are taken. False: the log says why that cannot be. */
bool listeners_choose(void);
int listeners_workers(void);     /* as many as the core would have had for them */
bool listeners_core_has_any(void); /* TLS, or kept: the core needs workers of its own */

/* PROC_INIT: adds duplicates of the core's descriptors to the configuration; then makes the core deaf on its own. */
bool listeners_add(sipwire_config *config);
bool listeners_take_over(void);

/* The core's socket of a listener of the library's; NULL: no such number. */
struct socket_info *listener_socket(int32_t number);
/* The core's socket that a connection from this local address, which we dialled, belongs to. */
struct socket_info *listener_of_dialled(const sipwire_addr *local);
#endif
