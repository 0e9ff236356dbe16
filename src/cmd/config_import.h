/* `mete config import envoy FILE ...`: the configuration of Envoy's own rate limit service as ours.
 */
#ifndef METE_CMD_CONFIG_IMPORT_H
#define METE_CMD_CONFIG_IMPORT_H

/* The words from `import` on. Exit status: 0 all is carried over, 1 not all (stderr has a line for
 * each), 2 wrong use, or a file that its own service would refuse. */
int config_import(int argc, char **argv);

#endif
