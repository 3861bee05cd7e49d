/* plugin-host: the library as a plug-in, which a host finds at run time. It loads the shared library, looks one symbol up,
 * has its number of the interface checked and gets the whole API as a table; parameters are text, as in a configuration
 * file. Only the header is needed to build this, no -lsipwire.
 *
 * To try it:  ./plugin-host libsipwire.so.0 tcp:127.0.0.1:5060 workers=2 send_timeout=5s
 *             then     sipsak -vv -E tcp -s sip:127.0.0.1:5060 */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "reply.h"

static const sipwire_api *api;

/* NULL: refused, with a line that says why. */
static const sipwire_api *load(const char *library)
{
    const sipwire_api *(*entry)(uint32_t abi);
    uint32_t (*abi_version)(void);
    const sipwire_api *table = NULL;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL), *symbol, *version;

    if (handle == NULL) {
        fprintf(stderr, "plugin-host: %s\n", dlerror());
        return NULL;
    }
    if ((symbol = dlsym(handle, "sipwire_entry")) == NULL || (version = dlsym(handle, "sipwire_abi_version")) == NULL) {
        fprintf(stderr, "plugin-host: %s is not libsipwire: it has no sipwire_entry\n", library);
    } else {
        memcpy(&entry, &symbol, sizeof entry); /* ISO C knows no cast from an object's to a function's address */
        memcpy(&abi_version, &version, sizeof abi_version);
        if ((table = entry(SIPWIRE_ABI)) == NULL)
            fprintf(stderr, "plugin-host: %s has interface %u, this host was built for %u\n", library,
                    (unsigned)abi_version(), (unsigned)SIPWIRE_ABI);
        else if (table->struct_size < sizeof *table) { /* the same interface, but fewer functions */
            fprintf(stderr, "plugin-host: %s is version %s, this host needs %s or a later one\n", library,
                    table->sipwire_version_string(), SIPWIRE_VERSION_STRING);
            table = NULL;
        }
    }
    dlclose(handle); /* allowed at any time: the library stays loaded, and the table valid */
    return table;
}

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[REPLY_PARTS];
    int count = reply_200(message, parts);

    (void)user;
    if (count > 0)
        api->sipwire_send(instance, &target, parts, (size_t)count, 0);
    return count < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_config *config = NULL;
    sipwire_instance *instance = NULL;
    sipwire_addr addr;
    sigset_t stop;
    char text[64];
    int32_t rc;
    int which, status = EXIT_FAILURE;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);

    if (argc < 3) {
        fprintf(stderr, "usage: plugin-host LIBRARY tcp:ADDR:PORT [KEY=VALUE]...\n");
        return EXIT_FAILURE;
    }
    if ((api = load(argv[1])) == NULL)
        return EXIT_FAILURE;

    config = api->sipwire_config_new();
    rc = api->sipwire_config_listen(config, argv[2]);
    for (int i = 3; i < argc && rc >= 0; i++) {
        char *value = strchr(argv[i], '=');

        if (value != NULL)
            *value++ = '\0';
        rc = api->sipwire_config_set(config, argv[i], value != NULL ? value : "yes");
    }
    if (rc < 0 || (rc = api->sipwire_new(config, &callbacks, NULL, &instance)) < 0 ||
        (rc = api->sipwire_start(instance)) < 0) {
        const char *line = api->sipwire_config_error(config);

        fprintf(stderr, "plugin-host: %s\n", *line ? line : api->sipwire_strerror(rc));
        goto out;
    }
    api->sipwire_listener_addr(instance, 0, &addr);
    api->sipwire_addr_format(&addr, text, sizeof text);
    printf("listening on tcp:%s\nready\n", text);
    fflush(stdout);

    sigwait(&stop, &which);
    api->sipwire_stop(instance);
    status = EXIT_SUCCESS;
out:
    api->sipwire_free(instance);
    api->sipwire_config_free(config);
    return status;
}
