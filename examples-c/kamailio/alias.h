/* The alias parameter of Via (RFC 5923, as the core's tcp_accept_aliases has it): a connection from a peer's address may be
 * used for what goes to the port that the peer says it listens on, at that address. */
#ifndef SIPWIRE_KAMAILIO_ALIAS_H
#define SIPWIRE_KAMAILIO_ALIAS_H
#include "module.h"

bool alias_init(void);        /* PROC_INIT */
void alias_follow_core(void); /* in a worker, after each cfg_update */
void alias_learn(const sipwire_message *message);
/* The connection that stands for an address, from a local one unless its family is 0; 0: none. */
uint32_t alias_find(const sipwire_addr *remote, const sipwire_addr *local);
#endif
