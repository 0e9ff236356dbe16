/* grpc.reflection: which services there are, and the descriptors of their files, which protoc made
 * when the program was built. v1alpha is v1 under another name. */
#include <grpc/reflection/v1/reflection.pb-c.h>
#include <string.h>

#include "doors/grpc_methods.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest request_t;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_t;

#define MAX_FILES 32u
#define MAX_SERVICES 16u

static const uint8_t DESCRIPTORS[] = {
#include <descriptors.inc>
};

struct bytes {
    const uint8_t *at;
    size_t len;
};

/* ---- the few fields of descriptor.proto that are looked at ---- */

enum { SET_FILE = 1, FILE_NAME = 1, FILE_PACKAGE = 2, FILE_DEPENDENCY = 3, TYPE_NAME = 1 };
enum { FILE_MESSAGE = 4, FILE_ENUM = 5, FILE_SERVICE = 6 };

static bool read_number(struct bytes *from, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (unsigned shift = 0; from->len && shift < 64; shift += 7) {
        const uint8_t byte = *from->at++;
        from->len--;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_number = number;
            return true;
        }
    }
    return false;
}

/* The next field that has a length; those with a number are passed by. False: there is none. */
static bool next_field(struct bytes *from, unsigned *ret_number, struct bytes *ret_value)
{
    uint64_t tag, len;
    while (read_number(from, &tag) && read_number(from, &len)) {
        if ((tag & 7) != 2)
            continue; /* a number: read_number() took its value */
        if (len > from->len)
            return false;
        *ret_number = (unsigned)(tag >> 3);
        *ret_value = (struct bytes){from->at, (size_t)len};
        from->at += len;
        from->len -= (size_t)len;
        return true;
    }
    return false;
}

static struct bytes field_of(struct bytes from, unsigned wanted)
{
    struct bytes value;
    unsigned number;
    while (next_field(&from, &number, &value))
        if (number == wanted)
            return value;
    return (struct bytes){(const uint8_t *)"", 0};
}

static bool is_same(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* Does the file hold this name, or one that it is inside of: "package.Type", "package.Type.field"?
 */
static bool has_symbol(struct bytes file, struct bytes symbol)
{
    const struct bytes package = field_of(file, FILE_PACKAGE);
    struct bytes value;
    unsigned number;
    if (symbol.len <= package.len + 1 || memcmp(symbol.at, package.at, package.len) != 0 ||
        symbol.at[package.len] != '.')
        return false;
    const struct bytes rest = {symbol.at + package.len + 1, symbol.len - package.len - 1};
    while (next_field(&file, &number, &value)) {
        const struct bytes name = field_of(value, TYPE_NAME);
        if ((number == FILE_MESSAGE || number == FILE_ENUM || number == FILE_SERVICE) &&
            rest.len >= name.len && memcmp(rest.at, name.at, name.len) == 0 &&
            (rest.len == name.len || rest.at[name.len] == '.'))
            return true;
    }
    return false;
}

static struct bytes find_file(struct bytes wanted, bool is_symbol)
{
    struct bytes set = {DESCRIPTORS, sizeof(DESCRIPTORS)}, file;
    unsigned number;
    while (next_field(&set, &number, &file))
        if (is_symbol ? has_symbol(file, wanted) : is_same(field_of(file, FILE_NAME), wanted))
            return file;
    return (struct bytes){NULL, 0};
}

/* ---- answers ---- */

/* The file and all that it needs, each once. */
static size_t collect(struct bytes first, ProtobufCBinaryData files[MAX_FILES])
{
    size_t count = 0;
    files[count++] = (ProtobufCBinaryData){first.len, (uint8_t *)(uintptr_t)first.at};
    for (size_t i = 0; i < count; i++) {
        struct bytes file = {files[i].data, files[i].len}, value;
        unsigned number;
        while (next_field(&file, &number, &value)) {
            const struct bytes needed =
                number == FILE_DEPENDENCY ? find_file(value, false) : (struct bytes){NULL, 0};
            size_t at = 0;
            while (at < count && files[at].data != needed.at)
                at++;
            if (needed.at && at == count && count < MAX_FILES)
                files[count++] = (ProtobufCBinaryData){needed.len, (uint8_t *)(uintptr_t)needed.at};
        }
    }
    return count;
}

static ProtobufCBinaryData text(const char *string)
{
    return (ProtobufCBinaryData){.len = strlen(string), .data = (uint8_t *)(uintptr_t)string};
}

static void put(struct grpc_call *call, const response_t *response)
{
    const size_t len = grpc__reflection__v1__server_reflection_response__get_packed_size(response);
    uint8_t *out = grpc_call_put(call, (uint32_t)len);
    if (out)
        grpc__reflection__v1__server_reflection_response__pack(response, out);
    else
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED, "too many answers are not read");
}

static void put_error(struct grpc_call *call, response_t *response, int32_t code, const char *why)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = code;
    error.error_message = text(why);
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response->error_response = &error;
    /* NOLINTNEXTLINE(clang-analyzer-core.StackAddressEscape): put() has packed it */
    put(call, response);
}

static void put_file(struct grpc_call *call, response_t *response, ProtobufCBinaryData wanted,
                     bool is_symbol)
{
    Grpc__Reflection__V1__FileDescriptorResponse found =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    ProtobufCBinaryData files[MAX_FILES];
    const struct bytes file = find_file((struct bytes){wanted.data, wanted.len}, is_symbol);
    if (!file.at) {
        put_error(call, response, GRPC_NOT_FOUND, "there is no such file or symbol");
        return;
    }
    found.n_file_descriptor_proto = collect(file, files);
    found.file_descriptor_proto = files;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    response->file_descriptor_response = &found;
    /* NOLINTNEXTLINE(clang-analyzer-core.StackAddressEscape): put() has packed it */
    put(call, response);
}

static void put_services(struct grpc_call *call, response_t *response)
{
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse items[MAX_SERVICES], *pointers[MAX_SERVICES];
    const char *name;
    while (list.n_service < MAX_SERVICES &&
           (name = grpc_methods_service((unsigned)list.n_service))) {
        Grpc__Reflection__V1__ServiceResponse *item = &items[list.n_service];
        grpc__reflection__v1__service_response__init(item);
        item->name = text(name);
        pointers[list.n_service++] = item;
    }
    list.service = pointers;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response->list_services_response = &list;
    /* NOLINTNEXTLINE(clang-analyzer-core.StackAddressEscape): put() has packed it */
    put(call, response);
}

static void prepare(struct grpc_batch *batch, struct grpc_job *job, const struct grpc_buffer *in)
{
    job->message = grpc_arena_decode(&batch->arena,
                                     &grpc__reflection__v1__server_reflection_request__descriptor,
                                     in->bytes, in->len);
    if (!job->message)
        grpc_call_refuse(job->call, GRPC_INTERNAL, "the message is no ServerReflectionRequest");
}

static void finish(struct grpc_batch *batch, struct grpc_job *job)
{
    request_t *request = job->message;
    response_t response;
    (void)batch;
    grpc__reflection__v1__server_reflection_response__init(&response);
    response.valid_host = request->host;
    response.original_request = request;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        put_file(job->call, &response, request->file_by_filename, false);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        put_file(job->call, &response, request->file_containing_symbol, true);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        put_services(job->call, &response);
        break;
    default:
        put_error(job->call, &response, GRPC_NOT_FOUND, "there are no extensions");
    }
}

const struct grpc_method grpc_reflect_methods[] = {
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true, false, prepare, finish},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", true, false, prepare,
     finish},
    {.path = NULL},
};
