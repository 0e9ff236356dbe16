/* Is a file other than it was? The folder is watched (inotify(7)), because editors and deployment
 * tools put a new file in the place of the old one, or turn a link. Main thread. */
#ifndef METE_CMD_WATCH_H
#define METE_CMD_WATCH_H

#include <stdbool.h>
#include <sys/stat.h>

struct watch {
    int fd;           /* readable when something happened in the folder; -1: not watching */
    const char *path; /* or NULL: there is no file */
    struct stat seen;
};

/* Remembers how the file at path stands, before it is read. */
void watch_look(struct watch *watch, const char *path);

/* Watches it from now on, or no more. Results: 0, or a negative errno (it does not watch). */
int watch_set(struct watch *watch, bool wanted);

/* Takes what fd has to say. True if the file was written or replaced since the last watch_look().
 */
bool watch_has_changed(struct watch *watch);

void watch_close(struct watch *watch);

#endif
