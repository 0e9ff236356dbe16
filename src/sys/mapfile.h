/* A file whose memory outlives the process: on tmpfs or hugetlbfs, for one daemon at a time.
 *
 * A file on a disk is refused: writing its pages back would stall who changes them. The lock goes
 * with the open file, not with the process: whoever is handed the descriptor holds it too, and it
 * is given back when the last of them is closed, by kill -9 as well.
 *
 * Source: statfs(2), flock(2), fallocate(2), mmap(2), memfd_create(2). Any thread; at start only.
 */
#ifndef METE_SYS_MAPFILE_H
#define METE_SYS_MAPFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mapfile {
    int fd;
    uint64_t size_bytes; /* of the file, as it was found or made */
    uint64_t page_bytes; /* what sizes are whole multiples of */
};

/* Opens the file, or makes it empty, and locks it. On failure problem has a clause that says what
 * is wrong and what would be right. Results: 0, -EBUSY (another process has it), -EMEDIUMTYPE (not
 * on tmpfs or hugetlbfs), -EPERM (others may read it, or it is no file), or what the system said.
 */
int mapfile_open(const char *path, struct mapfile *ret_file, char *problem, size_t size);

/* The same without a name, for who hands the descriptor on. Results: 0, or what the system said. */
int mapfile_open_unnamed(struct mapfile *ret_file);

/* A descriptor that was handed on, lock and all. It is the struct's from then on. */
int mapfile_adopt(int fd, struct mapfile *ret_file);

/* Empties the file and reserves size bytes of zeros, whole. Results: 0, -ENOSPC, or what the system
 * said. */
int mapfile_reserve(struct mapfile *file, uint64_t size);

/* All of it, shared. huge asks for pages of 2 MiB where the mount leaves the choice. */
int mapfile_map(const struct mapfile *file, bool huge, void **ret_memory);
void mapfile_unmap(const struct mapfile *file, void *memory);

void mapfile_close(struct mapfile *file);

#endif
