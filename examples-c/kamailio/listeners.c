/* Taking the core's TCP listen sockets over; see listeners.h. */
#include "listeners.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "address.h"

enum { MAX_LISTENERS = 256, MAX_KEPT = 64 };

static struct socket_info *taken[MAX_LISTENERS];
static int32_t taken_count;
static sipwire_addr kept[MAX_KEPT];
static int kept_count;
static bool core_has_any;

/* These answer on TCP connections of the core, with what is no SIP: their listeners cannot be ours. */
static const char *const modules_with_listeners[] = {"xhttp", "websocket", "msrp"};
/* Where HTTP, and with it WebSocket, is commonly served. */
static const unsigned short http_ports[] = {80, 443, 8000, 8080, 8088, 8089, 8443};

int listeners_keep(modparam_t type, void *value)
{
    (void)type;
    if (kept_count == MAX_KEPT || sipwire_addr_parse(value, &kept[kept_count]) < 0) {
        LM_ERR("keep=\"%s\": should be like tcp:192.0.2.1:80, at most %d of them\n", (char *)value, MAX_KEPT);
        return -1;
    }
    kept_count++;
    return 0;
}

static const char *module_with_listeners(void)
{
    for (size_t i = 0; i < sizeof modules_with_listeners / sizeof *modules_with_listeners; i++)
        if (find_module_by_name((char *)modules_with_listeners[i]) != NULL)
            return modules_with_listeners[i];
    return NULL;
}

static bool is_at(const struct socket_info *si, const sipwire_addr *where)
{
    sipwire_addr addr = address_from_ip(&si->address, si->port_no);

    return address_same(&addr, where);
}

static bool all_kept_exist(void)
{
    char text[ADDRESS_TEXT];

    for (int i = 0; i < kept_count; i++) {
        const struct socket_info *si = tcp_listen;
        while (si != NULL && !is_at(si, &kept[i]))
            si = si->next;
        if (si == NULL) {
            LM_ERR("keep=\"tcp:%s\": there is no such listen socket\n", address_text(&kept[i], text));
            return false;
        }
    }
    return true;
}

static bool is_kept(const struct socket_info *si, bool http)
{
    for (int i = 0; i < kept_count; i++)
        if (is_at(si, &kept[i]))
            return true;
    for (size_t i = 0; http && kept_count == 0 && i < sizeof http_ports / sizeof *http_ports; i++)
        if (si->port_no == http_ports[i])
            return true;
    return false;
}

bool listeners_choose(void)
{
    const char *http = module_with_listeners();

    if (!all_kept_exist())
        return false;
    core_has_any = !tls_disable && tls_listen != NULL;
    for (struct socket_info *si = tcp_listen; si != NULL; si = si->next) {
        if (is_kept(si, http != NULL)) {
            core_has_any = true;
            LM_NOTICE("%.*s stays with the core\n", si->sock_str.len, si->sock_str.s);
        } else if (taken_count == MAX_LISTENERS) {
            LM_ERR("more than %d TCP listeners\n", MAX_LISTENERS);
            return false;
        } else {
            taken[taken_count++] = si;
        }
    }
    if (taken_count == 0) {
        LM_ERR("there is no TCP listener for sipwire: add listen=tcp:ADDR:PORT, or do not load it\n");
        return false;
    }
    if (http != NULL && !core_has_any) {
        LM_ERR("module %s is loaded, and sipwire would take every TCP listener: name the one that serves it, like "
               "modparam(\"sipwire\", \"keep\", \"%.*s\")\n",
               http, taken[0]->sock_str.len, taken[0]->sock_str.s);
        return false;
    }
    return true;
}

int listeners_workers(void)
{
    int own = 0, shared = 0;

    for (int32_t i = 0; i < taken_count; i++) {
        if (taken[i]->workers > 0)
            own += taken[i]->workers;
        else
            shared = tcp_cfg_children_no;
    }
    return own + shared;
}

bool listeners_core_has_any(void)
{
    return core_has_any;
}

bool listeners_add(sipwire_config *config)
{
    for (int32_t i = 0; i < taken_count; i++)
        if (sipwire_config_listen_fd(config, taken[i]->socket) < 0) {
            LM_ERR("%.*s: %s\n", taken[i]->sock_str.len, taken[i]->sock_str.s, sipwire_config_error(config));
            return false;
        }
    return true;
}

/* The core goes on to poll, close and inherit the number. Under it is now a descriptor on which nothing ever comes; with
 * -1 there instead, it would complain of a critical error. */
bool listeners_take_over(void)
{
    int deaf = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    for (int32_t i = 0; deaf >= 0 && i < taken_count; i++)
        if (dup2(deaf, taken[i]->socket) < 0)
            close(deaf), deaf = -1;
    if (deaf < 0)
        LM_ERR("cannot take the listeners over: %s\n", strerror(errno));
    else
        close(deaf);
    return deaf >= 0;
}

struct socket_info *listener_socket(int32_t number)
{
    return number >= 0 && number < taken_count ? taken[number] : NULL;
}

struct socket_info *listener_of_dialled(const sipwire_addr *local)
{
    struct socket_info *same_family = NULL;

    for (int32_t i = 0; i < taken_count; i++) {
        sipwire_addr addr = address_from_ip(&taken[i]->address, taken[i]->port_no);
        if (address_same_ip(&addr, local))
            return taken[i];
        if (same_family == NULL && addr.family == local->family)
            same_family = taken[i];
    }
    return same_family != NULL ? same_family : taken[0];
}
