/* $sipwire(conid), $sipwire(reason), $sipwire(errno), $sipwire(message). */
#ifndef SIPWIRE_KAMAILIO_PV_H
#define SIPWIRE_KAMAILIO_PV_H
#include "core.h"

extern pv_export_t pv_items[];
#endif
