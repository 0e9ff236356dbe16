/* Scalars of the configuration to values: numbers, rates, names, addresses, networks. Each parser
 * returns 0, or -EINVAL or -ENOMEM after saying in report what is wrong and what would be right;
 * outputs are untouched on failure. Any thread. */
#ifndef METE_CONFIG_VALUE_H
#define METE_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_address;
struct config_network;
struct node;
struct report;

/* The text of a node that must be a scalar and not empty. */
int value_text(const struct report *report, const struct node *node, const char **ret_text);

/* Decimal, or hexadecimal after 0x, in [min, max]. */
int value_number(const struct report *report, const struct node *node, uint64_t min, uint64_t max,
                 uint64_t *ret_number);

/* "200ms", "2s", or 0 without a unit: nanoseconds in [min, max]. */
int value_duration(const struct report *report, const struct node *node, uint64_t min, uint64_t max,
                   uint64_t *ret_ns);

/* "8MiB", "64KiB", or a number of bytes: in [min, max]. */
int value_bytes(const struct report *report, const struct node *node, uint64_t min, uint64_t max,
                uint64_t *ret_bytes);

/* Both into text, in the largest unit that divides them: "200ms", "8MiB". */
void value_format_duration(uint64_t ns, char *text, size_t size);
void value_format_bytes(uint64_t bytes, char *text, size_t size);

/* 2 * size hex digits. */
int value_hex(const struct report *report, const struct node *node, uint8_t *ret_bytes,
              size_t size);

/* "true" or "false". */
int value_bool(const struct report *report, const struct node *node, bool *ret_bool);

/* The position of the text among the choices. */
int value_choice(const struct report *report, const struct node *node, const char *const *choices,
                 size_t count, unsigned *ret_choice);

/* A copy for free() of 1 to CONFIG_MAX_NAME bytes without blanks. */
int value_name(const struct report *report, const struct node *node, char **ret_name);

/* As value_name() for a text that is no node's; NULL if it is fine, else what is wrong. */
const char *value_name_problem(const char *name);

/* A copy for free() of a path that fits a UNIX socket's address. */
int value_path(const struct report *report, const struct node *node, char **ret_path);

/* "192.0.2.1:6383", "[2001:db8::1]:6383"; port 0: the kernel picks. */
int value_address(const struct report *report, const struct node *node,
                  struct config_address *ret_address);

/* "10.0.0.0/8", "fd00::/8"; an address without a prefix is one host. */
int value_network(const struct report *report, const struct node *node,
                  struct config_network *ret_network);

/* And back; 64 bytes are enough. */
void value_format_network(const struct config_network *network, char *text, size_t size);

/* "COUNT/[N]UNIT". Result: 0, or -EINVAL with what is wrong in problem. */
int value_parse_rate(const char *text, uint64_t *ret_count, uint64_t *ret_period_ns, char *problem,
                     size_t size);

/* "100/15m" into text, in the largest unit that divides the period. */
void value_format_rate(uint64_t count, uint64_t period_ns, char *text, size_t size);

/* Whole decimal number without sign or blank. Results: 0, -EINVAL, -ERANGE; *ret_end behind it. */
int value_parse_digits(const char *text, uint64_t *ret_number, const char **ret_end);

#endif
