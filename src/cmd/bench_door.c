#include "cmd/bench_door.h"

#include <string.h>

static const struct bench_door *const doors[] = {&bench_door_resp, &bench_door_http,
                                                 &bench_door_grpc};

const struct bench_door *bench_door_find(const char *name)
{
    for (size_t i = 0; i < sizeof(doors) / sizeof(doors[0]); i++)
        if (strcmp(doors[i]->name, name) == 0)
            return doors[i];
    return NULL;
}

static bool put(struct door_request *request, const void *bytes, size_t len)
{
    if (len > sizeof(request->bytes) - request->len)
        return false;
    memcpy(request->bytes + request->len, bytes, len);
    request->len += len;
    return true;
}

bool bench_door_put(struct door_request *request, const char *text)
{
    static const char subject[DOOR_SUBJECT_BYTES + 1] = "----------------";
    const char *place = request->subject_at ? NULL : strstr(text, "{}");
    if (!place)
        return put(request, text, strlen(text));
    if (!put(request, text, (size_t)(place - text)))
        return false;
    request->subject_at = request->len;
    return put(request, subject, DOOR_SUBJECT_BYTES) && put(request, place + 2, strlen(place + 2));
}
