#include "cmd/config_init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"

static const char text[] =
#include "commented.inc" /* made of config/commented.yaml */
    ;

int config_init(const char *path)
{
    FILE *out = stdout;
    if (path) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        out = fd < 0 ? NULL : fdopen(fd, "w");
        if (fd < 0 && errno == EEXIST)
            return cmd_fail("config", "init: %s is there already; it is never written over", path);
        if (!out)
            return cmd_fail("config", "init: %s cannot be written: %s", path, strerror(errno));
    }
    bool is_written = fputs(text, out) >= 0 && fflush(out) == 0;
    int error = errno;
    if (path && fclose(out) != 0 && is_written) {
        is_written = false;
        error = errno;
    }
    if (!is_written) {
        if (path)
            unlink(path);
        return cmd_fail("config", "init: %s cannot be written: %s", path ? path : "standard output",
                        strerror(error));
    }
    if (path)
        printf("%s: every setting with its default; `mete config check %s` after changing it\n",
               path, path);
    return EXIT_ALLOWED;
}
