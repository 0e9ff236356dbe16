/* Leases: acquire, renew, release, and the object that does so from a thread of its own.
 *
 * The thread of a lease owns its client. What others ask, until when the lease is held for certain,
 * is behind the mutex; it is counted from before the request was sent, so never longer than at the
 * server. */
#include "internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define LEASE_FLAGS METE_FLAG_SHADOW
#define PAUSE_LEAST_NS 1000000ll /* between tries, whatever the lease */
#define CLOSE_TRIES 3u

static int choose_id(uint64_t *ret_id)
{
    do {
        if (getrandom(ret_id, sizeof(*ret_id), 0) != sizeof(*ret_id))
            return -EIO;
    } while (*ret_id == 0);
    return 0;
}

int mete_client_acquire(struct mete_client *client, const struct mete_request *request,
                        uint64_t *lease_id, struct mete_answer *ret_answer)
{
    if (!lease_id || mete_check_validate(METE_ACQUIRE, request, LEASE_FLAGS))
        return -EINVAL;
    int error = *lease_id ? 0 : choose_id(lease_id);
    if (error)
        return error;
    mete_ask(client, METE_ACQUIRE, *lease_id, request, 1, ret_answer);
    return 0;
}

int mete_client_renew(struct mete_client *client, const struct mete_request *request,
                      uint64_t lease_id, struct mete_answer *ret_answer)
{
    if (mete_check_validate(METE_RENEW, request, LEASE_FLAGS))
        return -EINVAL;
    mete_ask(client, METE_RENEW, lease_id, request, 1, ret_answer);
    return 0;
}

int mete_client_release(struct mete_client *client, const struct mete_request *request,
                        uint64_t lease_id, struct mete_answer *ret_answer)
{
    if (mete_check_validate(METE_RELEASE, request, LEASE_FLAGS))
        return -EINVAL;
    mete_ask(client, METE_RELEASE, lease_id, request, 1, ret_answer);
    return 0;
}

/* ---- kept up by a thread ---- */

struct mete_lease {
    struct mete_client *client;
    struct mete_request request; /* its rule and subject stand behind this struct */
    uint64_t id;
    int64_t third_ns; /* of the lease as it was granted last */
    pthread_t thread;
    pthread_mutex_t mutex; /* of the rest */
    pthread_cond_t wake;
    int64_t held_until_ns;
    bool is_closing;
};

static int64_t held_until_ns(struct mete_lease *lease)
{
    pthread_mutex_lock(&lease->mutex);
    int64_t until_ns = lease->held_until_ns;
    pthread_mutex_unlock(&lease->mutex);
    return until_ns;
}

int mete_lease_is_held(struct mete_lease *lease)
{
    return mete_now_ns() < held_until_ns(lease);
}

static bool is_granted(const struct mete_answer *answer)
{
    return answer->source == METE_SOURCE_SERVER && answer->allowed &&
           !(answer->flags & METE_VERDICT_WOULD_DENY);
}

/* Takes over what an acquire or a renewal said that was asked at that instant. */
static void take_over(struct mete_lease *lease, const struct mete_answer *answer, int64_t asked_ns)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): who calls filled it */
    if (answer->source != METE_SOURCE_SERVER || answer->status == METE_STATUS_TABLE_FULL)
        return; /* nobody knows: as before */
    int64_t until_ns = 0;
    if (is_granted(answer)) {
        until_ns = asked_ns + (int64_t)answer->reset_after_us * 1000;
        lease->third_ns = (int64_t)answer->reset_after_us * 1000 / 3;
    }
    pthread_mutex_lock(&lease->mutex);
    lease->held_until_ns = until_ns;
    pthread_mutex_unlock(&lease->mutex);
}

static void keep_up(struct mete_lease *lease)
{
    struct mete_answer answer;
    int64_t asked_ns = mete_now_ns();
    mete_client_renew(lease->client, &lease->request, lease->id, &answer);
    take_over(lease, &answer, asked_ns);
    if (answer.source != METE_SOURCE_SERVER || is_granted(&answer))
        return;
    asked_ns = mete_now_ns(); /* it is not held any more: perhaps there is room still */
    mete_client_acquire(lease->client, &lease->request, &lease->id, &answer);
    take_over(lease, &answer, asked_ns);
}

