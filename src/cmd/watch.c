#include "cmd/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static void look(const char *path, struct stat *ret_status)
{
    if (stat(path, ret_status) < 0)
        memset(ret_status, 0, sizeof(*ret_status)); /* none: differs from any */
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static const char *name_in(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int open_folder(const char *path)
{
    size_t len = (size_t)(name_in(path) - path);
    char *folder = len ? strndup(path, len) : strdup(".");
    int fd = folder ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1;
    int result = fd < 0 ? -errno : fd;
    if (fd >= 0 && inotify_add_watch(fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
        result = -errno;
        close(fd);
    }
    free(folder);
    return result;
}

void watch_look(struct watch *watch, const char *path)
{
    watch->path = path;
    if (path)
        look(path, &watch->seen);
}

int watch_set(struct watch *watch, bool wanted)
{
    if (!wanted || !watch->path) {
        watch_close(watch);
        return 0;
    }
    if (watch->fd >= 0)
        return 0;
    int result = open_folder(watch->path);
    watch->fd = result < 0 ? -1 : result;
    return result < 0 ? result : 0;
}

bool watch_has_changed(struct watch *watch)
{
    _Alignas(struct inotify_event) char bytes[4096];
    bool concerns = false;
    ssize_t len;
    while ((len = read(watch->fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t at = 0; at < len;) {
            const struct inotify_event *event = (const void *)(bytes + at);
            /* what is moved in may be a link on the way to the file; what is written under
             * another name is not, and the file itself may be half written */
            concerns = concerns || event->mask & (IN_MOVED_TO | IN_Q_OVERFLOW) ||
                       (event->len && strcmp(event->name, name_in(watch->path)) == 0);
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    }
    struct stat now;
    if (!concerns)
        return false;
    look(watch->path, &now);
    return now.st_ino && !is_same_file(&now, &watch->seen);
}

void watch_close(struct watch *watch)
{
    if (watch->fd >= 0)
        close(watch->fd);
    watch->fd = -1;
}
