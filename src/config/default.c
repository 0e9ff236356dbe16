/* What `mete serve` runs without a file: enough to try everything on one machine, and nothing that
 * a stranger can reach. Fields that do not stand here have the defaults of schema.c. */
#include "config/config.h"

const char config_default_yaml[] =
    "listen:\n"
    "  udp: 127.0.0.1:6383\n"
    "tenants:\n"
    "  - name: default\n"
    "    rules:\n"
    "      - {name: demo, algorithm: token_bucket, rate: 2/s, burst: 10}\n"
    "      - {name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}\n";
