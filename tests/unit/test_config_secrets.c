/* Secrets, key file, API keys and repeats of a configuration: what the files hold, who may read
 * them, where relative paths start, and that the bytes lie in memory of their own kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/config.h"
#include "sys/memory.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define PATH_SIZE 128

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static const char *write_bytes(const char *name, const void *bytes, size_t len, mode_t mode)
{
    const char *path = path_of(name);
    unlink(path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static const char *write_text(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text), 0600);
}

/* A configuration from a file in the folder; NULL after a mistake, whose line is in error. */
static struct config *load(const char *text, char error[512])
{
    const struct config_options options = {.path = write_text("mete.yaml", text)};
    error[0] = 0;
    return config_load(&options, error, 512);
}

static struct config *must_load(const char *text)
{
    char error[512];
    struct config *config = load(text, error);
    if (!config)
        fail_msg("%s", error);
    return config;
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/mete-config-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[PATH_SIZE];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static const char HEX[] = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

static void test_what_a_file_holds(void **state)
{
    (void)state;
    uint8_t bytes[CONFIG_KEY_BYTES];
    char long_text[CONFIG_MAX_SECRET_BYTES + 3], newline[sizeof(HEX) + 1];
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    memset(long_text, 'z', sizeof(long_text));
    snprintf(newline, sizeof(newline), "%s\n", HEX);
    const struct {
        const char *text;
        size_t len;
        const void *secret; /* NULL: refused */
        size_t secret_len;
        const char *problem;
    } cases[] = {
        {HEX, 64, bytes, 32, ""},
        {newline, 65, bytes, 32, ""},
        {HEX, 63, HEX, 63, ""},
        {HEX, 62, HEX, 62, ""},
        {"x", 1, "x", 1, ""},
        {"x\n", 2, "x", 1, ""},
        {"x\n\n", 3, "x\n", 2, ""},
        {"x\r\n", 3, "x\r", 2, ""},
        {"\0\xff", 2, "\0\xff", 2, ""},
        {long_text, 64, long_text, 64, ""},
        {"", 0, NULL, 0, "is empty; a secret has 1 to 64 bytes, `mete secret new` makes one"},
        {"\n", 1, NULL, 0, "is empty; a secret has 1 to 64 bytes, `mete secret new` makes one"},
        {long_text, 65, NULL, 0,
         "is too long; a secret has 1 to 64 bytes, `mete secret new` makes one"},
        {long_text, 66, NULL, 0,
         "is too long; a secret has 1 to 64 bytes, `mete secret new` makes one"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct config_secret secret = {.len = 99};
        char problem[256] = "";
        const char *path = write_bytes("secret", cases[i].text, cases[i].len, 0600);
        const int result = config_read_secret(path, &secret, problem, sizeof(problem));
        assert_string_equal(problem, cases[i].problem);
        assert_int_equal(result, cases[i].secret ? 0 : -EINVAL);
        assert_int_equal(secret.len, cases[i].secret ? cases[i].secret_len : 99);
        if (cases[i].secret)
            assert_memory_equal(secret.bytes, cases[i].secret, cases[i].secret_len);
    }
}

static void test_who_may_read(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        const char *problem;
    } cases[] = {
        {0600, ""},
        {0400, ""},
        {0700, ""},
        {0640, "may be used by others than its owner (mode 0640); chmod 600 it"},
        {0604, "may be used by others than its owner (mode 0604); chmod 600 it"},
        {0620, "may be used by others than its owner (mode 0620); chmod 600 it"},
        {0777, "may be used by others than its owner (mode 0777); chmod 600 it"},
    };
    struct config_secret secret;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char problem[256] = "";
        const char *path = write_bytes("secret", "x", 1, cases[i].mode);
        const int result = config_read_secret(path, &secret, problem, sizeof(problem));
        assert_string_equal(problem, cases[i].problem);
        assert_int_equal(result, *problem ? -EINVAL : 0);
    }
    char problem[256];
    assert_int_equal(config_read_secret(folder, &secret, problem, sizeof(problem)), -EINVAL);
    assert_string_equal(problem, "is not a regular file");
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    assert_int_equal(config_read_secret(path_of("fifo"), &secret, problem, sizeof(problem)),
                     -EINVAL);
    assert_string_equal(problem, "is not a regular file");
    assert_int_equal(config_read_secret(path_of("missing"), &secret, problem, sizeof(problem)),
                     -EINVAL);
    assert_string_equal(problem, "cannot be read: No such file or directory");
}

