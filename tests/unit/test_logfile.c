/* Lines out of files: their ends, their greatest length, gzip by its first bytes, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

#include "cmd/logfile.h"

static char path[] = "/tmp/mete-logfile-XXXXXX";

static struct logfile *open_file(void)
{
    struct logfile *file = NULL;
    char error[256];
    assert_int_equal(logfile_open(path, &file, error, sizeof(error)), 0);
    return file;
}

static void write_plain(const char *bytes, size_t len)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static void write_gzip(const char *mode, const char *text)
{
    gzFile out = gzopen(path, mode);
    assert_non_null(out);
    assert_int_equal(gzputs(out, text), (int)strlen(text));
    assert_int_equal(gzclose(out), Z_OK);
}

static void expect_line(struct logfile *file, const char *text)
{
    struct logfile_line line;
    assert_int_equal(logfile_next(file, &line), LOGFILE_LINE);
    assert_int_equal(line.len, strlen(text));
    assert_memory_equal(line.text, text, line.len);
}

static void expect_end(struct logfile *file)
{
    struct logfile_line line;
    assert_int_equal(logfile_next(file, &line), LOGFILE_END);
    assert_int_equal(logfile_next(file, &line), LOGFILE_END);
    logfile_close(file);
}

static void splits_lines(void **state)
{
    (void)state;
    write_plain("", 0);
    expect_end(open_file());
    write_plain("a\n\nb\r\n\r\nc", 9);
    struct logfile *file = open_file();
    expect_line(file, "a");
    expect_line(file, "");
    expect_line(file, "b");
    expect_line(file, "");
    expect_line(file, "c");
    expect_end(file);
}

/* Lines of x of lengths around the bound and around the buffer, each followed by a short one. */
static void bounds_long_lines(void **state)
{
    (void)state;
    static const size_t lens[] = {LOGFILE_LINE_MAX - 1, LOGFILE_LINE_MAX,
                                  LOGFILE_LINE_MAX + 1, 2 * LOGFILE_LINE_MAX - 1,
                                  2 * LOGFILE_LINE_MAX, 2 * LOGFILE_LINE_MAX + 1,
                                  4 * LOGFILE_LINE_MAX, 5 * LOGFILE_LINE_MAX + 7};
    char *text = malloc(6 * LOGFILE_LINE_MAX);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        for (int has_end = 0; has_end <= 1; has_end++) {
            struct logfile_line line;
            memset(text, 'x', lens[i]);
            memcpy(text + lens[i], "\nend\n", 5);
            write_plain(text, lens[i] + (has_end ? 5 : 0));
            struct logfile *file = open_file();
            const int is_long = lens[i] > LOGFILE_LINE_MAX;
            assert_int_equal(logfile_next(file, &line), is_long ? LOGFILE_LONG_LINE : LOGFILE_LINE);
            assert_int_equal(line.len, is_long ? LOGFILE_LINE_MAX : lens[i]);
            assert_int_equal(line.number, 1);
            if (has_end)
                expect_line(file, "end");
            expect_end(file);
        }
    }
    free(text);
}

static void reads_joined_gzip(void **state)
{
    (void)state;
    write_gzip("wb", "one\ntw");
    write_gzip("ab", "o\nthree");
    struct logfile *file = open_file();
    expect_line(file, "one");
    expect_line(file, "two");
    expect_line(file, "three");
    expect_end(file);
}

static void says_what_is_damaged(void **state)
{
    (void)state;
    char bytes[4096];
    struct logfile_line line;
    write_gzip("wb", "a line that will not be whole\n");
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    const size_t len = fread(bytes, 1, sizeof(bytes), in);
    fclose(in);
    for (size_t cut = 11; cut < len; cut++) {
        write_plain(bytes, cut);
        struct logfile *file = open_file();
        while (logfile_next(file, &line) == LOGFILE_LINE)
            ;
        assert_int_equal(logfile_next(file, &line), LOGFILE_BROKEN);
        assert_non_null(strstr(logfile_error(file), path));
        logfile_close(file);
    }
    bytes[len - 8] ^= 1; /* the checksum */
    write_plain(bytes, len);
    struct logfile *file = open_file();
    while (logfile_next(file, &line) == LOGFILE_LINE)
        ;
    assert_int_equal(logfile_next(file, &line), LOGFILE_BROKEN);
    logfile_close(file);
}

static int make_path(void **state)
{
    (void)state;
    const int descriptor = mkstemp(path);
    return descriptor < 0 ? -1 : close(descriptor);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_lines),
        cmocka_unit_test(bounds_long_lines),
        cmocka_unit_test(reads_joined_gzip),
        cmocka_unit_test(says_what_is_damaged),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
