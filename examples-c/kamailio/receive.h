/* What the library has received, handed to Kamailio. */
#ifndef SIPWIRE_KAMAILIO_RECEIVE_H
#define SIPWIRE_KAMAILIO_RECEIVE_H
#include "module.h"

void receive_callbacks(sipwire_callbacks *callbacks);

/* The receive_info of a connection; listener -1: of one that we dialled. */
void receive_info_of(receive_info_t *info, uint32_t conn_id, const sipwire_addr *remote, const sipwire_addr *local,
                     int32_t listener);
/* What was changed by RPC since the last message is seen; before whatever runs the script. */
void receive_settings(void);
/* Runs the core's receive_msg, and with it the script, on a copy of the message. */
int receive_message(const char *data, size_t length, receive_info_t *info);
#endif
