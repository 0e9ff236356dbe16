/* `mete bench --compare A.json B.json`: two reports of --json side by side. Figures with their
 * ratio; then what was not the same, of options and machine, because that is the first thing to ask
 * of a difference. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cmd/bench.h"
#include "cmd/cmd.h"
#include "cmd/printable.h"

static const char *const figures[] = {
    "checks",
    "checks_per_second",
    "allowed",
    "denied",
    "lost",
    "late",
    "duplicate",
    "malformed",
    "unsent_datagrams",
    "retried_datagrams",
    "resends",
    "repeats",
    "refused",
    "unsendable",
    "cut_off",
    "elapsed_seconds",
    "client_cpu_seconds",
};

static const char *const objects[] = {"errors",  "latency_us",          "latency_from_send_us",
                                      "slip_us", "server_over_the_run", "socket_drops"};

static json_t *load(const char *path)
{
    json_error_t error;
    char said[2 * JSON_ERROR_TEXT_LENGTH];
    json_t *report = json_load_file(path, 0, &error);
    if (!report) {
        printable_format(error.text, strlen(error.text), said, sizeof(said));
        cmd_fail("bench", "--compare: %s: %s", path, said);
    } else if (!json_is_object(json_object_get(report, "latency_us")) ||
               !json_is_object(json_object_get(report, "options"))) {
        cmd_fail("bench", "--compare: %s: not the --json report of one run", path);
        json_decref(report);
        report = NULL;
    }
    return report;
}

/* Left out when neither has it or both are 0. */
static void print_figure(const char *group, const char *name, const json_t *a, const json_t *b)
{
    const double first = json_number_value(a), second = json_number_value(b);
    char title[128];
    if ((!json_is_number(a) && !json_is_number(b)) || (first == 0 && second == 0))
        return;
    snprintf(title, sizeof(title), "%s%s%s", group, *group ? " " : "", name);
    printf("%-34s %16.10g %16.10g", title, first, second);
    if (first > 0)
        printf("  %8.3f", second / first);
    printf("\n");
}

static void print_value(const json_t *value)
{
    if (value)
        json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    else
        fputs("nothing", stdout);
}

static void print_differences(const char *group, json_t *a, json_t *b)
{
    const char *name;
    json_t *value;
    json_object_foreach(a, name, value)
    {
        const json_t *other = json_object_get(b, name);
        if (json_equal(value, other) || json_is_real(value))
            continue;
        printf("not the same: %s %s: ", group, name);
        print_value(value);
        printf(" and ");
        print_value(other);
        printf("\n");
    }
}

int bench_compare(const char *first_path, const char *second_path)
{
    json_t *a = load(first_path), *b = a ? load(second_path) : NULL;
    if (!a || !b) {
        json_decref(a);
        return EXIT_USAGE;
    }
    printf("%-34s %16s %16s  %8s\n", "", "A", "B", "B/A");
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        print_figure("", figures[i], json_object_get(a, figures[i]),
                     json_object_get(b, figures[i]));
    for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
        const char *name;
        json_t *value;
        /* All names of A, then those that only B has. */
        json_object_foreach(json_object_get(a, objects[i]), name, value) print_figure(
            objects[i], name, value, json_object_get(json_object_get(b, objects[i]), name));
        json_object_foreach(json_object_get(b, objects[i]), name,
                            value) if (!json_object_get(json_object_get(a, objects[i]), name))
            print_figure(objects[i], name, NULL, value);
    }
    static const char *const both[] = {"mode", "invalid"};
    for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++)
        if (!json_equal(json_object_get(a, both[i]), json_object_get(b, both[i]))) {
            printf("not the same: %s: ", both[i]);
            print_value(json_object_get(a, both[i]));
            printf(" and ");
            print_value(json_object_get(b, both[i]));
            printf("\n");
        }
    print_differences("option", json_object_get(a, "options"), json_object_get(b, "options"));
    print_differences("machine", json_object_get(a, "machine"), json_object_get(b, "machine"));
    json_decref(a);
    json_decref(b);
    return 0;
}
