/* An instant as the engine passes it down: both clocks read once per batch, never inside. */
#ifndef METE_CORE_INSTANT_H
#define METE_CORE_INSTANT_H

#include <stdint.h>

struct instant {
    uint64_t now_ns;  /* since the table's time base: buckets and leases */
    uint64_t wall_ns; /* since 1970, never goes back: windows and calendars */
};

#endif
