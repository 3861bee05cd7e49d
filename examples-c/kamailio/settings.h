/* The library's settings: from the core's tcp_... settings, and above them from modparam("sipwire", KEY, VALUE). */
#ifndef SIPWIRE_KAMAILIO_SETTINGS_H
#define SIPWIRE_KAMAILIO_SETTINGS_H
#include "module.h"

extern param_export_t settings_params[];

void settings_declare(void);           /* mod_register: fills settings_params */
bool settings_read(void);              /* mod_init: false: the log says which one is wrong */
int settings_workers(void);            /* from then on */
sipwire_config *settings_finish(void); /* PROC_INIT: the number of processes is known; NULL: logged */
void settings_free(void);
#endif
