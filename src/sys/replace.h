/* A file that is replaced whole: written under another name beside it, made durable, then renamed
 * over it. At every instant, also after a crash or a power cut, the name stands for the old bytes
 * or for the new ones, never for a part of either.
 *
 * The folder is opened once, at the start, so that files are found in it after privileges are gone;
 * if it was taken away meanwhile, and one of that name came, it is opened again. The other name,
 * FILE.tmp, is locked while it is written, so that of two processes one is refused. Source:
 * open(2), rename(2), fsync(2), flock(2).
 *
 * Threads: one at a time. */
#ifndef METE_SYS_REPLACE_H
#define METE_SYS_REPLACE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replace {
    char path[PATH_MAX];
    size_t name_at; /* of the file in path */
    int folder;
    int file; /* -1: nothing is being written */
    uint64_t written_bytes, synced_bytes;
};

/* Opens the folder of an absolute path. Results: 0, -ENAMETOOLONG, -EISDIR (the path is a folder),
 * or what opening it gave: -ENOENT, -ENOTDIR, -EACCES, ... */
int replace_open(struct replace *replace, const char *path);
void replace_close(struct replace *replace);

/* Begins a new file, mode 0600. Results: 0, -EBUSY (another process is writing it), -ENOENT (the
 * folder is gone), -EROFS, -EACCES, -ENOSPC, or another negative errno. */
int replace_begin(struct replace *replace);

/* Writes on, and now and then waits for the disk, so that nothing large is left for the end.
 * Results: 0, -ENOSPC, -EDQUOT, -EIO, ... */
int replace_write(struct replace *replace, const void *bytes, size_t len);

/* Puts it in the place of the old one. keeps_old: that is renamed to FILE.old first. Results: 0, or
 * a negative errno; then replace_abort(). */
int replace_commit(struct replace *replace, bool keeps_old);

/* Removes what was written; the old file stays. */
void replace_abort(struct replace *replace);

#endif
