#include "cmd/refusal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *refusal_text(int result, const char *path, char *out, size_t size)
{
    const char *why = strerror(-result);
    if (!path && (result == -EACCES || result == -EPERM))
        snprintf(out, size,
                 "%s: a port below 1024 needs CAP_NET_BIND_SERVICE; choose a higher one, or let "
                 "systemd's mete.socket pass it",
                 why);
    else if (path && (result == -EACCES || result == -EPERM))
        snprintf(out, size,
                 "%s: user %u may not make a socket there; give that user the folder, or choose "
                 "another path",
                 why, (unsigned)geteuid());
    else if (path && result == -EROFS)
        snprintf(out, size,
                 "%s: choose a path in a folder that may be written, as /run/mete is under the "
                 "unit's RuntimeDirectory=",
                 why);
    else if (path && (result == -ENOSPC || result == -EDQUOT))
        snprintf(out, size,
                 "%s: the file system of that folder is full (df, df -i); make room, or choose "
                 "another path",
                 why);
    else if (path && result == -ENOENT)
        snprintf(out, size, "%s: make its folder, or choose another path", why);
    else
        snprintf(out, size, "%s", why);
    return out;
}
