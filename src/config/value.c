/* Scalars to values. Nothing here depends on the locale, and no name is resolved: what a
 * configuration means may not depend on the machine or the moment it is read. Any thread. */
#include "config/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config/config.h"
#include "config/report.h"
#include "config/yaml.h"

struct unit {
    const char *name;
    uint64_t size; /* a multiple of the one before */
};

static const struct unit UNITS[] = {
    /* in ns */
    {"ms", 1000000ull},          {"s", 1000000000ull},         {"m", 60 * 1000000000ull},
    {"h", 3600 * 1000000000ull}, {"d", 86400 * 1000000000ull},
};
#define UNIT_COUNT (sizeof(UNITS) / sizeof(UNITS[0]))

static const struct unit BYTE_UNITS[] = {
    {"", 1}, {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}};
#define BYTE_UNIT_COUNT (sizeof(BYTE_UNITS) / sizeof(BYTE_UNITS[0]))

int value_text(const struct report *report, const struct node *node, const char **ret_text)
{
    if (node->kind != NODE_SCALAR)
        return report_node(report, node, "is %s; a single value is needed",
                           yaml_tree_kind_text(node));
    if (!*node->text)
        return report_node(report, node, "is empty; give a value or leave it out");
    *ret_text = node->text;
    return 0;
}

int value_parse_digits(const char *text, uint64_t *ret_number, const char **ret_end)
{
    uint64_t number = 0;
    bool overflow = false;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        overflow |= __builtin_mul_overflow(number, 10u, &number) ||
                    __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number);
    if (at == text)
        return -EINVAL;
    *ret_end = at;
    if (overflow)
        return -ERANGE;
    *ret_number = number;
    return 0;
}

static int parse_hex(const char *text, uint64_t *ret_number, const char **ret_end)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t number = 0;
    const char *at = text;
    for (; *at; at++) {
        const char *digit = strchr(digits, *at | ((*at >= 'A' && *at <= 'F') ? 0x20 : 0));
        if (!digit)
            break;
        if (number >> 60)
            return -ERANGE;
        number = number << 4 | (uint64_t)(digit - digits);
    }
    *ret_end = at;
    *ret_number = number;
    return at == text ? -EINVAL : 0;
}

int value_number(const struct report *report, const struct node *node, uint64_t min, uint64_t max,
                 uint64_t *ret_number)
{
    const char *text = "", *end = "";
    uint64_t number = 0;
    int result = value_text(report, node, &text);
    if (result)
        return result;
    result = strncmp(text, "0x", 2) == 0 ? parse_hex(text + 2, &number, &end)
                                         : value_parse_digits(text, &number, &end);
    if (result || *end || number < min || number > max)
        return report_node(report, node,
                           "'%.64s' is not a whole number from %" PRIu64 " to %" PRIu64, text, min,
                           max);
    *ret_number = number;
    return 0;
}

int value_hex(const struct report *report, const struct node *node, uint8_t *ret_bytes, size_t size)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *text = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    if (strlen(text) != 2 * size || strspn(text, digits) != 2 * size)
        return report_node(report, node, "is not %zu hex digits", 2 * size);
    for (size_t i = 0; i < size; i++) {
        const char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        ret_bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return 0;
}

/* A whole number and a unit. False if it is not that, or is outside the bounds. */
static bool parse_measure(const char *text, const struct unit *units, size_t count,
                          const uint64_t bounds[2], uint64_t *ret_value)
{
    uint64_t number, value;
    const char *at;
    if (value_parse_digits(text, &number, &at))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(at, units[i].name) != 0 && !(number == 0 && !*at))
            continue;
        if (__builtin_mul_overflow(number, units[i].size, &value) || value < bounds[0] ||
            value > bounds[1])
            return false;
        *ret_value = value;
        return true;
    }
    return false;
}

static void format_measure(uint64_t value, const struct unit *units, size_t count, char *text,
                           size_t size)
{
    size_t unit = count - 1;
    while (unit && value % units[unit].size)
        unit--;
    snprintf(text, size, "%" PRIu64 "%s", value / units[unit].size, value ? units[unit].name : "");
}

void value_format_duration(uint64_t ns, char *text, size_t size)
{
    format_measure(ns, UNITS, UNIT_COUNT, text, size);
}

void value_format_bytes(uint64_t bytes, char *text, size_t size)
{
    format_measure(bytes, BYTE_UNITS, BYTE_UNIT_COUNT, text, size);
}

