#include "cmd/ask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/secret_key.h"
#include "config/config.h"
#include "mete/wire.h"

static const char *const status_names[METE_STATUS_COUNT] = {
    [METE_STATUS_OK] = "ok",
    [METE_STATUS_UNKNOWN_RULE] = "unknown_rule",
    [METE_STATUS_BAD_LIMIT] = "bad_limit",
    [METE_STATUS_NEED_SUBJECT] = "need_subject",
    [METE_STATUS_TABLE_FULL] = "table_full",
    [METE_STATUS_STALE] = "stale",
    [METE_STATUS_SHED] = "shed",
    [METE_STATUS_UNSUPPORTED] = "unsupported",
    [METE_STATUS_UNKNOWN_LEASE] = "unknown_lease",
    [METE_STATUS_EXPIRED_LEASE] = "expired_lease",
    [METE_STATUS_LIMITED] = "limited",
};

const char *ask_status_name(uint8_t status)
{
    return status < METE_STATUS_COUNT ? status_names[status] : "unknown_status";
}

const char *ask_format_wait(uint64_t us, char *text, size_t size)
{
    const uint64_t second = 1000000;
    if (us < 1000) {
        snprintf(text, size, "%" PRIu64 "us", us);
    } else if (us < 120 * second) {
        bool is_ms = us <= 999900;
        uint64_t tenth = is_ms ? 100 : second / 10;
        uint64_t tenths = us / tenth + (us % tenth != 0);
        int len = snprintf(text, size, "%" PRIu64, tenths / 10);
        if (tenths % 10)
            len += snprintf(text + len, size - (size_t)len, ".%" PRIu64, tenths % 10);
        snprintf(text + len, size - (size_t)len, is_ms ? "ms" : "s");
    } else {
        uint64_t s = us / second + (us % second != 0);
        if (s < 3600)
            snprintf(text, size, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
        else if (s < 86400)
            snprintf(text, size, "%" PRIu64 "h %" PRIu64 "m", s / 3600, (s % 3600 + 59) / 60);
        else
            snprintf(text, size, "%" PRIu64 "d %" PRIu64 "h", s / 86400, (s % 86400 + 3599) / 3600);
    }
    return text;
}

struct ask_server ask_server(const char *command)
{
    return (struct ask_server){
        .command = command, .server = "127.0.0.1:6383", .tenant = "default", .timeout_ms = 1000};
}

int ask_take_option(struct ask_server *server, int option)
{
    switch (option) {
    case 't':
        return cmd_number(server->command, "--timeout", optarg, 1, 4000000, &server->timeout_ms);
    case 's':
        server->server = optarg;
        return 0;
    case 'n':
        server->tenant = optarg;
        return *optarg ? 0 : cmd_fail(server->command, "--tenant: the name is empty");
    default:
        server->secret_file = optarg;
        return 0;
    }
}

int ask_open(const struct ask_server *server, struct mete_client **ret_client)
{
    struct config_secret secret = {0};
    struct mete_client_options options = {
        .server = server->server,
        .tenant = server->tenant,
        .timeout_us = (uint32_t)server->timeout_ms * 1000,
        .fallback = METE_FALLBACK_DENY,
        .jitter_percent = METE_NO_JITTER,
        .max_in_flight = 1,
    };
    if (server->secret_file) {
        int result =
            secret_key_load(server->command, "--secret-file", server->secret_file, &secret);
        if (result)
            return result;
        options.secret = secret.bytes;
        options.secret_len = secret.len;
    }
    int error = mete_client_open(&options, ret_client);
    explicit_bzero(&secret, sizeof(secret));
    if (error == -EINVAL)
        return cmd_fail(server->command,
                        "--server: '%s' is not HOST:PORT, or there is no such host",
                        server->server);
    return error ? cmd_fail(server->command, "%s: %s", server->server, strerror(-error)) : 0;
}

int ask_explain_status(const struct ask_server *server, const char *rule, uint8_t status)
{
    switch (status) {
    case METE_STATUS_UNKNOWN_RULE:
        return cmd_fail(server->command, "the server has no rule '%s' for tenant '%s'", rule,
                        server->tenant);
    case METE_STATUS_UNSUPPORTED:
        return cmd_fail(server->command,
                        "rule '%s': the server does not serve this kind of request", rule);
    case METE_STATUS_NEED_SUBJECT:
        return cmd_fail(server->command,
                        "rule '%s' must see the subject, which is too long to send", rule);
    default:
        return cmd_fail(server->command, "the server decided nothing: status %s (%u)",
                        ask_status_name(status), status);
    }
}

int ask_explain_no_answer(const struct ask_server *server, const struct mete_answer *answer)
{
    if (answer->source == METE_SOURCE_TIMEOUT)
        /* a server says nothing to a tenant it does not have and to an address it does not trust */
        cmd_fail(server->command,
                 "no answer from %s within %" PRIu64
                 " ms; is the server running, has it a tenant '%s', and %s?",
                 server->server, server->timeout_ms, server->tenant,
                 server->secret_file ? "is that its secret" : "does it trust this address");
    else if (answer->mete_errno == ECONNREFUSED)
        cmd_fail(server->command, "no answer from %s: nobody listens there; is the server running?",
                 server->server);
    else
        cmd_fail(server->command, "no answer from %s: %s", server->server,
                 strerror(answer->mete_errno));
    return EXIT_NO_ANSWER;
}
