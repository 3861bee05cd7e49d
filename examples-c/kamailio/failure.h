/* What was accepted for sending and then failed: tm learns it at once. */
#ifndef SIPWIRE_KAMAILIO_FAILURE_H
#define SIPWIRE_KAMAILIO_FAILURE_H
#include "module.h"

void failure_on_send_failed(void *user, sipwire_instance *from, sipwire_failure *failure);

/* An ACK, to where a request of which we have just told tm that it failed was to go: nobody waits for it there. */
bool failure_was_answered(const sipwire_addr *remote, const char *data, size_t length);
#endif
