/* A file of lines, plain or gzip, or standard input.
 *
 * zlib's gzread() tells the two apart by the first bytes, whatever the name says, and reads joined
 * gzip members as one; this is the only file that knows zlib. Memory is two lines of the greatest
 * length, however long the file or its lines are. Lines end with LF or CRLF; the last may have no
 * end. One thread at a time. */
#include "cmd/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define BUFFER_SIZE (2 * LOGFILE_LINE_MAX)
_Static_assert(BUFFER_SIZE > LOGFILE_LINE_MAX + 2, "a longest line and its CRLF fit");

struct logfile {
    gzFile gz;
    uint64_t lines;
    size_t begin, end; /* of what is read but not handed out, in buffer */
    bool is_at_end;
    bool skips; /* in the rest of a line that was too long */
    char name[256];
    char error[512];
    char buffer[BUFFER_SIZE];
};

static int open_descriptor(const char *path)
{
    struct stat status;
    const int descriptor =
        strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);

    if (descriptor < 0 || fstat(descriptor, &status) < 0 || !S_ISDIR(status.st_mode))
        return descriptor < 0 ? -errno : descriptor;
    close(descriptor);
    return -EISDIR;
}

int logfile_open(const char *path, struct logfile **ret_file, char *error, size_t size)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    const int descriptor = open_descriptor(path);

    if (descriptor < 0) {
        snprintf(error, size, "%s: %s", name, strerror(-descriptor));
        return descriptor;
    }
    struct logfile *file = calloc(1, sizeof(*file));
    if (file != NULL)
        file->gz = gzdopen(descriptor, "rb");
    if (file == NULL || file->gz == NULL) {
        free(file);
        close(descriptor);
        snprintf(error, size, "%s: %s", name, strerror(ENOMEM));
        return -ENOMEM;
    }
    snprintf(file->name, sizeof(file->name), "%s", name);
    *ret_file = file;
    return 0;
}

void logfile_close(struct logfile *file)
{
    if (file == NULL)
        return;
    gzclose(file->gz);
    free(file);
}

const char *logfile_error(const struct logfile *file)
{
    return file->error;
}

/* Moves what is left to the front and reads behind it. False: broken, with error set. */
static bool fill(struct logfile *file)
{
    int code = Z_OK;

    memmove(file->buffer, file->buffer + file->begin, file->end - file->begin);
    file->end -= file->begin;
    file->begin = 0;
    const size_t room = sizeof(file->buffer) - file->end;
    const int got = gzread(file->gz, file->buffer + file->end, (unsigned)room);
    const int why = errno;
    const char *text = gzerror(file->gz, &code);

    file->is_at_end = got < (int)room;
    if (got > 0)
        file->end += (size_t)got;
    if (code == Z_OK || code == Z_STREAM_END)
        return true;
    snprintf(file->error, sizeof(file->error), "%s: %s after line %" PRIu64 ": %s", file->name,
             code == Z_ERRNO ? "cannot be read" : "damaged gzip data", file->lines,
             code == Z_ERRNO       ? strerror(why)
             : code == Z_BUF_ERROR ? "it ends too early"
                                   : text);
    return false;
}

/* Length of the line at begin with its LF, or 0 if the buffer holds no end of it. */
static size_t find_end(const struct logfile *file)
{
    const char *begin = file->buffer + file->begin;
    const char *end = memchr(begin, '\n', file->end - file->begin);
    return end == NULL ? 0 : (size_t)(end - begin) + 1;
}

static enum logfile_result hand_out(struct logfile *file, size_t len, struct logfile_line *ret_line)
{
    const char *text = file->buffer + file->begin;
    file->begin += len;
    if (len > 0 && text[len - 1] == '\n')
        len--;
    if (len > 0 && text[len - 1] == '\r')
        len--;
    const bool is_long = len > LOGFILE_LINE_MAX;
    *ret_line = (struct logfile_line){
        .text = text, .len = is_long ? LOGFILE_LINE_MAX : len, .number = ++file->lines};
    return is_long ? LOGFILE_LONG_LINE : LOGFILE_LINE;
}

enum logfile_result logfile_next(struct logfile *file, struct logfile_line *ret_line)
{
    for (;;) {
        const size_t held = file->end - file->begin;
        size_t len = find_end(file);
        const bool is_full = len == 0 && held == sizeof(file->buffer);

        if (file->error[0] != '\0')
            return LOGFILE_BROKEN;
        if (file->skips && (len > 0 || is_full || file->is_at_end)) {
            file->begin += len > 0 ? len : held;
            file->skips = len == 0 && !file->is_at_end;
            continue;
        }
        if (len > 0)
            return hand_out(file, len, ret_line);
        if (is_full || (file->is_at_end && held > 0)) {
            file->skips = is_full;
            return hand_out(file, held, ret_line);
        }
        if (file->is_at_end)
            return LOGFILE_END;
        if (!fill(file))
            return LOGFILE_BROKEN;
    }
}
