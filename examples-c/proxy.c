/* proxy: behind a balancer that speaks the PROXY protocol (HAProxy's send-proxy, version 1 or 2). Phones that come
 * through it have the addresses of the header, as if they had come by themselves; those that come directly use the other
 * listener. Only the balancer's network may name addresses: else anybody could be anybody.
 *
 * To try it:  ./proxy tcp:127.0.0.1:5060 tcp:127.0.0.1:5061 127.0.0.0/8     then     sipsak -E tcp -s sip:127.0.0.1:5060
 *             and     printf 'PROXY TCP4 192.0.2.7 192.0.2.1 4711 5060\r\n' | nc -q 1 127.0.0.1 5061 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "reply.h"

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[REPLY_PARTS];
    int count = reply_200(message, parts);
    char text[64];

    (void)user;
    sipwire_addr_format(&message->remote, text, sizeof text); /* whom the header names: what a host puts into Via */
    printf("a message of %s\n", text);
    if (count > 0) /* by id: it goes back through the balancer */
        sipwire_send(instance, &target, parts, (size_t)count, 0);
    return count < 0 ? -1 : 0;
}

static void on_open(void *user, sipwire_instance *instance, const sipwire_conn_info *info)
{
    char remote[64], wire[64];

    (void)user, (void)instance;
    sipwire_addr_format(&info->remote, remote, sizeof remote);
    sipwire_addr_format(&info->wire_remote, wire, sizeof wire);
    if (info->listener == 1)
        printf("%s comes through %s\n", remote, wire);
    else
        printf("%s comes directly\n", remote);
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message, .on_open = on_open};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    sipwire_stats stats = {.struct_size = sizeof stats};
    sipwire_addr addr;
    sigset_t stop;
    char text[64];
    int32_t rc;
    int which, status = EXIT_FAILURE;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);

    if (argc != 4) {
        fprintf(stderr, "usage: proxy tcp:ADDR:PORT tcp:ADDR:PORT-FOR-BALANCERS NETWORK-OF-BALANCERS\n");
        goto out;
    }
    if ((rc = sipwire_config_listen(config, argv[1])) < 0 || (rc = sipwire_config_listen(config, argv[2])) < 0 ||
        (rc = sipwire_config_listener_set(config, 1, "proxy_protocol", "required")) < 0 ||
        (rc = sipwire_config_listener_set(config, 1, "proxy_networks", argv[3])) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "proxy: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_start(instance)) < 0) {
        fprintf(stderr, "proxy: cannot start: %s\n", sipwire_strerror(rc));
        goto out;
    }
    for (int32_t i = 0; i < sipwire_listener_count(instance); i++) {
        sipwire_listener_addr(instance, i, &addr);
        sipwire_addr_format(&addr, text, sizeof text);
        printf("listening on tcp:%s\n", text);
    }
    printf("ready\n");

    sigwait(&stop, &which);
    sipwire_stop(instance);
    if (sipwire_stats_get(instance, &stats) == SIPWIRE_OK)
        printf("refused for their header: %llu\n", (unsigned long long)stats.refused_proxy);
    status = EXIT_SUCCESS;
out:
    sipwire_free(instance);
    sipwire_config_free(config);
    return status;
}
