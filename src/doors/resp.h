/* The RESP door: Redis clients ask the same buckets. proto-spec/frontends.md says what each command
 * means; resp_parse reads, resp_commands decides, resp_write answers, doors/loop moves the bytes.
 */
#ifndef METE_DOORS_RESP_H
#define METE_DOORS_RESP_H

#include "doors/loop.h"

extern const struct loop_protocol resp_protocol;

#endif
