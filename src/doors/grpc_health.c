/* grpc.health.v1.Health. The door is opened when the workers serve, so to be there is to be well;
 * a service is known if it is listed. Watch says so once, and ends when the server stops. */
#include <grpc/health/v1/health.pb-c.h>
#include <string.h>

#include "doors/grpc_methods.h"

#define SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

static bool is_service(ProtobufCBinaryData name)
{
    const char *service;
    for (unsigned i = 0; (service = grpc_methods_service(i)); i++)
        if (strlen(service) == name.len && memcmp(service, name.data, name.len) == 0)
            return true;
    return name.len == 0;
}

static void prepare(struct grpc_batch *batch, struct grpc_job *job, const struct grpc_buffer *in)
{
    job->message = grpc_arena_decode(
        &batch->arena, &grpc__health__v1__health_check_request__descriptor, in->bytes, in->len);
    const Grpc__Health__V1__HealthCheckRequest *request = job->message;
    if (!request)
        grpc_call_refuse(job->call, GRPC_INTERNAL, "the message is no HealthCheckRequest");
    else if (!job->method->stays && !is_service(request->service))
        grpc_call_refuse(job->call, GRPC_NOT_FOUND, "there is no such service");
}

static void finish(struct grpc_batch *batch, struct grpc_job *job)
{
    const Grpc__Health__V1__HealthCheckRequest *request = job->message;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    (void)batch;
    response.status = is_service(request->service) ? SERVING : UNKNOWN;
    uint8_t *out = grpc_call_put(
        job->call, (uint32_t)grpc__health__v1__health_check_response__get_packed_size(&response));
    if (out)
        grpc__health__v1__health_check_response__pack(&response, out);
}

const struct grpc_method grpc_health_methods[] = {
    {"/grpc.health.v1.Health/Check", false, false, prepare, finish},
    {"/grpc.health.v1.Health/Watch", false, true, prepare, finish},
    {.path = NULL},
};
