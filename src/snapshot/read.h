/* Reading a snapshot, from wherever its bytes are: a file, or memory in a test. Nothing that is
 * read is believed before its checksum is. Any thread. */
#ifndef METE_SNAPSHOT_READ_H
#define METE_SNAPSHOT_READ_H

#include "snapshot/format.h"

struct snapshot_source {
    /* len bytes from an offset, all of them below size. Results: 0 or a negative errno. */
    int (*read)(void *context, uint64_t offset, void *ret_bytes, size_t len);
    void *context;
    uint64_t size;
};

struct snapshot_reader {
    struct snapshot_source source;
    struct snapshot_header header;
    struct snapshot_end end;
};

/* Reads header and end. Results: every enum snapshot_fault. */
enum snapshot_fault snapshot_read_begin(const struct snapshot_source *source,
                                        struct snapshot_reader *ret_reader);

/* The block at a position below end.block_count. False: it is damaged, or cannot be read. */
bool snapshot_read_block(struct snapshot_reader *reader, uint64_t position,
                         struct snapshot_block *ret_block);

/* A file that stays open until snapshot_close(). Who else may write it could lift every limit, so
 * such a file is refused unless it is only to be looked at. Results: 0; -ENOENT (there is none),
 * -EPERM (others may write it, or it is neither ours nor root's), -EINVAL (no regular file), or
 * what open(2) gave. */
int snapshot_open(const char *path, bool only_looks, struct snapshot_source *ret_source);
void snapshot_close(struct snapshot_source *source);

#endif
