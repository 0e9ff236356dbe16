/* `mete secret new [FILE]`: 32 random bytes as 64 hex digits and a newline, for secret_files and
 * key_file. A file is made with mode 0600 and never written over: whoever loses a secret in use has
 * an outage. The bytes pass no buffer but the one here, which is wiped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "config/config.h"

#define TEXT_BYTES (2 * CONFIG_KEY_BYTES + 1)

static const char usage[] =
    "usage: mete secret new [FILE]\n\n"
    "Makes a secret: 32 random bytes, written as 64 hex digits. With FILE into that file, which "
    "must\n"
    "not be there yet and is made with mode 0600; without FILE to standard output.\n\n"
    "A file is for a tenant's secret_files, for key_file, or for a client (--secret-file). To "
    "rotate,\n"
    "name the new one first and the old one behind it: secret_files: [new.key, old.key].\n\n"
    "exit status: 0 done, 2 wrong use, or it could not be written (one line says why)\n";

/* Results: 0, -errno. */
static int make_text(char text[TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[CONFIG_KEY_BYTES];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return -errno;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[TEXT_BYTES - 1] = '\n';
    explicit_bzero(bytes, sizeof(bytes));
    return 0;
}

/* Results: 0, -errno. */
static int write_all(int fd, const char *text, size_t len)
{
    while (len) {
        const ssize_t written = write(fd, text, len);
        if (written < 0 && errno != EINTR)
            return -errno;
        if (written > 0) {
            text += written;
            len -= (size_t)written;
        }
    }
    return 0;
}

/* Results: 0, -errno; on failure there is no file that was not there before. */
static int write_file(const char *path, const char *text, size_t len)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = fchmod(fd, 0600) < 0 ? -errno : 0; /* whatever the umask took away */
    if (result == 0)
        result = write_all(fd, text, len);
    if (result == 0 && fsync(fd) < 0 && errno != EINVAL)
        result = -errno;
    if (close(fd) < 0 && result == 0)
        result = -errno;
    if (result)
        unlink(path);
    return result;
}

static int make(const char *path)
{
    char text[TEXT_BYTES];
    int result = make_text(text);
    if (result)
        return cmd_fail("secret", "no random numbers: %s", strerror(-result));
    result =
        path ? write_file(path, text, sizeof(text)) : write_all(STDOUT_FILENO, text, sizeof(text));
    explicit_bzero(text, sizeof(text));
    if (result == -EEXIST)
        return cmd_fail("secret", "%s is there already; a secret is never written over", path);
    if (result)
        return cmd_fail("secret", "%s cannot be written: %s", path ? path : "standard output",
                        strerror(-result));
    if (path)
        printf("%s: a new secret, readable by its owner only\n", path);
    return EXIT_ALLOWED;
}

int cmd_secret(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return EXIT_ALLOWED;
        }
    }
    if (argc < 2 || argc > 3 || strcmp(argv[1], "new") != 0)
        return cmd_fail("secret", "takes new [FILE]; --help tells more");
    if (argc == 3 && (argv[2][0] == '-' || !argv[2][0]))
        return cmd_fail("secret", "new takes no option '%s'; a file of that name is ./%s", argv[2],
                        argv[2]);
    return make(argc == 3 ? argv[2] : NULL);
}
