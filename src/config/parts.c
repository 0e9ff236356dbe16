#include "config/parts.h"

#include <stddef.h>
#include <string.h>

#include "config/config.h"
#include "config/report.h"
#include "sys/built.h"

int parts_judge(const struct report *report, const struct config *config)
{
    const char *url = config->redis.url;
    const struct {
        const char *field;
        bool is_asked;
        enum built_part part;
    } wishes[] = {
        {"listen.grpc", config_door_text(&config->listen_grpc), BUILT_GRPC},
        {"listen.grpc_tls", config_door_text(&config->listen_grpc_tls), BUILT_GRPC},
        {"listen.grpc_tls", config_door_text(&config->listen_grpc_tls), BUILT_OPENSSL},
        {"listen.http_tls", config_door_text(&config->listen_http_tls), BUILT_OPENSSL},
        {"listen.resp_tls", config_door_text(&config->listen_resp_tls), BUILT_OPENSSL},
        {"tls.certificate", config->tls.certificate.path, BUILT_OPENSSL},
        {"redis.url", url, BUILT_HIREDIS},
        {"redis.url", url && strncmp(url, "rediss:", 7) == 0, BUILT_OPENSSL},
        {"backend", config->backend == BACKEND_IO_URING, BUILT_LIBURING},
        {"backend", config->backend == BACKEND_AF_XDP, BUILT_LIBXDP},
    };
    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++)
        if (wishes[i].is_asked && !built_has(wishes[i].part))
            return report_at(report, 0,
                             "%s: asks for %s, and this build is without; leave it out, or take a "
                             "build whose `mete version` lists %s",
                             wishes[i].field, built_gives(wishes[i].part),
                             built_name(wishes[i].part));
    return 0;
}
