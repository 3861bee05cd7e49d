/* sipd: a SIP server in the manner of Kamailio on libsipwire. This process reads the options, makes what all share,
 * starts the participants, and waits. The TCP side is the library's; the callbacks below are all it calls. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "delayed.h"
#include "hash.h"
#include "listeners.h"
#include "log.h"
#include "options.h"
#include "participants.h"
#include "pcap.h"
#include "receive.h"
#include "registrar.h"
#include "relay.h"
#include "script.h"
#include "server.h"

struct server server;

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    struct engine *e = participants_engine(message->worker);
    struct source source = {
        .transport = TRANSPORT_TCP, .conn_id = message->conn_id, .remote = message->remote, .local = message->local};

    (void)user, (void)instance;
    if (e == NULL)
        return -1; /* no script, no answer: the client had better go elsewhere */
    receive(e, (struct str){message->data, message->length}, &source);
    return 0;
}

/* Does another connection make sense for a response whose own one ended this way? Not when the client is there but
 * does not read, nor when we end. */
static bool worth_redialling(int32_t reason)
{
    switch (reason) {
    case SIPWIRE_REASON_PEER_CLOSED:
    case SIPWIRE_REASON_PEER_RESET:
    case SIPWIRE_REASON_LIFETIME:
    case SIPWIRE_REASON_EOF_IN_MESSAGE:
    case SIPWIRE_REASON_HALF_CLOSE_TIMEOUT:
    case SIPWIRE_REASON_SUPERVISOR_GONE:
    case SIPWIRE_REASON_WORKER_DIED:
    case SIPWIRE_REASON_SENDER_DIED:
    case SIPWIRE_REASON_IO_ERROR:
    case SIPWIRE_REASON_NO_CONNECTION:
        return true;
    default:
        return false;
    }
}

static void on_send_failed(void *user, sipwire_instance *instance, sipwire_failure *failure)
{
    struct engine *e = participants_engine(failure->worker);
    struct str message = {failure->data, failure->length};
    char reason[128], remote[ADDRESS_TEXT];

    (void)user, (void)instance;
    snprintf(reason, sizeof reason, "%s%s%s", sipwire_reason_text(failure->reason), failure->error != 0 ? ": " : "",
             failure->error != 0 ? strerror(failure->error) : "");
    log_info("message to tcp:%s failed: %s", address_text(&failure->remote, remote), reason);
    if (e == NULL)
        return;
    if (failure->cookie == COOKIE_REQUEST)
        relay_failed(message, reason, &e->request.sip, &e->out);
    else if (failure->cookie == COOKIE_RESPONSE && worth_redialling(failure->reason))
        reply_send_by_via(message);
}

static int fail(const char *what)
{
    fprintf(stderr, "sipd: %s\n", what);
    return 1;
}

/* The script is tried before anything starts: a mistake in it is one line and an exit, not a line for each worker. */
static bool try_script(char *error, size_t size)
{
    struct engine *e = calloc(1, sizeof *e);
    bool good = e != NULL && script_load(e, error, size);

    engine_free(e);
    return good;
}

static bool create_pcap(const sipwire_config *config)
{
    char connections[32] = "";

    sipwire_config_get(config, "max_connections", connections, sizeof connections);
    if (pcap_create(server.pcap, (unsigned)atoi(connections)))
        return true;
    fprintf(stderr, "sipd: --pcap %s: %s\n", server.pcap, strerror(errno));
    return false;
}

static void print_listeners(void)
{
    const struct listener *l;
    char text[ADDRESS_TEXT];

    for (int i = 0; (l = listener_get(i)) != NULL; i++)
        printf("listening on %s:%s\n", transport_name(l->transport), address_text(&l->addr, text));
}

static void print_hints(void)
{
    const struct listener *l = listener_get(0);
    char addr[ADDRESS_TEXT];

    for (int i = 0; l != NULL && l->transport != TRANSPORT_TCP && listener_get(i) != NULL; i++)
        l = listener_get(i);
    address_text(&l->addr, addr);
    printf("\n"
           "  sipd serves SIP there by the script %s.\n"
           "\n"
           "  In another terminal:\n"
           "    is it there        sipsak -vv -E tcp -s sip:%s\n"
           "    100 calls to it    sipp -sn uac -t t1 -m 100 %s     (answered 404 until \"service\" registers)\n"
           "    two phones         register both here over TCP and call each other by user name\n"
           "    your own script    build/sipd -s MINE.lua                (build/sipd --help: every option)\n"
           "\n"
           "  Ctrl-C stops it.\n",
           server.script_name, addr, addr);
}

/* The next of `signals`; 0: a while has passed without one. */
static int await_signal(const sigset_t *signals, bool for_a_while)
{
    int received = for_a_while ? sigtimedwait(signals, NULL, &(struct timespec){1, 0}) : sigwaitinfo(signals, NULL);

    return received > 0 ? received : 0;
}

int main(int argc, char **argv)
{
    sipwire_config *config = sipwire_config_new();
    sipwire_callbacks callbacks = {
        .struct_size = sizeof callbacks,
        .on_message = on_message,
        .on_send_failed = on_send_failed,
        .on_log = log_on_library,
        .on_worker_start = participants_on_worker_start,
        .on_worker_stop = participants_on_worker_stop,
    };
    char error[512] = "no memory";
    int result, received = 0;
    bool all_run = true;
    sigset_t signals;

    if (config == NULL)
        return fail(error);
    result = options_read(argc, argv, config);
    if (result >= 0)
        return result;
    if (!hash_draw_key() || !registrar_create() || !delayed_create(server.longest_message))
        return fail(strerror(errno));
    if (!try_script(error, sizeof error))
        return fail(error);
    signal(SIGPIPE, SIG_IGN); /* stderr may be a pipe, and whoever read it gone */
    signal(SIGCHLD, SIG_DFL); /* whoever started us may ignore it: there would be no child to wait for */
    /* Blocked before any thread or child exists: only the sigwait below sees them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (server.pcap != NULL) {
        if (!create_pcap(config))
            return 1;
        callbacks.on_capture = pcap_on_capture;
    }
    result = sipwire_new(config, &callbacks, NULL, &server.instance);
    if (result < 0)
        return fail(sipwire_config_error(config)[0] != '\0' ? sipwire_config_error(config) : sipwire_strerror(result));
    sipwire_config_free(config);
    if (!listeners_add_tcp(server.instance) || !participants_start())
        return fail("not started");
    print_listeners();
    puts("ready");
    if (server.hints)
        print_hints();
    fflush(stdout);

    while (received != SIGTERM && received != SIGINT) {
        received = await_signal(&signals, !all_run);
        if (received == SIGCHLD || !all_run)
            all_run = participants_reap();
    }
    participants_stop();
    sipwire_free(server.instance);
    listeners_close();
    return 0;
}
