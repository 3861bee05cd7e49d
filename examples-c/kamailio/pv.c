/* The script's variables; see pv.h. */
#include "pv.h"

#include <string.h>

#include "events.h"
#include "module.h"

enum name { CONID, REASON, ERRNO, MESSAGE, NAMES };
static const char *const names[NAMES] = {"conid", "reason", "errno", "message"};

static int parse_name(pv_spec_p spec, str *text)
{
    for (int i = 0; i < NAMES; i++)
        if ((size_t)text->len == strlen(names[i]) && strncmp(text->s, names[i], (size_t)text->len) == 0) {
            spec->pvp.pvn.type = PV_NAME_INTSTR;
            spec->pvp.pvn.u.isname.type = 0;
            spec->pvp.pvn.u.isname.name.n = i;
            return 0;
        }
    LM_ERR("$sipwire(%.*s) is none of conid, reason, errno, message\n", text->len, text->s);
    return -1;
}

static int get_text(sip_msg_t *msg, pv_param_t *param, pv_value_t *value, const char *text, size_t length)
{
    str s = {(char *)text, (int)length};

    return pv_get_strval(msg, param, value, &s);
}

static int get(sip_msg_t *msg, pv_param_t *param, pv_value_t *value)
{
    const struct event *event = events_current();
    const char *reason;

    switch ((enum name)param->pvn.u.isname.name.n) {
    case CONID: /* also of an event: its request has the connection's id */
        if (msg == NULL || msg->rcv.proto != PROTO_TCP || msg->rcv.proto_reserved1 == 0)
            break;
        return pv_get_sintval(msg, param, value, msg->rcv.proto_reserved1);
    case REASON:
        if (event == NULL)
            break;
        reason = sipwire_reason_text(event->reason);
        return get_text(msg, param, value, reason, strlen(reason));
    case ERRNO:
        return event == NULL ? pv_get_null(msg, param, value) : pv_get_sintval(msg, param, value, event->error);
    case MESSAGE:
        if (event == NULL || event->message == NULL)
            break;
        return get_text(msg, param, value, event->message, event->length);
    case NAMES:
        break;
    }
    return pv_get_null(msg, param, value);
}

pv_export_t pv_items[] = {
    {.name = {"sipwire", sizeof "sipwire" - 1}, .type = PVT_OTHER, .getf = get, .parse_name = parse_name},
    {.name = {NULL, 0}},
};
