/* The command line; see options.h. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "listeners.h"
#include "log.h"
#include "server.h"
#include "udp.h"

enum { MAX_RECEIVERS = 64, MAX_GRACE_S = 3600, MAX_SCRIPT_BYTES = 1 << 20 };
enum { OPTION_THREADS = 1000, OPTION_PROCESSES, OPTION_LOG, OPTION_GRACE, OPTION_PCAP, OPTION_HINTS };

extern const char sipd_default_script[], sipd_default_script_end[]; /* default_script.S */

static const char usage[] =
    "usage: sipd [options]\n"
    "  --threads | --processes   how workers run (default: --threads)\n"
    "  -w WORKERS                TCP workers (default: one for each CPU)\n"
    "  -u RECEIVERS              UDP receivers (default: 2)\n"
    "  -l tcp:ADDR:PORT          listen; may be repeated; port 0: any free one\n"
    "  -l udp:ADDR:PORT          (default: tcp:127.0.0.1:5060 and udp:127.0.0.1:5060)\n"
    "  -s SCRIPT.lua             routing script (default: a registrar and proxy, built in)\n"
    "  -o key=value              a setting of libsipwire, like -o send_timeout=5s; may be repeated\n"
    "  --log LEVEL               error, warning, notice, info or debug (default: notice)\n"
    "  --grace SECONDS           how long all have to end before they are killed (default: 10)\n"
    "  --pcap FILE               write what passes on TCP to FILE, for tshark or Wireshark\n"
    "  --hints                   say at the start what to type next\n"
    "  --help\n";

static int fail(const char *what, const char *detail)
{
    fprintf(stderr, "sipd: %s%s\n", what, detail);
    return 1;
}

static int read_script(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(MAX_SCRIPT_BYTES);

    if (file == NULL || text == NULL) {
        fprintf(stderr, "sipd: script %s: %s\n", path, strerror(errno));
        return 1;
    }
    server.script_length = fread(text, 1, MAX_SCRIPT_BYTES, file);
    if (ferror(file) || server.script_length == MAX_SCRIPT_BYTES) {
        fprintf(stderr, "sipd: script %s: %s\n", path, ferror(file) ? strerror(errno) : "longer than 1 MB");
        return 1;
    }
    fclose(file);
    server.script = text;
    server.script_name = path;
    return -1;
}

static int set(sipwire_config *config, char *setting)
{
    char *value = strchr(setting, '=');

    if (value == NULL)
        return fail("-o wants key=value, not ", setting);
    *value = '\0';
    return sipwire_config_set(config, setting, value + 1) < 0 ? fail(sipwire_config_error(config), "") : -1;
}

static int listen_on(sipwire_config *config, const char *address)
{
    char error[256];

    if (strncmp(address, "udp:", 4) == 0)
        return listeners_add_udp(address, error, sizeof error) ? -1 : fail(error, "");
    return sipwire_config_listen(config, address) < 0 ? fail(sipwire_config_error(config), "") : -1;
}

static int read_one(int option, sipwire_config *config, int *listeners)
{
    unsigned long number;

    switch (option) {
    case OPTION_THREADS:
    case OPTION_PROCESSES:
        server.processes = option == OPTION_PROCESSES;
        return -1;
    case OPTION_LOG:
        if (!log_set_level(optarg))
            return fail("--log wants error, warning, notice, info or debug, not ", optarg);
        sipwire_config_set(config, "log_level", optarg); /* the library's lines are of the same levels */
        return -1;
    case OPTION_GRACE:
        if (!str_number(str_of(optarg), MAX_GRACE_S, &number) || number == 0)
            return fail("--grace wants 1 to 3600 seconds, not ", optarg);
        server.grace_s = (unsigned)number;
        return -1;
    case OPTION_PCAP:
        server.pcap = optarg;
        sipwire_config_set(config, "capture", "yes");
        return -1;
    case OPTION_HINTS:
        server.hints = true;
        return -1;
    case 'w':
        return sipwire_config_set(config, "workers", optarg) < 0 ? fail(sipwire_config_error(config), "") : -1;
    case 'u':
        if (!str_number(str_of(optarg), MAX_RECEIVERS, &number))
            return fail("-u wants a number up to 64, not ", optarg);
        server.receivers = (int)number;
        return -1;
    case 'l':
        ++*listeners;
        return listen_on(config, optarg);
    case 's':
        return read_script(optarg);
    case 'o':
        return set(config, optarg);
    case 'h':
        fputs(usage, stdout);
        return 0;
    default:
        fputs(usage, stderr);
        return 1;
    }
}

/* The longest message of the library, "64k" (powers of 1024), or of UDP. */
static size_t longest_message(const sipwire_config *config)
{
    char text[32] = "", *unit;
    size_t bytes;

    sipwire_config_get(config, "max_message_size", text, sizeof text);
    bytes = strtoul(text, &unit, 10);
    bytes <<= *unit == 'k' ? 10 : *unit == 'm' ? 20 : 0;
    return bytes > DATAGRAM_BYTES ? bytes : DATAGRAM_BYTES;
}

int options_read(int argc, char **argv, sipwire_config *config)
{
    static const struct option longs[] = {
        {"threads", no_argument, NULL, OPTION_THREADS}, {"processes", no_argument, NULL, OPTION_PROCESSES},
        {"log", required_argument, NULL, OPTION_LOG},   {"grace", required_argument, NULL, OPTION_GRACE},
        {"pcap", required_argument, NULL, OPTION_PCAP}, {"hints", no_argument, NULL, OPTION_HINTS},
        {"help", no_argument, NULL, 'h'},               {NULL, 0, NULL, 0},
    };
    int option, needed, result = -1, listeners = 0;
    char text[32], address[ADDRESS_TEXT];

    server.receivers = 2;
    server.grace_s = 10;
    server.script = sipd_default_script;
    server.script_length = (size_t)(sipd_default_script_end - sipd_default_script);
    server.script_name = "default.lua";
    while (result < 0 && (option = getopt_long(argc, argv, "hw:u:l:s:o:", longs, NULL)) != -1)
        result = read_one(option, config, &listeners);
    if (result < 0 && optind < argc)
        result = fail("not an option: ", argv[optind]);
    if (result < 0 && listeners == 0) {
        result = listen_on(config, "tcp:127.0.0.1:5060");
        if (result < 0 && server.receivers > 0)
            result = listen_on(config, "udp:127.0.0.1:5060");
    }
    if (result < 0 && listener_get(0) != NULL && server.receivers == 0) /* only the UDP listeners are there yet */
        result = fail("-u 0 leaves nobody to receive on udp:", address_text(&listener_get(0)->addr, address));
    if (result >= 0)
        return result;
    if (sipwire_config_get(config, "workers", text, sizeof text) > 0)
        server.workers = atoi(text);
    server.longest_message = longest_message(config);
    if (listener_get(0) == NULL)
        server.receivers = 0;
    /* supervisor, timer, and one to spare for each that may be replaced before its death is dealt with */
    needed = 2 * (server.workers + server.receivers + 2);
    if (sipwire_config_get(config, "participants", text, sizeof text) > 0 && atoi(text) < needed)
        sipwire_config_set_number(config, "participants", needed);
    return -1;
}
