/* Sending; see send.h. */
#include "send.h"

#include <string.h>

#include "address.h"
#include "alias.h"
#include "failure.h"
#include "listeners.h"
#include "processes.h"

enum { FIRST_ID = 0x40000000 }; /* the core's own connections have smaller ones */

/* ---- the provider of SCTP ---- */
static int provider_init(void)
{
    sctp_listen = NULL; /* without a listen line the core makes some of its own */
    return 0;
}

static int provider_check_support(void)
{
    if (sctp_listen != NULL) {
        LM_ERR("listen=sctp... does not go together with sipwire: remove it, or do not load sipwire\n");
        return -1;
    }
    return 0;
}

static void provider_destroy(void) {}

static int provider_init_sock(struct socket_info *si)
{
    (void)si;
    return -1;
}

static int provider_rcv_loop(void)
{
    return -1;
}

static int32_t send_to(const sipwire_target *target, char *data, unsigned length, uint64_t cookie)
{
    sipwire_iov iov = {data, length};
    int32_t result;

    TAKING_PART(result, sipwire_send(instance, target, &iov, 1, cookie));
    return result;
}

static uint32_t flags_of(const struct dest_info *dst)
{
    uint32_t flags = 0;

    if (dst->send_flags.f & SND_F_FORCE_CON_REUSE)
        flags |= SIPWIRE_SEND_NO_CONNECT;
    if (dst->send_flags.f & SND_F_CON_CLOSE)
        flags |= SIPWIRE_SEND_CLOSE_AFTER;
    return flags;
}

/* By id while that connection lives, whatever its address is: an answer goes back where its request came from, not to what
 * the Via says. Else by address, from the forced socket's address if there is one. */
static int32_t send_message(const struct dest_info *dst, char *data, unsigned length)
{
    sipwire_target target = {.struct_size = sizeof target, .flags = flags_of(dst)};
    uint64_t cookie = (uintptr_t)dst->send_sock; /* the same address in every process: it was made before any fork */
    int32_t result = SIPWIRE_E_NO_CONNECTION;

    if (failure_was_answered(data)) /* NET_DATA_OUT has made it end with a NUL */
        return SIPWIRE_SENT;
    if (dst->id != 0) {
        target.conn_id = (uint32_t)dst->id;
        result = send_to(&target, data, length, cookie);
        target.conn_id = 0;
    }
    if (result != SIPWIRE_E_NO_CONNECTION)
        return result;
    target.remote = address_from_su(&dst->to);
    if (target.remote.port == 0)
        return result;
    if (dst->send_flags.f & SND_F_FORCE_SOCKET) {
        target.local = address_from_ip(&dst->send_sock->address, 0);
        if (address_is_any(&target.local))
            target.local.family = 0;
        else if (cfg_get(tcp, tcp_cfg, reuse_port))
            target.local.port = dst->send_sock->port_no;
    }
    target.conn_id = alias_find(&target.remote, &target.local);
    if (target.conn_id != 0) {
        sipwire_addr remote = target.remote;
        target.remote.family = 0; /* it has another port */
        result = send_to(&target, data, length, cookie);
        if (result != SIPWIRE_E_NO_CONNECTION)
            return result;
        target.conn_id = 0;
        target.remote = remote;
    }
    return send_to(&target, data, length, cookie);
}

static int provider_msg_send(struct dest_info *dst, char *data, unsigned length)
{
    char text[ADDRESS_TEXT];
    sipwire_addr to;
    int32_t result;

    if (dst->send_sock == NULL || dst->send_sock->proto != PROTO_TCP) {
        LM_ERR("there is no SCTP beside sipwire\n");
        return -1;
    }
    dst->proto = PROTO_TCP; /* it may be part of a transaction */
    if (instance == NULL)
        return -1;
    result = send_message(dst, data, length);
    if (result >= 0 || (result == SIPWIRE_E_SHUTTING_DOWN && processes_are_ending()))
        return (int)length; /* at the end nobody is left who could do something about it */
    to = address_from_su(&dst->to);
    LOG(cfg_get(core, core_cfg, corelog), "cannot send to tcp:%s (connection %d): %s\n", address_text(&to, text), dst->id,
        sipwire_strerror(result));
    return -1;
}

/* ---- what comes by it ---- */
static int on_data_out(sr_event_param_t *event)
{
    struct dest_info *dst = event->dst;

    if (((str *)event->data)->s == NULL)
        return 0; /* another callback had no memory: the core sends nothing, and dst would never become TCP again */
    if (dst == NULL || dst->proto != PROTO_TCP || (dst->id != 0 && dst->id < FIRST_ID))
        return 0; /* not TCP, or an answer on a connection that is the core's */
    if (dst->send_sock == NULL) {
        sipwire_addr to = address_from_su(&dst->to);
        dst->send_sock = listener_of_dialled(&to); /* without one the core would look for an SCTP socket */
    }
    dst->proto = PROTO_SCTP; /* until provider_msg_send, which the core calls next */
    return 0;
}

bool send_capture(void)
{
    static sctp_srapi_t provider = {
        .init = provider_init,
        .destroy = provider_destroy,
        .init_sock = provider_init_sock,
        .check_support = provider_check_support,
        .rcv_loop = provider_rcv_loop,
        .msg_send = provider_msg_send,
    };

    if (sctp_core_register_api(&provider) < 0) {
        LM_ERR("module sctp is loaded: do not load it, sipwire takes the place of SCTP\n");
        return false;
    }
    /* The callbacks run in the reverse order of registration, and other modules register in mod_init: ours is the last, so
     * that they all see TCP. */
    if (sr_event_register_cb(SREV_NET_DATA_OUT, on_data_out) != 0) {
        LM_ERR("the core has no place left for a NET_DATA_OUT callback\n");
        return false;
    }
    return true;
}

bool send_is_ours(void)
{
    if (sctp_disable != 0) {
        LM_ERR("SCTP is disabled (disable_sctp, enable_sctp=0 or listen=sctp): remove that, sipwire sends in its place\n");
        return false;
    }
    return true;
}
