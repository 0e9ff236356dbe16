/* Everything here is read from files of /proc and /sys; what a system does not have is null or 0.
 */
#include "cmd/bench_conditions.h"

#include <dirent.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/printable.h"
#include "doors/admin.h"

#define VULNERABILITIES "/sys/devices/system/cpu/vulnerabilities"

/* The first line of a file, without its end; false if there is none. */
static bool read_line(const char *path, char *ret_line, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    const bool is_there = fgets(ret_line, (int)size, file) != NULL;
    fclose(file);
    if (is_there)
        ret_line[strcspn(ret_line, "\n")] = 0;
    return is_there;
}

static uint64_t read_number(const char *path)
{
    char line[64];
    return read_line(path, line, sizeof(line)) ? strtoull(line, NULL, 10) : 0;
}

/* The named column of the two lines that /proc/net/snmp has for UDP. */
static uint64_t column(const char *names, const char *values, const char *wanted)
{
    const size_t len = strlen(wanted);
    uint64_t value = 0;
    while (*names && *values) {
        const size_t name_len = strcspn(names, " \n");
        if (name_len == len && strncmp(names, wanted, len) == 0)
            value = strtoull(values, NULL, 10);
        names += name_len + strspn(names + name_len, " \n");
        values += strcspn(values, " \n");
        values += strspn(values, " \n");
    }
    return value;
}

static void add_drops(struct machine_counts *counts)
{
    char names[512], values[512];
    FILE *file = fopen("/proc/net/snmp", "re");
    if (file) {
        while (fgets(names, sizeof(names), file))
            if (strncmp(names, "Udp:", 4) == 0 && fgets(values, sizeof(values), file)) {
                counts->receive_drops += column(names, values, "RcvbufErrors");
                counts->send_drops += column(names, values, "SndbufErrors");
            }
        fclose(file);
    }
    file = fopen("/proc/net/snmp6", "re");
    if (!file)
        return;
    uint64_t value;
    while (fscanf(file, "%511s %" SCNu64, names, &value) == 2) {
        if (strcmp(names, "Udp6RcvbufErrors") == 0)
            counts->receive_drops += value;
        if (strcmp(names, "Udp6SndbufErrors") == 0)
            counts->send_drops += value;
    }
    fclose(file);
}

