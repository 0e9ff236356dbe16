/* The link to Redis alone, for tests/e2e/test_link*.py: sends batches as a node does, the same one
 * again until it is answered, and tells on stdout what happens.
 *
 *   link_feed URL NAMESPACE PARTITIONS NODE [user=U] [password=P] [ca=FILE] [cert=FILE key=FILE]
 *             [timeout=MS]
 *
 * Reads lines from stdin:
 *   charge PARTITION KEY UNITS   one unit counter of a window, kept for a minute
 *   bucket PARTITION KEY US CAP EXPIRY_MS
 *   pump COUNT                   COUNT batches of one unit for every partition
 *   node ID, leave, look, quit
 * Writes lines:
 *   state FAULT TEXT             whenever it changes
 *   answer PARTITION SEQUENCE OUTCOME EPOCH VALUE NODES
 *   pumped BATCHES RESENT
 *   taken, left, looked FAULT NODES READY PEERS CLUSTER SCRIPT REDIRECTS
 *
 * A name that ends in ".silent" is never looked up to an end: its name server says nothing. */
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/link.h"

#define MS 1000000ull

struct feed {
    struct link *link;
    uint32_t partitions;
    struct batch *batches; /* of each partition: what is to be answered; count 0: nothing */
    bool *is_sent;
    uint64_t *left; /* batches still to pump */
    uint64_t pumping, pumped, resent;
    char line[256];
    size_t len;
    bool has_end;
};

