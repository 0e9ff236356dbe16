#include "sys/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYNC_BYTES ((uint64_t)8 << 20)
#define MODE 0600
#define TRIES 10 /* of a lock on a file that was renamed by who held it */

static const char *name_of(const struct replace *replace)
{
    return replace->path + replace->name_at;
}

/* The name with an ending, which has its room: see replace_open(). */
static void format_name(const struct replace *replace, const char *ending, char name[NAME_MAX + 1])
{
    snprintf(name, NAME_MAX + 1, "%s%s", name_of(replace), ending);
}

/* The path without its name: the name's first byte is put back. */
static int open_folder(struct replace *replace)
{
    const char first = replace->path[replace->name_at];

    replace->path[replace->name_at] = 0;
    const int folder = open(replace->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int error = errno;
    replace->path[replace->name_at] = first;
    return folder < 0 ? -error : folder;
}

int replace_open(struct replace *replace, const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t len = strlen(path);
    struct stat status;

    *replace = (struct replace){.folder = -1, .file = -1};
    if (!slash || len >= sizeof(replace->path) || strlen(slash) + strlen(".tmp") > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(replace->path, path, len + 1);
    replace->name_at = (size_t)(slash + 1 - path);
    if (!slash[1] || (stat(path, &status) == 0 && S_ISDIR(status.st_mode)))
        return -EISDIR;
    const int folder = open_folder(replace);
    if (folder < 0)
        return folder;
    replace->folder = folder;
    return 0;
}

void replace_close(struct replace *replace)
{
    replace_abort(replace);
    if (replace->folder >= 0)
        close(replace->folder);
    replace->folder = -1;
}

/* Is the open file still the one that has the name? Who held the lock before may have renamed it.
 */
static bool is_named(const struct replace *replace, const char *name, int file)
{
    struct stat here, there;

    return fstat(file, &here) == 0 && fstatat(replace->folder, name, &there, 0) == 0 &&
           here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

static int begin_once(struct replace *replace, const char *name)
{
    const int file = openat(replace->folder, name,
                            O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, MODE);
    int result = file < 0 ? -errno : 0;

    if (!result && flock(file, LOCK_EX | LOCK_NB) < 0)
        result = errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (!result && !is_named(replace, name, file))
        result = -EAGAIN;
    if (!result && (fchmod(file, MODE) < 0 || ftruncate(file, 0) < 0))
        result = -errno;
    if (result && file >= 0)
        close(file);
    if (!result)
        replace->file = file;
    return result;
}

int replace_begin(struct replace *replace)
{
    char name[NAME_MAX + 1];
    int result = -EAGAIN;

    format_name(replace, ".tmp", name);
    replace->written_bytes = replace->synced_bytes = 0;
    for (unsigned i = 0; i < TRIES && result == -EAGAIN; i++)
        result = begin_once(replace, name);
    if (result != -ENOENT)
        return result == -EAGAIN ? -EBUSY : result;
    const int folder = open_folder(replace); /* the one that was open is gone */
    if (folder < 0)
        return folder;
    close(replace->folder);
    replace->folder = folder;
    return begin_once(replace, name);
}

int replace_write(struct replace *replace, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        const ssize_t put = write(replace->file, at, len);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        at += put;
        len -= (size_t)put;
        replace->written_bytes += (uint64_t)put;
    }
    if (replace->written_bytes - replace->synced_bytes < SYNC_BYTES)
        return 0;
    replace->synced_bytes = replace->written_bytes;
    return fdatasync(replace->file) < 0 ? -errno : 0;
}

int replace_commit(struct replace *replace, bool keeps_old)
{
    char from[NAME_MAX + 1], old[NAME_MAX + 1];

    format_name(replace, ".tmp", from);
    format_name(replace, ".old", old);
    if (fsync(replace->file) < 0)
        return -errno;
    if (keeps_old && renameat(replace->folder, name_of(replace), replace->folder, old) < 0 &&
        errno != ENOENT)
        return -errno;
    if (renameat(replace->folder, from, replace->folder, name_of(replace)) < 0)
        return -errno;
    close(replace->file); /* and with it the lock: who waited finds another file of that name */
    replace->file = -1;
    return fsync(replace->folder) < 0 ? -errno : 0;
}

void replace_abort(struct replace *replace)
{
    char name[NAME_MAX + 1];

    if (replace->file < 0)
        return;
    format_name(replace, ".tmp", name);
    unlinkat(replace->folder, name, 0); /* or it is written over the next time */
    close(replace->file);
    replace->file = -1;
}
