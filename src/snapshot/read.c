#include "snapshot/read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

enum snapshot_fault snapshot_read_begin(const struct snapshot_source *source,
                                        struct snapshot_reader *ret_reader)
{
    struct snapshot_header *header = &ret_reader->header;
    struct snapshot_end *end = &ret_reader->end;
    const bool has_header = source->size >= sizeof(*header);
    uint64_t magic = 0;

    ret_reader->source = *source;
    if (source->size < sizeof(magic))
        return SNAPSHOT_FOREIGN;
    if (source->read(source->context, 0, has_header ? (void *)header : (void *)&magic,
                     has_header ? sizeof(*header) : sizeof(magic)))
        return SNAPSHOT_UNREADABLE;
    if (!has_header)
        return magic == SNAPSHOT_MAGIC ? SNAPSHOT_TRUNCATED : SNAPSHOT_FOREIGN;
    enum snapshot_fault fault = snapshot_check_header(header, source->size);

    if (fault != SNAPSHOT_FINE)
        return fault;
    if (source->read(source->context, source->size - sizeof(*end), end, sizeof(*end)))
        return SNAPSHOT_UNREADABLE;
    return snapshot_check_end(end, header, source->size);
}

bool snapshot_read_block(struct snapshot_reader *reader, uint64_t position,
                         struct snapshot_block *ret_block)
{
    const uint64_t offset = SNAPSHOT_HEADER_BYTES + position * SNAPSHOT_BLOCK_BYTES;

    return reader->source.read(reader->source.context, offset, ret_block, sizeof(*ret_block)) ==
               0 &&
           snapshot_check_block(ret_block, &reader->header, &reader->end, position);
}

static int read_file(void *context, uint64_t offset, void *ret_bytes, size_t len)
{
    const int file = (int)(intptr_t)context;
    char *at = ret_bytes;

    while (len > 0) {
        const ssize_t got = pread(file, at, len, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) /* shorter than it was: somebody writes into it */
            return got < 0 ? -errno : -EIO;
        at += got;
        offset += (uint64_t)got;
        len -= (size_t)got;
    }
    return 0;
}

int snapshot_open(const char *path, bool only_looks, struct snapshot_source *ret_source)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    int result = file < 0 || fstat(file, &status) < 0 ? -errno : 0;

    if (!result && !S_ISREG(status.st_mode))
        result = -EINVAL;
    if (!result && !only_looks &&
        ((status.st_mode & (S_IWGRP | S_IWOTH)) ||
         (status.st_uid != 0 && status.st_uid != geteuid())))
        result = -EPERM;
    if (result) {
        if (file >= 0)
            close(file);
        return result;
    }
    posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
    *ret_source = (struct snapshot_source){
        .read = read_file,
        .context = (void *)(intptr_t)file,
        .size = (uint64_t)status.st_size,
    };
    return 0;
}

void snapshot_close(struct snapshot_source *source)
{
    close((int)(intptr_t)source->context);
}