int value_duration(const struct report *report, const struct node *node, uint64_t min, uint64_t max,
                   uint64_t *ret_ns)
{
    char least[32], most[32];
    const char *text = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    if (parse_measure(text, UNITS, UNIT_COUNT, (const uint64_t[]){min, max}, ret_ns))
        return 0;
    value_format_duration(min, least, sizeof(least));
    value_format_duration(max, most, sizeof(most));
    return report_node(report, node, "'%.64s' is not a time from %s to %s; for example 200ms or 2s",
                       text, least, most);
}

int value_bytes(const struct report *report, const struct node *node, uint64_t min, uint64_t max,
                uint64_t *ret_bytes)
{
    char least[32], most[32];
    const char *text = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    if (parse_measure(text, BYTE_UNITS, BYTE_UNIT_COUNT, (const uint64_t[]){min, max}, ret_bytes))
        return 0;
    value_format_bytes(min, least, sizeof(least));
    value_format_bytes(max, most, sizeof(most));
    return report_node(report, node, "'%.64s' is not a size from %s to %s; for example 8MiB", text,
                       least, most);
}

int value_choice(const struct report *report, const struct node *node, const char *const *choices,
                 size_t count, unsigned *ret_choice)
{
    const char *text = "";
    char all[256] = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *ret_choice = i;
            return 0;
        }
    }
    for (size_t i = 0, len = 0; i < count && len < sizeof(all); i++)
        len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i ? ", " : "", choices[i]);
    return report_node(report, node, "'%.64s' is not one of %s", text, all);
}

int value_bool(const struct report *report, const struct node *node, bool *ret_bool)
{
    static const char *const choices[] = {"false", "true"};
    unsigned choice = 0;
    const int result = value_choice(report, node, choices, 2, &choice);
    if (result == 0)
        *ret_bool = choice != 0;
    return result;
}

const char *value_name_problem(const char *name)
{
    if (!*name)
        return "is empty; a name of 1 to 64 characters is needed";
    if (strlen(name) > CONFIG_MAX_NAME)
        return "is too long; a name has at most 64 characters";
    for (; *name; name++)
        if (*name <= 0x20 || *name > 0x7e)
            return "has a blank or a character beyond ASCII; a name has letters, digits and "
                   "punctuation";
    return NULL;
}

int value_name(const struct report *report, const struct node *node, char **ret_name)
{
    const char *text = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    const char *problem = value_name_problem(text);
    if (problem)
        return report_node(report, node, "'%.64s' %s", text, problem);
    char *copy = strdup(text);
    if (!copy)
        return report_memory(report);
    *ret_name = copy;
    return 0;
}

int value_path(const struct report *report, const struct node *node, char **ret_path)
{
    const size_t room = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    const char *text = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    if (strlen(text) > room)
        return report_node(report, node, "is a path of %zu bytes; a UNIX socket's has at most %zu",
                           strlen(text), room);
    char *copy = strdup(text);
    if (!copy)
        return report_memory(report);
    *ret_path = copy;
    return 0;
}

/* Splits "HOST:PORT" or "[HOST]:PORT". Result: the port, or -1. */
static int split_port(const char *text, char *host, size_t size, bool *ret_brackets)
{
    const char *colon = strrchr(text, ':');
    const char *end;
    uint64_t port;
    if (!colon || value_parse_digits(colon + 1, &port, &end) || *end || port > 65535)
        return -1;
    size_t len = (size_t)(colon - text);
    *ret_brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (*ret_brackets) {
        text++;
        len -= 2;
    }
    if (len >= size)
        return -1;
    memcpy(host, text, len);
    host[len] = 0;
    return (int)port;
}

int value_address(const struct report *report, const struct node *node,
                  struct config_address *ret_address)
{
    struct config_address address = {.len = 0};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    char host[64];
    bool brackets;
    const char *text = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    const int port = split_port(text, host, sizeof(host), &brackets);
    if (port < 0 || strlen(text) >= sizeof(address.text))
        return report_node(report, node,
                           "'%.64s' is not ADDRESS:PORT; for example 127.0.0.1:6383 or "
                           "\"[::1]:6383\", ports from 0 to 65535",
                           text);
    v4.sin_port = htons((uint16_t)port);
    v6.sin6_port = htons((uint16_t)port);
    if (brackets && inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(&address.address, &v6, sizeof(v6));
        address.len = sizeof(v6);
    } else if (!brackets && inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(&address.address, &v4, sizeof(v4));
        address.len = sizeof(v4);
    } else {
        return report_node(report, node,
                           "'%.64s' has no IPv4 or [IPv6] address before its port; names are not "
                           "resolved here, 127.0.0.1 and [::1] are this machine",
                           text);
    }
    snprintf(address.text, sizeof(address.text), "%s", text);
    *ret_address = address;
    return 0;
}

