/* listen.interface and af_xdp: the interface whose datagrams go past the kernel's sockets. Loading
 * and reloading only, one thread. */
#ifndef METE_CONFIG_INTERFACE_H
#define METE_CONFIG_INTERFACE_H

#include <stdio.h>

struct config;
struct node;
struct report;

/* The name of an interface, or none. Results of both: 0, -EINVAL, reported. */
int interface_apply_name(const struct report *report, const struct node *node, char **ret_name);

/* The backend goes by an interface or it does not. */
int interface_judge(const struct report *report, const struct config *config);

/* As a line of the section listen, and as a section of its own. */
void interface_print_name(const struct config *config, FILE *out);
void interface_print(const struct config *config, FILE *out);

#endif
