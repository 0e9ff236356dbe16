/* Overload, as far as it concerns a worker's sockets: looks at their queues, sets the gate, says
 * when it begins and ends. What is decided is net/shed.h's. */
#ifndef METE_NET_WORKER_SHED_H
#define METE_NET_WORKER_SHED_H

#include <stdint.h>

struct worker;

/* The queue was not seen empty for the delay budget, or is an overload's: a look at it, if one is
 * due. */
void worker_look_at_load(struct worker *worker, uint64_t boot_ns);

/* What the kernel is to drop now, for the flood and for the gate. Results: 0 or a negative errno.
 */
int worker_set_filter(struct worker *worker);

#endif
