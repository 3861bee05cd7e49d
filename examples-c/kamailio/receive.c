/* Receiving; see receive.h. */
#include "receive.h"

#include <string.h>

#include "address.h"
#include "alias.h"
#include "failure.h"
#include "listeners.h"
#include "processes.h"
#include "settings.h"

void receive_info_of(receive_info_t *info, uint32_t conn_id, const sipwire_addr *remote, const sipwire_addr *local,
                     int32_t listener)
{
    memset(info, 0, sizeof *info);
    address_to_ip(remote, &info->src_ip);
    address_to_su(remote, &info->src_su);
    address_to_ip(local, &info->dst_ip);
    info->src_port = remote->port;
    info->dst_port = local->port;
    info->proto = PROTO_TCP;
    info->proto_reserved1 = (int)conn_id;
    info->bind_address = listener >= 0 ? listener_socket(listener) : listener_of_dialled(local);
}

void receive_settings(void)
{
    cfg_update();
    alias_follow_core();
}

int receive_message(const char *data, size_t length, receive_info_t *info)
{
    /* The core and its modules write into the message, up to BUF_SIZE, longer than it is. One for each process is enough:
     * a message is done with when receive_msg returns. */
    static char *buffer;
    static size_t size;

    if (length >= size) {
        size = length >= BUF_SIZE ? length + 1 : BUF_SIZE + 1;
        free(buffer);
        buffer = malloc(size);
    }
    if (buffer == NULL) {
        size = 0;
        LM_ERR("no memory for a message of %zu bytes\n", length);
        return -1;
    }
    memcpy(buffer, data, length);
    buffer[length] = '\0';
    bind_address = info->bind_address;
    return receive_msg(buffer, (unsigned)length, info);
}

static int32_t on_message(void *user, sipwire_instance *from, sipwire_message *m)
{
    receive_info_t info;

    (void)user, (void)from;
    if (processes_are_ending())
        return 0;
    receive_settings();
    alias_learn(m);
    receive_info_of(&info, m->conn_id, &m->remote, &m->local, m->listener);
    /* As in the core: what cannot be parsed, or ends the script with an error, ends its connection. */
    return receive_message(m->data, m->length, &info) < 0 && !ksr_tcp_script_mode ? -1 : 0;
}

static void on_log(void *user, const sipwire_log_record *record)
{
    static const int levels[] = {L_ERR, L_ERR, L_WARN, L_NOTICE, L_INFO, L_DBG};
    int level = record->level >= 0 && record->level <= SIPWIRE_LOG_DEBUG ? levels[record->level] : L_ERR;

    (void)user;
    if (processes_are_ending())
        return; /* what it notes then is that senders are killed */
    if (record->suppressed > 0)
        LOG(level, "%.*s (%u more like it left out)\n", (int)record->length, record->text, record->suppressed);
    else
        LOG(level, "%.*s\n", (int)record->length, record->text);
}

void receive_callbacks(sipwire_callbacks *callbacks)
{
    callbacks->on_message = on_message;
    callbacks->on_send_failed = failure_on_send_failed;
    callbacks->on_log = on_log;
}
