/* What passes on TCP, written to a pcap file that tshark and Wireshark read, as if it had been taken from the wire. Of
 * sipd it knows the log only: any other host can take this file and pcap.c. */
#ifndef SIPD_PCAP_H
#define SIPD_PCAP_H
#include <stdbool.h>
#include <sipwire.h>

/* Before any thread or child exists; `max_connections` is the library's setting. False: errno says why. */
bool pcap_create(const char *path, unsigned max_connections);

/* The library's callback, in any thread or process. */
void pcap_on_capture(void *user, sipwire_instance *instance, const sipwire_capture *capture);
#endif
