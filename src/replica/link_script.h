/* merge.lua, which Redis runs for us, and the name it goes by there. Its name ends in the hash of
 * its text, so that two versions of it live side by side while nodes are upgraded. Any thread. */
#ifndef METE_REPLICA_LINK_SCRIPT_H
#define METE_REPLICA_LINK_SCRIPT_H

#include <stddef.h>

#include "replica/redis.h"

#define LINK_VERSION_SIZE 17u /* 16 hex digits */
#define LINK_FUNCTION_SIZE 32u

struct link_script {
    char version[LINK_VERSION_SIZE];
    char merge[LINK_FUNCTION_SIZE]; /* names of its functions */
    char beat[LINK_FUNCTION_SIZE];
    const char *text; /* for SCRIPT LOAD */
    size_t len;
    struct redis_buffer library; /* for FUNCTION LOAD */
};

/* Results: 0, -ENOMEM. */
int link_script_init(struct link_script *script);
void link_script_deinit(struct link_script *script);

#endif
