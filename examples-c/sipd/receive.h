/* A message has arrived: the way it takes, the same for both transports. Called by main.c's on_message and by udp.c. */
#ifndef SIPD_RECEIVE_H
#define SIPD_RECEIVE_H
#include "engine.h"

void receive(struct engine *e, struct str message, const struct source *source);
#endif
