/* What a configuration asks of a library that is not in this build is refused by name: nothing is
 * silently ignored. Loading only, one thread. */
#ifndef METE_CONFIG_PARTS_H
#define METE_CONFIG_PARTS_H

struct config;
struct report;

/* Results: 0, or -EINVAL, reported. */
int parts_judge(const struct report *report, const struct config *config);

#endif
