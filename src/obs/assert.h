/* ASSERT() stays on in release and is for programmers' errors only: no datagram, file or peer can
 * trigger one. */
#ifndef METE_OBS_ASSERT_H
#define METE_OBS_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            fprintf(stderr, "mete: %s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
