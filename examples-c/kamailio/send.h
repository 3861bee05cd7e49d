/* What Kamailio sends over TCP, handed to the library. */
#ifndef SIPWIRE_KAMAILIO_SEND_H
#define SIPWIRE_KAMAILIO_SEND_H
#include <stdbool.h>

/* mod_register. Two features of the core together catch what is sent: NET_DATA_OUT is told of every message before the core
 * looks at its protocol, and says SCTP where it finds TCP; then the provider of SCTP is called, which is this module. Vias
 * were made before, with TCP. */
bool send_capture(void);
bool send_is_ours(void); /* mod_init: nothing in the configuration prevents that; else the log says what */
#endif
