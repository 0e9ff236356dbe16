/* Names that are looked up aside: the C library's lookup is replaced by one that waits until it is
 * told to go on, so that nothing here depends on a name server or on time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replica/link_resolve.h"

static sem_t silent_began, silent_ends; /* of names that begin with "silent" */
static _Atomic unsigned lookups;

/* In place of the C library's. Numbers: 127.0.0.1 alone. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **ret_found)
{
    struct sockaddr_in *address;

    (void)port;
    if (strcmp(host, "127.0.0.1") != 0 && hints->ai_flags & AI_NUMERICHOST)
        return EAI_NONAME;
    lookups++;
    if (strncmp(host, "silent", 6) == 0) {
        sem_post(&silent_began);
        while (sem_wait(&silent_ends) < 0 && errno == EINTR)
            ;
    }
    if (strcmp(host, "nobody") == 0)
        return EAI_NONAME;
    *ret_found = calloc(1, sizeof(**ret_found));
    address = calloc(1, sizeof(*address));
    assert_non_null(*ret_found);
    assert_non_null(address);
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)strlen(host)); /* something to know it by */
    (*ret_found)->ai_family = AF_INET;
    (*ret_found)->ai_addr = (struct sockaddr *)address;
    (*ret_found)->ai_addrlen = sizeof(*address);
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    free(found->ai_addr);
    free(found);
}

static struct redis_address named(const char *host)
{
    struct redis_address address = {.port = "1"};

    memcpy(address.host, host, strlen(host) + 1);
    return address;
}

static void ask(struct link_resolver *resolver, uint32_t slot, const char *host)
{
    const struct redis_address address = named(host);

    link_resolver_ask(resolver, slot, &address);
}

/* What comes of it, whenever it comes. */
static int wait_for(struct link_resolver *resolver, uint32_t slot, struct link_addresses *found,
                    const char **problem)
{
    struct pollfd ended = {.fd = link_resolver_descriptor(resolver), .events = POLLIN};
    int result;

    while ((result = link_resolver_take(resolver, slot, found, problem)) == -EINPROGRESS) {
        assert_int_equal(poll(&ended, 1, 60000), 1);
        link_resolver_clear(resolver);
    }
    return result;
}

static uint16_t port_of(const struct link_addresses *found)
{
    return ntohs(((const struct sockaddr_in *)&found->at[0])->sin_port);
}

static struct link_resolver *start(void)
{
    struct link_resolver *resolver = NULL;

    sem_init(&silent_began, 0, 0);
    sem_init(&silent_ends, 0, 0);
    assert_int_equal(link_resolver_create(&resolver), 0);
    assert_int_equal(link_resolver_start(resolver), 0);
    return resolver;
}

static void test_numbers_wait_for_nothing(void **state)
{
    const struct redis_address number = named("127.0.0.1"), name = named("alice");
    struct link_addresses found = {0};

    (void)state;
    assert_int_equal(link_resolve_number(&number, &found), 0);
    assert_int_equal(found.count, 1);
    assert_int_equal(link_resolve_number(&name, &found), -EINVAL);
    assert_int_equal(found.count, 1); /* untouched */
}

static void test_a_name_and_none(void **state)
{
    struct link_resolver *resolver = start();
    struct link_addresses found = {0};
    const char *problem = NULL;

    (void)state;
    assert_int_equal(link_resolver_take(resolver, 3, &found, &problem), -EINPROGRESS); /* unasked */
    ask(resolver, 3, "alice");
    assert_int_equal(wait_for(resolver, 3, &found, &problem), 0);
    assert_int_equal(port_of(&found), 5);
    ask(resolver, 4, "nobody");
    assert_int_equal(wait_for(resolver, 4, &found, &problem), -EHOSTUNREACH);
    assert_string_equal(problem, gai_strerror(EAI_NONAME));
    assert_int_equal(port_of(&found), 5); /* untouched */
    link_resolver_destroy(resolver);
}

static void test_silence_holds_up_nobody_else(void **state)
{
    struct link_resolver *resolver = start();
    struct link_addresses found;
    const char *problem;

    (void)state;
    ask(resolver, 0, "silent");
    sem_wait(&silent_began);
    for (uint32_t i = 1; i < LINK_RESOLVER_SLOTS; i++) {
        ask(resolver, i, "alice");
        assert_int_equal(wait_for(resolver, i, &found, &problem), 0);
    }
    const unsigned before = lookups;
    ask(resolver, 0, "silent"); /* it is under way */
    assert_int_equal(link_resolver_take(resolver, 0, &found, &problem), -EINPROGRESS);
    sem_post(&silent_ends);
    assert_int_equal(wait_for(resolver, 0, &found, &problem), 0);
    assert_int_equal(port_of(&found), 6);
    assert_int_equal(lookups, before);
    link_resolver_destroy(resolver);
}

/* Both threads are kept busy, and one more waits its turn. Who leaves is not held up, and what is
 * left gives itself back (the sanitizers look). */
static void test_the_end_waits_for_nobody(void **state)
{
    struct link_resolver *resolver = start();

    (void)state;
    ask(resolver, 0, "silent");
    ask(resolver, 1, "silent, too");
    ask(resolver, 2, "alice");
    sem_wait(&silent_began);
    sem_wait(&silent_began);
    link_resolver_destroy(resolver);
    sem_post(&silent_ends);
    sem_post(&silent_ends);
    link_resolver_destroy(start()); /* idle */
    assert_int_equal(link_resolver_create(&resolver), 0);
    link_resolver_destroy(resolver); /* never started */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_wait_for_nothing),
        cmocka_unit_test(test_a_name_and_none),
        cmocka_unit_test(test_silence_holds_up_nobody_else),
        cmocka_unit_test(test_the_end_waits_for_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