static struct machine_counts read_counts(void)
{
    struct machine_counts counts = {0};
    char line[256];
    if (read_line("/proc/stat", line, sizeof(line))) /* user nice system idle iowait irq softirq */
        sscanf(line, "cpu %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &counts.steal_ticks);
    add_drops(&counts);
    return counts;
}

static int ask_server(const struct bench_options *options, char **ret_text)
{
    size_t size;
    if (!options->admin)
        return 0;
    FILE *out = open_memstream(ret_text, &size);
    const int error = out ? admin_ask(options->admin, "stats json", out) : -1;
    if (out)
        fclose(out);
    if (error == 0)
        return 0;
    fprintf(stderr, "mete bench: --admin: no daemon answers at %s: %s\n", options->admin,
            strerror(-error));
    return EXIT_NO_ANSWER;
}

int bench_conditions_begin(const struct bench_parties *parties, struct bench_conditions *ret)
{
    ret->before = read_counts();
    ret->drops_before = bench_drops_read(parties->flows, parties->flow_count, parties->server);
    return ask_server(parties->options, &ret->server_before);
}

int bench_conditions_end(const struct bench_parties *parties, struct bench_conditions *conditions)
{
    conditions->after = read_counts();
    conditions->drops_after =
        bench_drops_read(parties->flows, parties->flow_count, parties->server);
    return ask_server(parties->options, &conditions->server_after);
}

uint64_t bench_conditions_own_drops(const struct bench_conditions *conditions)
{
    return conditions->drops_after.ours - conditions->drops_before.ours;
}

uint64_t bench_conditions_server_drops(const struct bench_conditions *conditions,
                                       bool *ret_is_known)
{
    const struct socket_drops *before = &conditions->drops_before,
                              *after = &conditions->drops_after;
    *ret_is_known = before->server_sockets > 0 && after->server_sockets > 0;
    return after->server > before->server ? after->server - before->server : 0;
}

void bench_conditions_deinit(struct bench_conditions *conditions)
{
    free(conditions->server_before);
    free(conditions->server_after);
}

static double server_cpu_s(const char *stats)
{
    const char *at = stats ? strstr(stats, "\"cpu_s\":") : NULL;
    return at ? strtod(at + strlen("\"cpu_s\":"), NULL) : 0;
}

uint64_t bench_conditions_server_cpu_ns(const struct bench_conditions *conditions)
{
    const double seconds =
        server_cpu_s(conditions->server_after) - server_cpu_s(conditions->server_before);
    return seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
}

static void print_mitigations(void)
{
    DIR *folder = opendir(VULNERABILITIES);
    const struct dirent *entry;
    bool any = false;
    printf("\"mitigations\": {");
    while (folder && (entry = readdir(folder))) {
        char path[sizeof(VULNERABILITIES) + 1 + sizeof(entry->d_name)], line[256];
        snprintf(path, sizeof(path), "%s/%s", VULNERABILITIES, entry->d_name);
        if (entry->d_name[0] == '.' || !read_line(path, line, sizeof(line)))
            continue;
        printf("%s\"%s\": ", any ? ", " : "", entry->d_name);
        printable_print_json(line, strlen(line), stdout);
        any = true;
    }
    printf("}, ");
    if (folder)
        closedir(folder);
}

static void print_machine(const struct bench_conditions *conditions)
{
    const struct machine_counts *before = &conditions->before, *after = &conditions->after;
    char line[256];
    struct utsname system;
    cpu_set_t cores;

    printf("\"machine\": {");
    printable_print_field("kernel", uname(&system) == 0 ? system.release : NULL);
    printable_print_field("architecture", uname(&system) == 0 ? system.machine : NULL);
    printable_print_field(
        "clock_source",
        read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", line,
                  sizeof(line))
            ? line
            : NULL);
    print_mitigations();
    printf("\"cores\": %ld, ", sysconf(_SC_NPROCESSORS_ONLN));
    printf("\"cores_of_this_process\": %d, ",
           sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 0);
    printf("\"rmem_max\": %" PRIu64 ", ", read_number("/proc/sys/net/core/rmem_max"));
    printf("\"wmem_max\": %" PRIu64 ", ", read_number("/proc/sys/net/core/wmem_max"));
    printf("\"steal_seconds\": %.2f, ",
           (double)(after->steal_ticks - before->steal_ticks) / (double)sysconf(_SC_CLK_TCK));
    printf("\"udp_receive_drops\": %" PRIu64 ", ", after->receive_drops - before->receive_drops);
    printf("\"udp_send_drops\": %" PRIu64 "}, ", after->send_drops - before->send_drops);
}

static void print_sockets(const struct bench_conditions *conditions)
{
    bool is_known;
    const uint64_t of_server = bench_conditions_server_drops(conditions, &is_known);
    printf("\"socket_drops\": {\"load\": %" PRIu64 ", \"server\": ",
           bench_conditions_own_drops(conditions));
    if (is_known)
        printf("%" PRIu64 ", ", of_server);
    else
        printf("null, ");
    printf("\"server_sockets\": %u}, ", conditions->drops_after.server_sockets);
}

/* The counters of all workers: a flat object "total" of names and numbers, the same ones before and
 * after, in the same order. */
static void print_server(const struct bench_conditions *conditions)
{
    static const char total[] = "\"total\":{";
    const char *before = strstr(conditions->server_before, total);
    const char *after = strstr(conditions->server_after, total);
    char name[64];
    uint64_t old, new;
    int old_len, new_len;
    printf("\"server_over_the_run\": {");
    for (before += before ? sizeof(total) - 1 : 0, after += after ? sizeof(total) - 1 : 0;
         before && after && sscanf(before, "\"%*[^\"]\":%" SCNu64 "%n", &old, &old_len) == 1 &&
         sscanf(after, "\"%63[^\"]\":%" SCNu64 "%n", name, &new, &new_len) == 2;
         before += old_len + (before[old_len] == ','), after += new_len + (after[new_len] == ','))
        printf("\"%s\": %" PRIu64 ", ", name, new - old);
    printf("\"cpu_seconds\": %.6f}, ", (double)bench_conditions_server_cpu_ns(conditions) / 1e9);
}

void bench_conditions_json(const struct bench_conditions *conditions)
{
    print_machine(conditions);
    print_sockets(conditions);
    if (conditions->server_before && conditions->server_after)
        print_server(conditions);
}
