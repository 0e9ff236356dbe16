/* The RESP parser: whole commands, every cut of them, and what is refused as soon as it shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "doors/resp_parse.h"

static enum resp_parse_result parse(const char *bytes, size_t len, struct resp_command *command,
                                    size_t *used)
{
    uint8_t *copy = malloc(len + !len); /* so that a sanitizer sees a byte beyond */
    memcpy(copy, bytes, len);
    *used = 0;
    enum resp_parse_result result = resp_parse(copy, len, command, used);
    if (result == RESP_WHOLE)
        for (unsigned i = 0; i < command->count; i++) {
            const size_t at = (size_t)(command->words[i].bytes - copy);
            assert_true(at <= len && command->words[i].len <= len - at);
            command->words[i].bytes = (const uint8_t *)bytes + at;
        }
    free(copy);
    return result;
}

static void whole_commands(void **state)
{
    static const struct {
        const char *bytes;
        unsigned count;
        const char *words[3];
    } cases[] = {
        {"*1\r\n$4\r\nPING\r\n", 1, {"PING"}},
        {"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", 2, {"ECHO", ""}},
        {"*2\r\n$4\r\nECHO\r\n$4\r\na\r\nb\r\n", 2, {"ECHO", "a\r\nb"}},
        {"*0\r\n", 0, {NULL}},
        {"\r\n", 0, {NULL}},
        {"   \n", 0, {NULL}},
        {"PING\n", 1, {"PING"}},
        {"ECHO  'a b'\t\"c d\"\r\n", 3, {"ECHO", "a b", "c d"}},
        {"ECHO a\"b\r\n", 2, {"ECHO", "a\"b"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const size_t len = strlen(cases[i].bytes);
        struct resp_command command;
        size_t used;
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(parse(cases[i].bytes, cut, &command, &used), RESP_HALF);
        assert_int_equal(parse(cases[i].bytes, len, &command, &used), RESP_WHOLE);
        assert_int_equal(used, len);
        assert_int_equal(command.count, cases[i].count);
        for (unsigned w = 0; w < command.count; w++) {
            assert_int_equal(command.words[w].len, strlen(cases[i].words[w]));
            assert_memory_equal(command.words[w].bytes, cases[i].words[w], command.words[w].len);
        }
    }
}

static const char many_words[] =
    "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 "
    "5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5\n";

static void what_is_refused_at_once(void **state)
{
    static const char *const cases[] = {
        "*65",      "*1\r\n$4097",     "*1\r\n*",  "*1\r\n:", "*-",
        "*1\r\n$-", "*\r\n",           "*1\rx",    "*x",      "*00000000000000000000",
        "a 'b\n",   "*1\r\n$1\r\nabc", many_words,
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct resp_command command;
        size_t used;
        if (parse(cases[i], strlen(cases[i]), &command, &used) != RESP_BROKEN)
            fail_msg("case %zu was not refused", i);
        assert_non_null(strstr(command.error, "Protocol error: "));
    }
}

static void what_is_too_long_in_all(void **state)
{
    static char bytes[RESP_MAX_COMMAND + 100];
    struct resp_command command;
    size_t used;
    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    assert_int_equal(parse(bytes, RESP_MAX_COMMAND - 1, &command, &used), RESP_HALF);
    assert_int_equal(parse(bytes, RESP_MAX_COMMAND, &command, &used), RESP_BROKEN);
    size_t len = (size_t)snprintf(bytes, sizeof(bytes), "*5\r\n");
    for (int i = 0; i < 3; i++) {
        len += (size_t)snprintf(bytes + len, 16, "$4096\r\n");
        memset(bytes + len, 'y', 4096);
        memcpy(bytes + len + 4096, "\r\n", 2);
        len += 4098;
    }
    assert_int_equal(parse(bytes, len, &command, &used), RESP_HALF);
    assert_int_equal(parse(bytes, sizeof(bytes), &command, &used), RESP_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_commands),
        cmocka_unit_test(what_is_refused_at_once),
        cmocka_unit_test(what_is_too_long_in_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
