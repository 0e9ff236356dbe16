/* See mapfile.h. */
#include "sys/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TMPFS 0x01021994
#define HUGETLBFS 0x958458f6

/* 0: a file of this file system is memory. Else the reason against it. */
static int judge_system(const struct statfs *system, char *problem, size_t size)
{
    const unsigned long type = (unsigned long)system->f_type & 0xffffffff;

    if (type == TMPFS || type == HUGETLBFS)
        return 0;
    snprintf(problem, size,
             "lies on a file system of type 0x%lx, whose writing back would stall the workers; it "
             "must be on tmpfs (as /dev/shm and /run are) or hugetlbfs",
             type);
    return -EMEDIUMTYPE;
}

/* 0, and what it is made of; or the reason against it. */
static int judge(int fd, struct mapfile *file, char *problem, size_t size)
{
    struct statfs system;
    struct stat stat;

    if (fstatfs(fd, &system) < 0 || fstat(fd, &stat) < 0) {
        const int error = -errno;
        snprintf(problem, size, "cannot be looked at: %s", strerror(-error));
        return error;
    }
    if (!S_ISREG(stat.st_mode)) {
        snprintf(problem, size, "is no regular file; choose another path");
        return -EPERM;
    }
    const int error = judge_system(&system, problem, size);
    if (error)
        return error;
    if (stat.st_nlink && stat.st_mode & 077) { /* without a name nobody else can open it */
        snprintf(problem, size, "may be used by others (mode %03o); chmod 600, or remove it",
                 (unsigned)stat.st_mode & 0777);
        return -EPERM;
    }
    const bool is_huge = ((unsigned long)system.f_type & 0xffffffff) == HUGETLBFS;
    file->size_bytes = (uint64_t)stat.st_size;
    file->page_bytes = is_huge ? (uint64_t)system.f_bsize : (uint64_t)getpagesize();
    return 0;
}

/* A path on a disk is refused before a file is made there. */
static int judge_folder(const char *path, char *problem, size_t size)
{
    char folder[4096];
    struct statfs system;
    const char *slash = strrchr(path, '/');
    const size_t len = slash ? (size_t)(slash - path) + 1 : 0;

    if (len >= sizeof(folder))
        return -ENAMETOOLONG;
    memcpy(folder, path, len);
    folder[len] = '\0';
    if (statfs(len ? folder : ".", &system) < 0) {
        const int error = -errno;
        snprintf(problem, size, "its folder cannot be looked at: %s", strerror(-error));
        return error;
    }
    return judge_system(&system, problem, size);
}

int mapfile_open(const char *path, struct mapfile *ret_file, char *problem, size_t size)
{
    struct mapfile file = {.fd = -1};
    int error = 0;

    snprintf(problem, size, "its name is too long");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        error = judge_folder(path, problem, size);
        if (error)
            return error;
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (fd < 0) {
        error = -errno;
        snprintf(problem, size, "cannot be opened: %s", strerror(-error));
        return error;
    }
    error = judge(fd, &file, problem, size);
    if (!error && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        error = errno == EWOULDBLOCK ? -EBUSY : -errno;
        if (error == -EBUSY)
            snprintf(problem, size,
                     "another daemon serves from it; stop that one, or choose another path");
        else
            snprintf(problem, size, "cannot be locked: %s", strerror(-error));
    }
    if (!error) /* it may have grown until the lock was got */
        error = judge(fd, &file, problem, size);
    if (error) {
        close(fd);
        return error;
    }
    file.fd = fd;
    *ret_file = file;
    return 0;
}

int mapfile_open_unnamed(struct mapfile *ret_file)
{
    int fd = memfd_create("mete-table", MFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    *ret_file = (struct mapfile){.fd = fd, .page_bytes = (uint64_t)getpagesize()};
    return 0;
}

int mapfile_adopt(int fd, struct mapfile *ret_file)
{
    struct mapfile file = {.fd = fd};
    char problem[256];
    const int error = judge(fd, &file, problem, sizeof(problem));

    if (!error)
        *ret_file = file;
    return error;
}

int mapfile_reserve(struct mapfile *file, uint64_t size)
{
    const uint64_t whole = (size + file->page_bytes - 1) / file->page_bytes * file->page_bytes;

    file->size_bytes = 0;
    if (ftruncate(file->fd, 0) < 0 || ftruncate(file->fd, (off_t)whole) < 0)
        return -errno;
    if (fallocate(file->fd, 0, 0, (off_t)whole) < 0) {
        const int error = -errno;
        if (ftruncate(file->fd, 0) < 0)
            return -errno;
        return error;
    }
    file->size_bytes = whole;
    return 0;
}

int mapfile_map(const struct mapfile *file, bool huge, void **ret_memory)
{
    void *memory = mmap(NULL, file->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);

    if (memory == MAP_FAILED)
        return -errno;
    if (huge)
        (void)madvise(memory, file->size_bytes, MADV_HUGEPAGE); /* advice, never needed */
    *ret_memory = memory;
    return 0;
}

void mapfile_unmap(const struct mapfile *file, void *memory)
{
    if (memory)
        munmap(memory, file->size_bytes);
}

void mapfile_close(struct mapfile *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
