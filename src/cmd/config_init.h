/* `mete config init`: the commented configuration. Its text is config/commented.yaml, from which
 * the build makes a string, and of which the manual page mete.yaml(5) is made, too. */
#ifndef METE_CMD_CONFIG_INIT_H
#define METE_CMD_CONFIG_INIT_H

/* Writes it to path, which must not exist, or to standard output (NULL). Returns an exit status. */
int config_init(const char *path);

#endif
