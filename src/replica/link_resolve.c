/* A few threads take names off one list, the longest waiting first. A name whose resolver is silent
 * keeps one thread busy for as long as the C library waits (ten seconds and more), and the others
 * look up what else there is; numbers never come here.
 *
 * Threads are made before system calls are filtered, which forbids new ones. One that is busy when
 * the resolver is destroyed is left alone with it, and gives it back when it is done: ending a
 * daemon waits for nobody's name server.
 *
 * Threads: one asks and takes; the lock is held for copies only. */
#include "replica/link_resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/wake.h"

#define HELPERS 2u

enum lookup_state {
    LOOKUP_IDLE,
    LOOKUP_ASKED,
    LOOKUP_UNDER_WAY,
    LOOKUP_DONE,
};

struct lookup {
    struct redis_address address;
    enum lookup_state state;
    uint64_t ticket; /* the order of asking */
    int wrong;       /* of getaddrinfo() */
    struct link_addresses found;
};

struct helper {
    struct link_resolver *resolver;
    pthread_t thread;
    bool is_busy;
};

struct link_resolver {
    pthread_mutex_t lock;
    pthread_cond_t asked;
    struct lookup lookups[LINK_RESOLVER_SLOTS];
    struct helper helpers[HELPERS];
    uint32_t helper_count;
    uint32_t left_count; /* helpers that were busy when it was destroyed */
    uint64_t last_ticket;
    int wake;
    bool stops;
};

static void keep(const struct addrinfo *list, struct link_addresses *found)
{
    found->count = 0;
    for (; list && found->count < LINK_MAX_ADDRESSES; list = list->ai_next) {
        if (list->ai_addrlen > sizeof(found->at[0]))
            continue;
        memcpy(&found->at[found->count], list->ai_addr, list->ai_addrlen);
        found->len[found->count++] = list->ai_addrlen;
    }
}

static int look_up(const struct redis_address *address, int flags, struct link_addresses *found)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    struct addrinfo *list = NULL;
    const int wrong = getaddrinfo(address->host, address->port, &hints, &list);

    if (wrong)
        return wrong;
    keep(list, found);
    freeaddrinfo(list);
    return found->count > 0 ? 0 : EAI_FAMILY;
}

int link_resolve_number(const struct redis_address *address, struct link_addresses *ret_found)
{
    struct link_addresses found;

    if (look_up(address, AI_NUMERICHOST, &found))
        return -EINVAL;
    *ret_found = found;
    return 0;
}

static void give_back(struct link_resolver *resolver)
{
    close(resolver->wake);
    pthread_cond_destroy(&resolver->asked);
    pthread_mutex_destroy(&resolver->lock);
    free(resolver);
}

/* With the lock held. */
static struct lookup *next_asked(struct link_resolver *resolver)
{
    struct lookup *next = NULL;

    for (uint32_t i = 0; i < LINK_RESOLVER_SLOTS; i++) {
        struct lookup *lookup = &resolver->lookups[i];
        if (lookup->state == LOOKUP_ASKED && (!next || lookup->ticket < next->ticket))
            next = lookup;
    }
    return next;
}

/* With the lock held, but for the lookup itself. */
static void serve_one(struct link_resolver *resolver, struct lookup *lookup)
{
    const struct redis_address address = lookup->address;
    struct link_addresses found;

    lookup->state = LOOKUP_UNDER_WAY;
    pthread_mutex_unlock(&resolver->lock);
    const int wrong = look_up(&address, 0, &found);
    pthread_mutex_lock(&resolver->lock);
    lookup->wrong = wrong;
    if (!wrong)
        lookup->found = found;
    lookup->state = LOOKUP_DONE;
    wake_send(resolver->wake);
}