/* Is the page at this address of a kind: "lo" locked, "dd" not in dumps (proc(5))? */
static bool has_flag(const void *address, const char *flag)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    bool here = false, found = false;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        uint64_t from, to;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
            here = from <= (uintptr_t)address && (uintptr_t)address < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line + 8, flag) != NULL;
    }
    fclose(file);
    return found;
}

/* The sanitizers' mlock() says yes and does nothing. */
static bool mlock_pretends(void)
{
    static char page[8192] __attribute__((aligned(4096)));
    const bool pretends = mlock(page, 4096) == 0 && !has_flag(page, " lo");
    munlock(page, 4096);
    return pretends;
}

static const char TENANTS[] = "tenants:\n"
                              "  - {name: default, secret_files: [new, old]}\n"
                              "  - {name: acme, secret_files: acme}\n"
                              "  - name: open\n";

static void write_secrets(void)
{
    write_text("new", "new secret\n");
    write_text("old", HEX);
    write_text("acme", "acme's");
}

static void test_secrets_of_tenants(void **state)
{
    if (getenv("METE_EMULATED"))
        skip(); /* an emulator passes neither madvise() nor socket filters on */
    (void)state;
    write_secrets();
    struct config *config = must_load(TENANTS);
    const struct tenant *tenant = config_find_tenant_by_name(config, "default");
    const struct tenant *acme = config_find_tenant_by_name(config, "acme");
    assert_int_equal(tenant->secret_count, 2);
    assert_int_equal(tenant->secrets[0].len, 10);
    assert_memory_equal(tenant->secrets[0].bytes, "new secret", 10);
    assert_int_equal(tenant->secrets[1].len, 32);
    assert_int_equal(tenant->secrets[1].bytes[31], 31);
    assert_string_equal(tenant->secret_files[1], path_of("old"));
    assert_int_equal(acme->secret_count, 1);
    assert_memory_equal(acme->secrets[0].bytes, "acme's", 6);
    assert_int_equal(config_find_tenant_by_name(config, "open")->secret_count, 0);
    assert_null(config_find_tenant_by_name(config, "open")->secrets);
    for (unsigned i = 0; i < 2; i++)
        assert_true(has_flag(&tenant->secrets[i], " dd"));
    assert_true(mlock_pretends() || has_flag(acme->secrets, " lo") != config->secrets_are_unlocked);
    assert_false(has_flag(config, " dd"));
    assert_null(config->reader);
    config_destroy(config);
}

/* The seeds of proto-spec/vectors/derive.txt. */
static void test_key_file(void **state)
{
    (void)state;
    uint8_t key[CONFIG_KEY_BYTES];
    char hex[2 * CONFIG_KEY_BYTES + 2];
    for (unsigned i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t)(0x64 + i);
        snprintf(hex + 2 * i, 3, "%02x", key[i]);
    }
    static const char text[] = "key_file: key\ntenants: [{name: default}, {name: acme}]\n";
    for (unsigned i = 0; i < 3; i++) {
        if (i == 0)
            write_bytes("key", key, sizeof(key), 0400);
        else
            write_bytes("key", hex, strlen(hex), 0600);
        struct config *config = must_load(text);
        assert_true(*config_find_tenant_by_name(config, "default")->seed == 15435232327376907896u);
        assert_true(*config_find_tenant_by_name(config, "acme")->seed == 2218528863275091144u);
        assert_string_equal(config->key_file, path_of("key"));
        config_destroy(config);
        memcpy(hex + 2 * CONFIG_KEY_BYTES, "\n", 2);
    }
    static const char *const bad[] = {
        "", "x", "0123456789012345678901234567890123",
        "6465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f8081828"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char error[512], expected[512];
        write_text("key", bad[i]);
        assert_null(load(text, error));
        snprintf(expected, sizeof(expected),
                 "%s/mete.yaml:1: key_file: %s/key holds neither 32 bytes nor 64 hex digits; `mete "
                 "secret new FILE` makes a file that does",
                 folder, folder);
        assert_string_equal(error, expected);
    }
}