/* Clears the bits behind the prefix. True if one was set. */
static bool cut_to_prefix(uint8_t bytes[16], unsigned bits)
{
    bool changed = false;
    for (unsigned i = 0; i < 16; i++) {
        const unsigned kept = bits >= 8 * (i + 1) ? 8 : bits <= 8 * i ? 0 : bits - 8 * i;
        const uint8_t cut = (uint8_t)(bytes[i] & (0xff00u >> kept));
        changed |= cut != bytes[i];
        bytes[i] = cut;
    }
    return changed;
}

int value_network(const struct report *report, const struct node *node,
                  struct config_network *ret_network)
{
    struct config_network network = {.bits = 0};
    char host[64], clean[INET6_ADDRSTRLEN] = "";
    const char *text = "", *end = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    const size_t len = strcspn(text, "/");
    snprintf(host, sizeof(host), "%.*s", len < sizeof(host) ? (int)len : 0, text);
    const bool v4 = inet_pton(AF_INET, host, network.prefix + 12) == 1;
    const unsigned width = v4 ? 32 : 128;
    uint64_t bits = width;
    const bool bad_bits =
        text[len] && (value_parse_digits(text + len + 1, &bits, &end) || *end || bits > width);
    if (v4)
        memset(network.prefix + 10, 0xff, 2);
    else if (inet_pton(AF_INET6, host, network.prefix) != 1)
        return report_node(report, node,
                           "'%.64s' is not a network; for example 10.0.0.0/8 or fd00::/8", text);
    if (bad_bits)
        return report_node(report, node, "'%.64s' has a bad prefix length; 0 to %u", text, width);
    network.bits = (uint8_t)(bits + (128 - width));
    if (cut_to_prefix(network.prefix, network.bits)) {
        inet_ntop(v4 ? AF_INET : AF_INET6, network.prefix + (v4 ? 12 : 0), clean, sizeof(clean));
        return report_node(report, node,
                           "'%.64s' has bits behind its prefix; the network is %s/%" PRIu64, text,
                           clean, bits);
    }
    *ret_network = network;
    return 0;
}

void value_format_network(const struct config_network *network, char *text, size_t size)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const bool v4 = network->bits >= 96 && memcmp(network->prefix, mapped, sizeof(mapped)) == 0;
    char address[INET6_ADDRSTRLEN] = "";
    inet_ntop(v4 ? AF_INET : AF_INET6, network->prefix + (v4 ? 12 : 0), address, sizeof(address));
    snprintf(text, size, "%s/%u", address, v4 ? network->bits - 96u : network->bits);
}

int value_parse_rate(const char *text, uint64_t *ret_count, uint64_t *ret_period_ns, char *problem,
                     size_t size)
{
    static const char form[] = "is not COUNT/[N]UNIT; for example 10/s or 100/15m";
    const char *at;
    uint64_t count = 0, units = 1, period;
    int result = value_parse_digits(text, &count, &at);
    if (result == -ERANGE || (result == 0 && *at == '/' && count == 0)) {
        snprintf(problem, size, "'%.64s' has a count that is 0 or beyond 64 bits", text);
        return -EINVAL;
    }
    if (result || *at != '/') {
        snprintf(problem, size, "'%.64s' %s", text, form);
        return -EINVAL;
    }
    at++;
    result = value_parse_digits(at, &units, &at);
    if (result == -ERANGE || (result == 0 && units == 0)) {
        snprintf(problem, size, "'%.64s' has a period that is 0 or beyond 64 bits", text);
        return -EINVAL;
    }
    for (size_t i = 0; i < UNIT_COUNT; i++) {
        if (strcmp(at, UNITS[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(UNITS[i].size, units, &period)) {
            snprintf(problem, size, "'%.64s' has a period beyond 584 years", text);
            return -EINVAL;
        }
        *ret_count = count;
        *ret_period_ns = period;
        return 0;
    }
    if (*at)
        snprintf(problem, size, "'%.64s' has unit '%.16s'; one of ms, s, m, h, d", text, at);
    else
        snprintf(problem, size, "'%.64s' has no unit; one of ms, s, m, h, d", text);
    return -EINVAL;
}

void value_format_rate(uint64_t count, uint64_t period_ns, char *text, size_t size)
{
    size_t unit = UNIT_COUNT - 1;
    while (unit && period_ns % UNITS[unit].size)
        unit--;
    const uint64_t units = period_ns / UNITS[unit].size;
    if (units == 1)
        snprintf(text, size, "%" PRIu64 "/%s", count, UNITS[unit].name);
    else
        snprintf(text, size, "%" PRIu64 "/%" PRIu64 "%s", count, units, UNITS[unit].name);
}
