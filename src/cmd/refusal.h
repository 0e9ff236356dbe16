/* Why the system refused a socket, and what would be right: the end of the one line that a daemon
 * which does not start leaves in the journal. Any thread. */
#ifndef METE_CMD_REFUSAL_H
#define METE_CMD_REFUSAL_H

#include <stddef.h>

/* result: the negative errno; path: of a UNIX socket, NULL: it is an address. Returns out. */
const char *refusal_text(int result, const char *path, char *out, size_t size);

#define REFUSAL_BYTES 256u

#endif