static void test_relative_paths(void **state)
{
    (void)state;
    char error[512] = "", before[PATH_MAX], set[PATH_SIZE];
    write_secrets();
    write_text("key", HEX);
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(mkdir(path_of("inner"), 0700), 0);
    write_text("inner/mete.yaml", "key_file: ../key\ntenants: [{name: a, secret_files: ../new}]\n");
    assert_int_equal(chdir(folder), 0);
    struct config_options options = {.path = "inner/mete.yaml"};
    struct config *config = config_load(&options, error, sizeof(error));
    assert_string_equal(error, "");
    assert_string_equal(config->tenants[0].secret_files[0], path_of("inner/../new"));
    config_destroy(config);
    /* What a command line says starts where the command runs. */
    snprintf(set, sizeof(set), "key_file=%s", "old");
    const char *const sets[] = {set};
    options.sets = sets;
    options.set_count = 1;
    config = config_load(&options, error, sizeof(error));
    assert_string_equal(error, "");
    assert_string_equal(config->key_file, path_of("old"));
    config_destroy(config);
    assert_int_equal(chdir(before), 0);
}

/* A mistake in the second secret: nothing leaks, nothing of the first is said. */
static void test_no_secret_in_messages(void **state)
{
    (void)state;
    char error[512];
    write_secrets();
    write_bytes("old", "acme's\n", 7, 0600);
    assert_null(load(TENANTS, error));
    assert_null(strstr(error, "acme's"));
    assert_non_null(strstr(error, "tenants[1].secret_files: is the same secret as one of tenant "
                                  "'default' (line 2); each has its own"));
    write_text("old", "new secret");
    assert_null(load(TENANTS, error));
    assert_null(strstr(error, "new secret"));
    assert_non_null(strstr(error, ":2: tenants[0].secret_files[1]: is the same secret"));
    write_text("old", "");
    assert_null(load(TENANTS, error));
    assert_non_null(strstr(error, "mete.yaml:2: tenants[0].secret_files[1]: "));
    assert_non_null(strstr(error, "/old is empty"));
}

static int load_without_locking(void)
{
    const struct rlimit none = {0, 0};
    char error[512];
    if (setrlimit(RLIMIT_MEMLOCK, &none))
        return 2;
    if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
        return 3;
    const struct config_options options = {.path = path_of("mete.yaml")};
    struct config *config = config_load(&options, error, sizeof(error));
    if (!config)
        return 4;
    const int result = config->secrets_are_unlocked && config->secrets[0].len == 10 ? 0 : 5;
    config_destroy(config);
    return result;
}

