/* blacklist: what became of messages that were accepted for sending. For each request that it answers the host sends one
 * of its own to DESTINATION. Nobody there: on_send_failed has the message back, once, with the reason; the destination is
 * not dialled for a while, and sends to it are refused at once. SIGUSR1 takes all destinations off the list.
 *
 * To try it:  ./blacklist tcp:127.0.0.1:5060 127.0.0.1:9     then, twice,     sipsak -E tcp -s sip:127.0.0.1:5060 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include "reply.h"

static sipwire_addr destination;
static char destination_text[64];
static _Atomic unsigned sent; /* the workers' common count: each message's cookie, by which a host finds its transaction */

static void send_one(sipwire_instance *instance)
{
    sipwire_target target = {.struct_size = sizeof target, .remote = destination};
    unsigned cookie = ++sent;
    char text[512];
    int length = snprintf(text, sizeof text,
                          "OPTIONS sip:%s;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP host.invalid;branch=z9hG4bK%u\r\n"
                          "From: <sip:host@host.invalid>;tag=%u\r\nTo: <sip:%s>\r\nCall-ID: %u@host.invalid\r\n"
                          "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                          destination_text, cookie, cookie, destination_text, cookie);
    sipwire_iov part = {text, (size_t)length};
    int32_t rc = sipwire_send(instance, &target, &part, 1, cookie);

    if (rc < 0) /* not accepted, and not reported: try another way now */
        printf("message %u to %s refused: %s\n", cookie, destination_text, sipwire_strerror(rc));
    else /* on its way, or to be reported */
        printf("message %u to %s accepted\n", cookie, destination_text);
}

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[REPLY_PARTS];
    int count = reply_200(message, parts);

    (void)user;
    if (count > 0) {
        send_one(instance);
        sipwire_send(instance, &target, parts, (size_t)count, 0);
    }
    return count < 0 ? -1 : 0;
}

static void on_send_failed(void *user, sipwire_instance *instance, sipwire_failure *failure)
{
    char text[64];

    (void)user;
    sipwire_addr_format(&failure->remote, text, sizeof text);
    printf("message %" PRIu64 " to %s failed: %s%s%s, %s\n", failure->cookie, text, sipwire_reason_text(failure->reason),
           failure->error ? ": " : "", failure->error ? strerror(failure->error) : "",
           sipwire_blacklist_check(instance, &failure->remote) == 1 ? "blacklisted" : "not blacklisted");
}

static void forget_all(sipwire_instance *instance)
{
    sipwire_blacklist_entry page[16];
    uint32_t cursor = 0;
    char text[64];
    int32_t count;

    do {
        page[0].struct_size = sizeof page[0];
        count = sipwire_blacklist_list(instance, &cursor, page, 16);
        for (int32_t i = 0; i < count; i++)
            if (sipwire_blacklist_remove(instance, &page[i].addr) == 1) {
                sipwire_addr_format(&page[i].addr, text, sizeof text);
                printf("%s may be dialled again\n", text);
            }
    } while (count > 0 && cursor != 0);
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message, .on_send_failed = on_send_failed};
    sipwire_config *config = sipwire_config_new();
    sipwire_instance *instance = NULL;
    sipwire_addr addr;
    sigset_t signals;
    char text[64];
    int32_t rc;
    int received, status = EXIT_FAILURE;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    if (argc != 3 || sipwire_addr_parse(argv[2], &destination) < 0) {
        fprintf(stderr, "usage: blacklist tcp:ADDR:PORT DESTINATION:PORT\n");
        goto out;
    }
    sipwire_addr_format(&destination, destination_text, sizeof destination_text);
    if ((rc = sipwire_config_set(config, "blacklist_ttl", "60s")) < 0 || (rc = sipwire_config_listen(config, argv[1])) < 0 ||
        (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0) {
        fprintf(stderr, "blacklist: %s\n", *sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
        goto out;
    }
    if ((rc = sipwire_start(instance)) < 0) {
        fprintf(stderr, "blacklist: cannot start: %s\n", sipwire_strerror(rc));
        goto out;
    }
    sipwire_listener_addr(instance, 0, &addr);
    sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);

    while (sigwait(&signals, &received) == 0 && received == SIGUSR1)
        forget_all(instance);
    sipwire_stop(instance); /* what is still unsent is reported before it returns */
    status = EXIT_SUCCESS;
out:
    sipwire_free(instance);
    sipwire_config_free(config);
    return status;
}
