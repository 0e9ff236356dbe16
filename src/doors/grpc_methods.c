#include "doors/grpc_methods.h"

#include <string.h>

static const struct grpc_method *const TABLES[] = {grpc_envoy_methods, grpc_limiter_methods,
                                                   grpc_health_methods, grpc_reflect_methods};
#define TABLE_COUNT (sizeof(TABLES) / sizeof(TABLES[0]))

const struct grpc_method *grpc_methods_find(struct grpc_text path)
{
    for (size_t i = 0; i < TABLE_COUNT; i++)
        for (const struct grpc_method *method = TABLES[i]; method->path; method++)
            if (strlen(method->path) == path.len && memcmp(method->path, path.at, path.len) == 0)
                return method;
    return NULL;
}

const char *grpc_methods_service(unsigned position)
{
    static const char *const services[] = {
        "envoy.service.ratelimit.v3.RateLimitService",
        "mete.v1.Limiter",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    };
    return position < sizeof(services) / sizeof(services[0]) ? services[position] : NULL;
}

struct check *grpc_add_check(struct grpc_batch *batch, struct grpc_job *job)
{
    if (job->check_count == GRPC_JOB_CHECKS)
        return NULL;
    job->check_count++;
    return &batch->checks[batch->check_count++];
}

static const struct tenant *find_tenant(const struct config *config, struct grpc_text name)
{
    const struct tenant *tenant = config_find_tenant(config, key_name_id(name.at, name.len));
    char text[CONFIG_MAX_NAME + 1];
    if (tenant && strlen(tenant->name) == name.len && memcmp(tenant->name, name.at, name.len) == 0)
        return tenant;
    if (name.len > CONFIG_MAX_NAME || memchr(name.at, '\0', name.len))
        return NULL;
    memcpy(text, name.at, name.len); /* one with an id of its own */
    text[name.len] = '\0';
    return config_find_tenant_by_name(config, text);
}

static bool is_trusted(const struct loop_call *loop)
{
    return loop->is_local || (loop->peer->ss_family != AF_UNIX &&
                              config_is_trusted(loop->config, (const struct sockaddr *)loop->peer));
}

/* Does the call name the tenant that its credentials are of, or none? */
static const struct tenant *judge_name(struct grpc_call *call, const struct tenant *tenant,
                                       struct grpc_text name)
{
    if (name.len == 0 ||
        (strlen(tenant->name) == name.len && memcmp(tenant->name, name.at, name.len) == 0))
        return tenant;
    grpc_call_refuse(call, GRPC_PERMISSION_DENIED,
                     call->has_key ? "this API key is another tenant's"
                                   : "this client certificate is another tenant's");
    return NULL;
}

static const struct tenant *identify_by_key(struct grpc_batch *batch, struct grpc_call *call,
                                            struct grpc_text name, struct login *login)
{
    if (!login_find(batch->loop->config, call->key_hash, login)) {
        grpc_call_refuse(call, GRPC_UNAUTHENTICATED, "this API key is not known");
        return NULL;
    }
    return judge_name(call, login->tenant, name);
}

static const struct tenant *identify_by_certificate(struct grpc_batch *batch,
                                                    struct grpc_call *call, struct grpc_text name,
                                                    struct login *login)
{
    if (login_find_without_key(batch->loop, login))
        return judge_name(call, login->tenant, name);
    grpc_call_refuse(call, GRPC_UNAUTHENTICATED, "this client certificate is not known");
    return NULL;
}

const struct tenant *grpc_identify(struct grpc_batch *batch, struct grpc_job *job,
                                   struct grpc_text name, struct login *ret_login)
{
    static const struct grpc_text fallback = {"default", 7};
    struct grpc_call *call = job->call;
    *ret_login = (struct login){.tenant = NULL};
    if (call->has_key)
        return identify_by_key(batch, call, name, ret_login);
    if (batch->loop->certificate)
        return identify_by_certificate(batch, call, name, ret_login);
    if (!is_trusted(batch->loop)) {
        grpc_call_refuse(call, GRPC_UNAUTHENTICATED,
                         "an API key is needed: authorization: Bearer KEY, or x-api-key: KEY");
        return NULL;
    }
    const struct tenant *tenant = find_tenant(batch->loop->config, name.len ? name : fallback);
    if (tenant && tenant->api_key_count) {
        grpc_call_refuse(call, GRPC_UNAUTHENTICATED, "this tenant has API keys: show one");
        return NULL;
    }
    *ret_login = (struct login){.tenant = tenant, .may_check = true, .may_manage = true};
    return tenant;
}

bool grpc_take_quota(struct grpc_batch *batch, struct grpc_job *job)
{
    const struct tenant *tenant = job->tenant;
    if (!quota_is_set(&tenant->checks) || job->check_count == 0 ||
        quota_take(batch->loop->quota, tenant->inline_index, &tenant->checks, job->check_count,
                   batch->loop->now->now_ns))
        return true;
    grpc_call_refuse(job->call, GRPC_RESOURCE_EXHAUSTED,
                     "the tenant asks for more checks than it may");
    return false;
}