/* A third of the lease, sooner if the last renewal had no answer. The mutex is held. */
static int64_t pause_ns(const struct mete_lease *lease)
{
    int64_t left_ns = lease->held_until_ns - mete_now_ns();
    int64_t pause = left_ns < 2 * lease->third_ns && left_ns > 0 ? left_ns / 3 : lease->third_ns;
    return pause < PAUSE_LEAST_NS ? PAUSE_LEAST_NS : pause;
}

static void *run(void *argument)
{
    struct mete_lease *lease = argument;
    pthread_mutex_lock(&lease->mutex);
    while (!lease->is_closing) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t at_ns = until.tv_sec * 1000000000ll + until.tv_nsec + pause_ns(lease);
        until = (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
        while (!lease->is_closing &&
               pthread_cond_timedwait(&lease->wake, &lease->mutex, &until) != ETIMEDOUT)
            ;
        if (lease->is_closing)
            break;
        pthread_mutex_unlock(&lease->mutex);
        keep_up(lease);
        pthread_mutex_lock(&lease->mutex);
    }
    pthread_mutex_unlock(&lease->mutex);
    return NULL;
}

/* Until the server has said something: a lost release would hold the slots for a whole lease. */
static void give_back(struct mete_lease *lease)
{
    struct mete_answer answer = {.source = METE_SOURCE_TIMEOUT};
    for (unsigned i = 0; i < CLOSE_TRIES && answer.source == METE_SOURCE_TIMEOUT; i++)
        mete_client_release(lease->client, &lease->request, lease->id, &answer);
}

static int start(struct mete_lease *lease)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lease->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    int error = pthread_create(&lease->thread, NULL, run, lease);
    if (error)
        pthread_cond_destroy(&lease->wake);
    return -error;
}

/* The lease with copies of the request's rule and subject behind it. */
static struct mete_lease *make(const struct mete_request *request)
{
    size_t rule_size = request->rule ? strlen(request->rule) + 1 : 0;
    struct mete_lease *lease = calloc(1, sizeof(*lease) + rule_size + request->subject_len);
    if (!lease)
        return NULL;
    char *copies = (char *)(lease + 1);
    pthread_mutex_init(&lease->mutex, NULL);
    lease->request = *request;
    lease->request.flags = 0; /* SHADOW goes with the first acquire only */
    if (request->rule)
        lease->request.rule = memcpy(copies, request->rule, rule_size);
    lease->request.subject = memcpy(copies + rule_size, request->subject, request->subject_len);
    return lease;
}

static void drop(struct mete_lease *lease)
{
    mete_client_close(lease->client);
    pthread_mutex_destroy(&lease->mutex);
    free(lease);
}

int mete_lease_open(const struct mete_client_options *options, const struct mete_request *request,
                    struct mete_lease **ret_lease, struct mete_answer *ret_answer)
{
    *ret_lease = NULL;
    if (mete_check_validate(METE_ACQUIRE, request, LEASE_FLAGS))
        return -EINVAL;
    struct mete_lease *lease = make(request);
    if (!lease)
        return -ENOMEM;
    int error = mete_client_open(options, &lease->client);
    int64_t asked_ns = mete_now_ns();
    if (!error)
        error = mete_client_acquire(lease->client, request, &lease->id, ret_answer);
    if (!error && is_granted(ret_answer)) {
        take_over(lease, ret_answer, asked_ns);
        error = start(lease);
        if (!error) {
            *ret_lease = lease;
            return 0;
        }
    }
    if (lease->id && ret_answer->source != METE_SOURCE_SERVER) /* it may be held all the same */
        mete_client_release(lease->client, &lease->request, lease->id, &(struct mete_answer){0});
    else if (error && lease->id)
        give_back(lease);
    drop(lease);
    return error;
}

void mete_lease_close(struct mete_lease *lease)
{
    if (!lease)
        return;
    pthread_mutex_lock(&lease->mutex);
    lease->is_closing = true;
    pthread_cond_signal(&lease->wake);
    pthread_mutex_unlock(&lease->mutex);
    pthread_join(lease->thread, NULL);
    pthread_cond_destroy(&lease->wake);
    give_back(lease);
    drop(lease);
}
