#include "config/certificates.h"

#include <stdlib.h>

#include "config/config.h"
#include "config/report.h"

static const struct config_file *file_of(const struct config_tls *tls, enum config_tls_field field,
                                         const char **ret_name)
{
    switch (field) {
    case CONFIG_TLS_KEY:
        *ret_name = "tls.key";
        return &tls->key;
    case CONFIG_TLS_CLIENT_CA:
        *ret_name = "tls.client_ca";
        return &tls->client_ca;
    case CONFIG_TLS_CERTIFICATE:
        break;
    }
    *ret_name = "tls.certificate";
    return &tls->certificate;
}

static int refuse(const struct report *report, const struct config_tls *tls,
                  enum config_tls_field field, const char *problem)
{
    const char *name;
    const struct config_file *file = file_of(tls, field, &name);
    return report_at(report, file->line, "%s: %s", name, problem);
}

bool config_has_tls_door(const struct config *config)
{
    return config_door_text(&config->listen_resp_tls) ||
           config_door_text(&config->listen_http_tls) || config_door_text(&config->listen_grpc_tls);
}

static const char *find_named_client(const struct config *config, const char **ret_key)
{
    for (uint32_t i = 0; i < config->tenant_count; i++)
        for (uint32_t j = 0; j < config->tenants[i].api_key_count; j++)
            if (config->tenants[i].api_keys[j].certificate) {
                *ret_key = config->tenants[i].api_keys[j].name;
                return config->tenants[i].name;
            }
    return NULL;
}

static int judge(const struct report *report, const struct config *config)
{
    const struct config_tls *tls = &config->tls;
    const char *key = "";
    const char *tenant = find_named_client(config, &key);
    if (config_has_tls_door(config) && !tls->certificate.path)
        return report_at(
            report, 0, "%s: speaks TLS and needs tls.certificate and tls.key, two files as PEM",
            config_door_text(&config->listen_http_tls) ? "listen.http_tls" : "listen.resp_tls");
    if (tls->certificate.path && !tls->key.path)
        return refuse(report, tls, CONFIG_TLS_KEY, "is missing; tls.certificate needs its key");
    if (tls->key.path && !tls->certificate.path)
        return refuse(report, tls, CONFIG_TLS_CERTIFICATE,
                      "is missing; tls.key needs its certificate");
    if (tls->clients == CLIENTS_REQUIRED && !tls->client_ca.path)
        return refuse(report, tls, CONFIG_TLS_CLIENT_CA,
                      "is missing; tls.clients: required needs to know whom to believe");
    if (tenant && !tls->client_ca.path)
        return report_at(report, 0,
                         "tls.client_ca: is missing, so that nobody can show the certificate of "
                         "api_keys '%s' of tenant '%s'",
                         key, tenant);
    return 0;
}

int certificates_settle(const struct report *report, const struct config_options *options,
                        struct config *config)
{
    struct config_tls *tls = &config->tls;
    enum config_tls_field field = CONFIG_TLS_CERTIFICATE;
    char problem[400];
    const int result = judge(report, config);
    tls->hooks = options->tls;
    if (result || !tls->hooks || !tls->certificate.path)
        return result;
    if (tls->hooks->create(tls, &field, problem, sizeof(problem), &tls->context))
        return refuse(report, tls, field, problem);
    return 0;
}

void certificates_release(struct config *config)
{
    struct config_tls *tls = &config->tls;
    if (tls->context)
        tls->hooks->destroy(tls->context);
    free(tls->certificate.path);
    free(tls->key.path);
    free(tls->client_ca.path);
}
