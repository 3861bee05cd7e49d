/* sipwire.info, .stats, .list, .conn, .close, .set, .get, .blacklist: for kamcmd and every other client of Kamailio's RPC. */
#ifndef SIPWIRE_KAMAILIO_RPC_H
#define SIPWIRE_KAMAILIO_RPC_H
#include <stdbool.h>

bool rpc_register_all(void); /* mod_init */
#endif