static void *help(void *argument)
{
    struct helper *helper = argument;
    struct link_resolver *resolver = helper->resolver;
    struct lookup *lookup;

    pthread_mutex_lock(&resolver->lock);
    while (!resolver->stops) {
        lookup = next_asked(resolver);
        if (!lookup) {
            pthread_cond_wait(&resolver->asked, &resolver->lock);
            continue;
        }
        helper->is_busy = true;
        serve_one(resolver, lookup);
        if (!resolver->stops)
            helper->is_busy = false;
    }
    const bool is_last = helper->is_busy && --resolver->left_count == 0;
    pthread_mutex_unlock(&resolver->lock);
    if (is_last)
        give_back(resolver);
    return NULL;
}

int link_resolver_create(struct link_resolver **ret_resolver)
{
    struct link_resolver *resolver = calloc(1, sizeof(*resolver));

    if (!resolver)
        return -ENOMEM;
    resolver->wake = wake_open();
    if (resolver->wake < 0) {
        const int result = resolver->wake;
        free(resolver);
        return result;
    }
    pthread_mutex_init(&resolver->lock, NULL);
    pthread_cond_init(&resolver->asked, NULL);
    *ret_resolver = resolver;
    return 0;
}

int link_resolver_start(struct link_resolver *resolver)
{
    while (resolver->helper_count < HELPERS) {
        struct helper *helper = &resolver->helpers[resolver->helper_count];
        helper->resolver = resolver;
        const int result = pthread_create(&helper->thread, NULL, help, helper);
        if (result)
            return -result;
        resolver->helper_count++;
    }
    return 0;
}

void link_resolver_destroy(struct link_resolver *resolver)
{
    pthread_t idle[HELPERS];
    uint32_t idle_count = 0;

    if (!resolver)
        return;
    pthread_mutex_lock(&resolver->lock);
    resolver->stops = true;
    for (uint32_t i = 0; i < resolver->helper_count; i++) {
        if (resolver->helpers[i].is_busy) {
            resolver->left_count++;
            pthread_detach(resolver->helpers[i].thread);
        } else {
            idle[idle_count++] = resolver->helpers[i].thread;
        }
    }
    const bool is_left = resolver->left_count > 0;
    resolver->left_count += is_left; /* not before we are done with it, too */
    pthread_cond_broadcast(&resolver->asked);
    pthread_mutex_unlock(&resolver->lock);
    for (uint32_t i = 0; i < idle_count; i++)
        pthread_join(idle[i], NULL);
    pthread_mutex_lock(&resolver->lock);
    const bool is_last = !is_left || --resolver->left_count == 0;
    pthread_mutex_unlock(&resolver->lock);
    if (is_last)
        give_back(resolver);
}

int link_resolver_descriptor(const struct link_resolver *resolver)
{
    return resolver->wake;
}

void link_resolver_clear(struct link_resolver *resolver)
{
    wake_clear(resolver->wake);
}

void link_resolver_ask(struct link_resolver *resolver, uint32_t slot,
                       const struct redis_address *address)
{
    struct lookup *lookup = &resolver->lookups[slot];

    pthread_mutex_lock(&resolver->lock);
    if (lookup->state == LOOKUP_IDLE) {
        lookup->address = *address;
        lookup->ticket = ++resolver->last_ticket;
        lookup->state = LOOKUP_ASKED;
        pthread_cond_signal(&resolver->asked);
    }
    pthread_mutex_unlock(&resolver->lock);
}

int link_resolver_take(struct link_resolver *resolver, uint32_t slot,
                       struct link_addresses *ret_found, const char **ret_problem)
{
    struct lookup *lookup = &resolver->lookups[slot];
    int result = -EINPROGRESS;

    pthread_mutex_lock(&resolver->lock);
    if (lookup->state == LOOKUP_DONE) {
        lookup->state = LOOKUP_IDLE;
        result = lookup->wrong ? -EHOSTUNREACH : 0;
        if (lookup->wrong)
            *ret_problem = gai_strerror(lookup->wrong);
        else
            *ret_found = lookup->found;
    }
    pthread_mutex_unlock(&resolver->lock);
    return result;
}
