/* Large memory, taken whole at start: what is reserved is there, or the start fails. And memory for
 * secrets. Source: mmap(2), madvise(2), mlock(2), proc(5). Any thread; no call is for the hot path.
 */
#ifndef METE_SYS_MEMORY_H
#define METE_SYS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Anonymous zeroed memory, prefaulted, at an address that is a multiple of 2 MiB. huge asks for
 * pages of 2 MiB; without it they are refused, so that the speed is the same on every host.
 * Results: 0, -EINVAL (size 0), -ENOMEM (more than the system has to give). */
int memory_reserve(size_t size, bool huge, void **ret_memory);
void memory_release(void *memory, size_t size);

/* Zeroed memory for secrets, in pages of its own: never in a core dump, and never in the swap
 * unless *ret_locked is false (RLIMIT_MEMLOCK does not allow it). Results: 0, -EINVAL (size 0),
 * -ENOMEM. */
int memory_secret_reserve(size_t size, bool *ret_locked, void **ret_memory);

/* Wipes it first. NULL is fine. */
void memory_secret_release(void *memory, size_t size);

/* Does any of the mapping that holds this address stand on huge pages? False if nobody can tell. */
bool memory_has_huge_pages(const void *memory);

#endif
