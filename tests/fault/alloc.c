/* Memory that is not there: for our own code and for the libraries that read what peers send.
 *
 * This is the program's malloc, in front of libc's, which the libraries meet as well. Who calls is
 * told by the return address, so that libc, the loader and what opens the sandbox have their
 * memory. A sanitizer brings an allocator of its own; there the linker puts only our own calls in
 * the way, and the sanitizer judges what a failure leaves behind. */
#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fault/fault.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_WRAPPED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_WRAPPED
#endif
#endif

#ifdef IS_WRAPPED

#define FUNCTION(name) __wrap_##name
#define REAL(name) __real_##name
#define IS_CONCERNED() true

#else

#define FUNCTION(name) name
#define REAL(name) __libc_##name
#define IS_CONCERNED() is_concerned((uintptr_t)__builtin_return_address(0))

#define RANGES 32u

static struct range {
    uintptr_t from, to;
} ranges[RANGES];
static unsigned range_count;

/* The program itself, and these. */
static bool is_wanted(const char *path)
{
    static const char *const names[] = {"",        "libjansson.",   "libnghttp2.", "libhiredis.",
                                        "libyaml", "libprotobuf-c."};
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (*names[i] ? strncmp(name, names[i], strlen(names[i])) == 0 : !*name)
            return true;
    return false;
}

static int take_object(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size, (void)context;
    for (unsigned i = 0; is_wanted(info->dlpi_name) && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && part->p_flags & PF_X && range_count < RANGES)
            ranges[range_count++] = (struct range){info->dlpi_addr + part->p_vaddr,
                                                   info->dlpi_addr + part->p_vaddr + part->p_memsz};
    }
    return 0;
}

__attribute__((constructor)) static void find_objects(void)
{
    dl_iterate_phdr(take_object, NULL);
}

static bool is_concerned(uintptr_t caller)
{
    for (unsigned i = 0; i < range_count; i++)
        if (caller >= ranges[i].from && caller < ranges[i].to)
            return true;
    return false;
}

#endif

#define FAILS() (IS_CONCERNED() && fault_is_due(FAULT_ALLOC))

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *memory, size_t size);
void *FUNCTION(malloc)(size_t size);
void *FUNCTION(calloc)(size_t count, size_t size);
void *FUNCTION(realloc)(void *memory, size_t size);
void *FUNCTION(reallocarray)(void *memory, size_t count, size_t size);
void *FUNCTION(aligned_alloc)(size_t align, size_t size);
char *FUNCTION(strdup)(const char *text);
char *FUNCTION(strndup)(const char *text, size_t len);

static void *nothing(void)
{
    errno = ENOMEM;
    return NULL;
}

void *FUNCTION(malloc)(size_t size)
{
    return FAILS() ? nothing() : REAL(malloc)(size);
}

void *FUNCTION(calloc)(size_t count, size_t size)
{
    return FAILS() ? nothing() : REAL(calloc)(count, size);
}

void *FUNCTION(realloc)(void *memory, size_t size)
{
    return FAILS() ? nothing() : REAL(realloc)(memory, size);
}

void *FUNCTION(reallocarray)(void *memory, size_t count, size_t size)
{
    size_t whole;

    if (__builtin_mul_overflow(count, size, &whole) || FAILS())
        return nothing();
    return REAL(realloc)(memory, whole);
}

#ifdef IS_WRAPPED
void *REAL(aligned_alloc)(size_t align, size_t size);
#else
void *__libc_memalign(size_t align, size_t size);
#define __libc_aligned_alloc __libc_memalign
#endif

void *FUNCTION(aligned_alloc)(size_t align, size_t size)
{
    return FAILS() ? nothing() : REAL(aligned_alloc)(align, size);
}

static char *copy(const char *text, size_t len)
{
    char *made = REAL(malloc)(len + 1);

    if (!made)
        return NULL;
    made[len] = 0;
    return memcpy(made, text, len);
}

char *FUNCTION(strdup)(const char *text)
{
    return FAILS() ? nothing() : copy(text, strlen(text));
}

char *FUNCTION(strndup)(const char *text, size_t len)
{
    return FAILS() ? nothing() : copy(text, strnlen(text, len));
}
