/* Any bytes as a line of an access log. The first byte chooses the fields that are asked for. A
 * good line has a subject of 1 to LOGLINE_MAX bytes and an instant before 2261, and parses the same
 * again; of the common log format the subject is a part of the line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/logline.h"
#include "cmd/printable.h"

#define AT_MAX_NS (9183110400ull * 1000000000ull + 86400ull * 1000000000ull)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int is_true)
{
    if (!is_true)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct logline_fields choices[] = {
        {NULL, NULL}, {"ip", NULL},      {"user", NULL},  {"method", NULL},  {"path", NULL},
        {"a.b", "t"}, {"referer", NULL}, {"agent", NULL}, {"status", "t.u"},
    };
    static struct logline line, again;
    char buffer[160];

    if (size == 0)
        return 0;
    const struct logline_fields *fields =
        &choices[data[0] % (sizeof(choices) / sizeof(choices[0]))];
    const char *text = (const char *)data + 1;
    const size_t len = size - 1;

    const enum logline_result result = logline_parse(text, len, fields, &line);
    require(strlen(logline_explain(result, fields, buffer, sizeof(buffer))) > 0);
    printable_format(text, len, buffer, sizeof(buffer));
    for (const char *at = buffer; *at != '\0'; at++)
        require((unsigned char)*at >= 0x20 && *at != 0x7f);
    if (result != LOGLINE_OK)
        return 0;
    require(line.subject_len >= 1 && line.subject_len <= LOGLINE_MAX && line.at_ns < AT_MAX_NS);
    require(logline_parse(text, len, fields, &again) == LOGLINE_OK);
    require(line.at_ns == again.at_ns && line.subject_len == again.subject_len &&
            memcmp(line.subject, again.subject, line.subject_len) == 0);
    if (text[strspn(text, " \t\r")] != '{')
        require(memmem(text, len, line.subject, line.subject_len) != NULL);
    return 0;
}