/* In place of the C library's, which it asks. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **ret_found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    const size_t len = strlen(host);

    if (len > 7 && strcmp(host + len - 7, ".silent") == 0 && !(hints->ai_flags & AI_NUMERICHOST))
        for (;;)
            pause();
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(host, port, hints, ret_found);
}

static uint64_t option(int count, char **words, const char *name, const char **ret_text)
{
    const size_t len = strlen(name);

    for (int i = 5; i < count; i++)
        if (strncmp(words[i], name, len) == 0 && words[i][len] == '=') {
            *ret_text = words[i] + len + 1;
            return strtoull(*ret_text, NULL, 10);
        }
    *ret_text = NULL;
    return 0;
}

static struct batch_key counter(uint64_t key, int64_t units)
{
    return (struct batch_key){
        .key = {key, key},
        .shape = 1,
        .window = 7,
        .tenant_id = 1,
        .rule_id = 1,
        .kind = MERGE_FIXED,
        .units = (int32_t)units,
        .wanted = 1,
        .delta = {.charge = units},
        .expiry_ms = 60000,
    };
}

static void begin(struct feed *feed, uint32_t partition, struct batch_key key)
{
    struct batch *batch = &feed->batches[partition];

    batch->count = 1;
    batch->sequence++;
    batch->keys[0] = key;
    feed->is_sent[partition] = false;
}

static void send_all(struct feed *feed)
{
    for (uint32_t i = 0; i < feed->partitions; i++) {
        if (feed->batches[i].count == 0 && feed->left[i] > 0) {
            feed->left[i]--;
            begin(feed, i, counter(0, 1));
        }
        if (feed->batches[i].count > 0 && !feed->is_sent[i])
            feed->is_sent[i] = link_send(feed->link, &feed->batches[i]) == 0;
    }
}

static void on_answer(struct feed *feed, const struct batch_answer *answer)
{
    struct batch *batch = &feed->batches[answer->partition];

    if (batch->count == 0 || answer->sequence != batch->sequence || answer->count != 1) {
        printf("wrong answer %u %" PRIu64 "\n", answer->partition, answer->sequence);
        return;
    }
    batch->count = 0;
    if (feed->pumping == 0) {
        printf("answer %u %" PRIu64 " %d %" PRIu64 " %" PRIu64 " %u\n", answer->partition,
               answer->sequence, answer->outcome, answer->keys[0].cell.epoch,
               answer->keys[0].cell.value, answer->node_count);
    } else if (++feed->pumped == feed->pumping) {
        printf("pumped %" PRIu64 " %" PRIu64 "\n", feed->pumped, feed->resent);
        feed->pumping = feed->pumped = 0;
    }
}

static void on_event(struct feed *feed, const struct link_event *event)
{
    struct link_state state;

    switch (event->kind) {
    case LINK_EVENT_ANSWER:
        on_answer(feed, event->answer);
        break;
    case LINK_EVENT_FAILED:
        feed->is_sent[event->partition] = false;
        feed->resent++;
        break;
    case LINK_EVENT_STATE:
        link_look(feed->link, &state);
        printf("state %s %s\n", link_fault_name(state.fault), state.text);
        break;
    case LINK_EVENT_TAKEN:
        printf("taken\n");
        break;
    }
}

static void obey(struct feed *feed, const char *line)
{
    uint32_t partition;
    uint64_t key, number, cap, expiry;
    struct link_state state;

    if (sscanf(line, "charge %u %" SCNu64 " %" SCNu64, &partition, &key, &number) == 3) {
        begin(feed, partition, counter(key, (int64_t)number));
    } else if (sscanf(line, "bucket %u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &partition,
                      &key, &number, &cap, &expiry) == 5) {
        begin(feed, partition,
              (struct batch_key){.key = {key, key},
                                 .tenant_id = 1,
                                 .rule_id = 1,
                                 .units = 1,
                                 .delta = {.charge = (int64_t)number, .cap_us = cap},
                                 .expiry_ms = expiry});
    } else if (sscanf(line, "pump %" SCNu64, &number) == 1) {
        feed->pumping = number * feed->partitions;
        for (uint32_t i = 0; i < feed->partitions; i++)
            feed->left[i] = number;
    } else if (sscanf(line, "node %" SCNu64, &key) == 1) {
        link_set_node(feed->link, key);
        for (uint32_t i = 0; i < feed->partitions; i++)
            feed->batches[i].node_id = key;
    } else if (strcmp(line, "leave") == 0) {
        link_leave(feed->link, 2000 * MS);
        printf("left\n");
    } else if (strcmp(line, "look") == 0) {
        link_look(feed->link, &state);
        printf("looked %s %u %u %u %d %d %" PRIu64 "\n", link_fault_name(state.fault),
               state.node_count, state.peers_ready, state.peers, state.is_cluster, state.is_script,
               state.redirects);
    } else {
        feed->has_end = true;
    }
}

static void read_lines(struct feed *feed)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

    if (poll(&input, 1, 0) <= 0)
        return;
    const ssize_t count =
        read(STDIN_FILENO, feed->line + feed->len, sizeof(feed->line) - 1 - feed->len);
    if (count <= 0) {
        feed->has_end = true;
        return;
    }
    feed->len += (size_t)count;
    for (char *end; (end = memchr(feed->line, '\n', feed->len));) {
        *end = '\0';
        obey(feed, feed->line);
        feed->len -= (size_t)(end + 1 - feed->line);
        memmove(feed->line, end + 1, feed->len);
    }
}

int main(int count, char **words)
{
    struct feed feed = {0};
    struct link_options options = {0};
    struct link_event event;
    char error[300];

    if (count < 5)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    options.url = words[1];
    options.namespace_name = words[2];
    options.partitions = feed.partitions = (uint32_t)strtoul(words[3], NULL, 10);
    options.node_id = strtoull(words[4], NULL, 10);
    option(count, words, "user", &options.user);
    option(count, words, "password", &options.password);
    option(count, words, "ca", &options.tls.ca);
    option(count, words, "cert", &options.tls.cert);
    option(count, words, "key", &options.tls.key);
    options.timeout_ns = MS * option(count, words, "timeout", &(const char *){NULL});
    if (link_open(&options, &feed.link, error, sizeof(error))) {
        printf("refused %s\n", error);
        return 1;
    }
    if (link_start(feed.link))
        return 2;
    feed.batches = calloc(feed.partitions, sizeof(struct batch));
    feed.is_sent = calloc(feed.partitions, sizeof(bool));
    feed.left = calloc(feed.partitions, sizeof(uint64_t));
    for (uint32_t i = 0; i < feed.partitions; i++) {
        feed.batches[i].partition = i;
        feed.batches[i].node_id = options.node_id;
        feed.batches[i].incarnation = options.node_id * 1000003 + 17;
    }
    while (!feed.has_end) {
        send_all(&feed);
        if (link_poll(feed.link, MS, &event))
            on_event(&feed, &event);
        else
            read_lines(&feed);
    }
    link_close(feed.link);
    free(feed.batches);
    free(feed.is_sent);
    free(feed.left);
    return 0;
}