static void test_memory_that_cannot_be_locked(void **state)
{
    (void)state;
    int status;
    if (mlock_pretends())
        skip();
    write_secrets();
    write_text("mete.yaml", TENANTS);
    if (geteuid() == 0) {
        static const char *const names[] = {"", "mete.yaml", "new", "old", "acme"};
        for (size_t i = 0; i < COUNT_OF(names); i++)
            assert_int_equal(chown(path_of(names[i]), 65534, 65534), 0);
    }
    const pid_t child = fork();
    if (child == 0)
        _exit(load_without_locking());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_secret_memory(void **state)
{
    if (getenv("METE_EMULATED"))
        skip(); /* an emulator passes neither madvise() nor socket filters on */
    (void)state;
    bool is_locked;
    void *memory = NULL;
    assert_int_equal(memory_secret_reserve(0, &is_locked, &memory), -EINVAL);
    assert_null(memory);
    assert_int_equal(memory_secret_reserve(10000, &is_locked, &memory), 0);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(((char *)memory)[i], 0);
    assert_true(has_flag(memory, " dd"));
    assert_true(mlock_pretends() || has_flag((char *)memory + 9999, " lo") == is_locked);
    memory_secret_release(memory, 10000);
    memory_secret_release(NULL, 10000);
}

static void test_file_hash(void **state)
{
    (void)state;
    struct config *config = must_load("tenants: [{name: a}]\n");
    /* b2sum -l 256 */
    assert_string_equal(config->file_hash,
                        "4ce4a193f5fc763ab9c4d457913c86cab5b7f294f11cb27793722f6602e889b5");
    struct config *other = must_load("tenants: [{name: a}] \n");
    assert_string_not_equal(config->file_hash, other->file_hash);
    config_destroy(other);
    config_destroy(config);
}

static void test_other_fields(void **state)
{
    (void)state;
    struct config *config = must_load("tenants: [{name: a}]\n");
    assert_true(config->repeat_window_ns == 200000000 && config->repeat_ahead_ns == 20000000);
    assert_int_equal(config->repeat_bytes, 8 << 20);
    assert_int_equal(config->reload, RELOAD_SIGNAL);
    assert_null(config->listen_unix);
    assert_null(config->key_file);
    assert_int_equal(config->tenants[0].checks.algorithm, ALGORITHM_UNLIMITED);
    config_destroy(config);
    config = must_load("repeats: {window: 0, ahead: 1s, memory: 65536}\nreload: watch\n"
                       "listen: {unix: /run/x.sock, admin: none}\n"
                       "tenants:\n- name: a\n  checks: {rate: 1000/s, burst: 5000}\n  api_keys:\n"
                       "  - {name: ci, may: check, sha256: "
                       "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F}\n"
                       "  - {name: ops, may: [manage, check], sha256: "
                       "ff0102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F}\n");
    assert_true(config->repeat_window_ns == 0 && config->repeat_ahead_ns == 1000000000);
    assert_int_equal(config->repeat_bytes, 65536);
    assert_int_equal(config->reload, RELOAD_WATCH);
    assert_string_equal(config->listen_unix, "/run/x.sock");
    const struct tenant *tenant = &config->tenants[0];
    assert_int_equal(tenant->checks.algorithm, ALGORITHM_TOKEN_BUCKET);
    assert_int_equal(tenant->checks.burst, 5000);
    assert_int_equal(tenant->checks.interval, 16000000);
    assert_int_equal(tenant->api_key_count, 2);
    assert_string_equal(tenant->api_keys[0].name, "ci");
    assert_true(tenant->api_keys[0].may_check && !tenant->api_keys[0].may_manage);
    assert_true(tenant->api_keys[1].may_check && tenant->api_keys[1].may_manage);
    assert_int_equal(tenant->api_keys[0].sha256[31], 0x1f);
    assert_int_equal(tenant->api_keys[1].sha256[0], 0xff);
    config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_file_holds),
        cmocka_unit_test(test_who_may_read),
        cmocka_unit_test(test_secrets_of_tenants),
        cmocka_unit_test(test_key_file),
        cmocka_unit_test(test_relative_paths),
        cmocka_unit_test(test_no_secret_in_messages),
        cmocka_unit_test(test_memory_that_cannot_be_locked),
        cmocka_unit_test(test_secret_memory),
        cmocka_unit_test(test_file_hash),
        cmocka_unit_test(test_other_fields),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
