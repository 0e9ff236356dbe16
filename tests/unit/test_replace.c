/* A file that is replaced whole, or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "sys/replace.h"

static char folder[64];

static const char *at(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(at(name), "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void holds(const char *name, const char *text)
{
    char bytes[64] = "";
    FILE *file = fopen(at(name), "r");

    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof(bytes) - 1, file), strlen(text));
    assert_string_equal(bytes, text);
    fclose(file);
}

static void is_gone(const char *name)
{
    assert_int_not_equal(access(at(name), F_OK), 0);
}

static int set_up(void **unused)
{
    (void)unused;
    snprintf(folder, sizeof(folder), "/tmp/mete-replace-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **unused)
{
    static const char *const names[] = {"file", "file.tmp", "file.old", "other"};
    (void)unused;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(at(names[i]));
    rmdir(folder);
    return 0;
}

static void old_or_new(void **unused)
{
    (void)unused;
    struct replace replace;
    struct stat status;

    put("file", "old");
    put("file.tmp", "left behind by a crash");
    assert_int_equal(replace_open(&replace, at("file")), 0);
    assert_int_equal(replace_begin(&replace), 0);
    assert_int_equal(replace_write(&replace, "new", 3), 0);
    holds("file", "old");
    replace_abort(&replace);
    holds("file", "old");
    is_gone("file.tmp");
    assert_int_equal(replace_begin(&replace), 0);
    assert_int_equal(replace_write(&replace, "new", 3), 0);
    assert_int_equal(replace_commit(&replace, false), 0);
    holds("file", "new");
    is_gone("file.tmp");
    is_gone("file.old");
    assert_int_equal(stat(at("file"), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(replace_begin(&replace), 0);
    assert_int_equal(replace_commit(&replace, true), 0);
    holds("file", "");
    holds("file.old", "new");
    replace_close(&replace);
}

static void one_writer(void **unused)
{
    (void)unused;
    struct replace first, second;

    assert_int_equal(replace_open(&first, at("file")), 0);
    assert_int_equal(replace_open(&second, at("file")), 0);
    assert_int_equal(replace_begin(&first), 0);
    assert_int_equal(replace_write(&first, "first", 5), 0);
    assert_int_equal(replace_begin(&second), -EBUSY);
    assert_int_equal(replace_commit(&first, false), 0);
    assert_int_equal(replace_begin(&second), 0);
    holds("file", "first");
    assert_int_equal(replace_begin(&first), -EBUSY);
    replace_abort(&second);
    assert_int_equal(replace_begin(&first), 0);
    replace_close(&first);
    replace_close(&second);
}

static void nothing_is_followed(void **unused)
{
    (void)unused;
    struct replace replace;
    char other[128];

    put("other", "not ours");
    snprintf(other, sizeof(other), "%s", at("other"));
    assert_int_equal(symlink(other, at("file.tmp")), 0);
    assert_int_equal(replace_open(&replace, at("file")), 0);
    assert_int_equal(replace_begin(&replace), -ELOOP);
    holds("other", "not ours");
    replace_close(&replace);
}

static void folders_come_and_go(void **unused)
{
    (void)unused;
    struct replace replace;

    assert_int_equal(replace_open(&replace, folder), -EISDIR);
    assert_int_equal(replace_open(&replace, at("")), -EISDIR);
    assert_int_equal(replace_open(&replace, at("none/file")), -ENOENT);
    assert_int_equal(replace_open(&replace, "file"), -ENAMETOOLONG);
    put("other", "");
    assert_int_equal(replace_open(&replace, at("other/file")), -ENOTDIR);
    unlink(at("other"));
    assert_int_equal(replace_open(&replace, at("file")), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(replace_begin(&replace), -ENOENT);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(replace_begin(&replace), 0);
    assert_int_equal(replace_commit(&replace, false), 0);
    holds("file", "");
    replace_close(&replace);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(old_or_new),
        TEST(one_writer),
        TEST(nothing_is_followed),
        TEST(folders_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
