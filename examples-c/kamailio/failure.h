/* What was accepted for sending and then failed: tm learns it at once. */
#ifndef SIPWIRE_KAMAILIO_FAILURE_H
#define SIPWIRE_KAMAILIO_FAILURE_H
#include "module.h"

void failure_on_send_failed(void *user, sipwire_instance *from, sipwire_failure *failure);

/* tm's ACK for the answer that it is just being given: nobody waits for it where the request never arrived. */
bool failure_was_answered(const char *data);
#endif
