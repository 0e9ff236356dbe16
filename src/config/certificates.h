/* The section `tls` as a whole: what belongs together is there, and the files make a context.
 * Loading only, one thread. */
#ifndef METE_CONFIG_CERTIFICATES_H
#define METE_CONFIG_CERTIFICATES_H

struct config;
struct config_options;
struct report;

/* Behind everything else that is read. Results: 0, -EINVAL, reported. */
int certificates_settle(const struct report *report, const struct config_options *options,
                        struct config *config);

void certificates_release(struct config *config);

#endif
