/* Drawing subjects; bench_traffic.h says what the two sources are. */
#include "cmd/bench_traffic.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cmd/cmd.h"
#include "cmd/logfile.h"
#include "cmd/logline.h"

/* An exclusive draw looks at so many subjects that must wait before it lets the caller go on ... */
#define LOOK_AHEAD 4096u
/* ... and no further when so many checks wait already: a file of one subject would wait for ever.
 */
#define MOST_WAITING 1000000u

static int add_line(struct traffic *traffic, struct subjects *subjects, uint64_t *size,
                    const char *text, size_t len)
{
    if (traffic->line_count == *size) {
        const uint64_t larger = *size == 0 ? 4096 : *size * 2;
        uint32_t *lines = reallocarray(traffic->lines, larger, sizeof(*lines));
        if (!lines)
            return -1;
        traffic->lines = lines;
        *size = larger;
    }
    if (subjects_find_or_add(subjects, text, len, &traffic->lines[traffic->line_count]) < 0)
        return -1;
    traffic->line_count++;
    return 0;
}

/* The first line that is not blank decides: an access log, whose client addresses count, or a
 * subject as it stands, and so are all others. */
static int read_lines(struct logfile *file, struct traffic *traffic, struct subjects *subjects)
{
    static const struct logline_fields fields;
    static struct logline parsed; /* 64 KiB; read once, at the start */
    enum { UNDECIDED, PLAIN, LOG } form = UNDECIDED;
    struct logfile_line line;
    enum logfile_result result;
    uint64_t size = 0;

    while ((result = logfile_next(file, &line)) == LOGFILE_LINE || result == LOGFILE_LONG_LINE) {
        const enum logline_result is =
            form == PLAIN ? LOGLINE_UNKNOWN : logline_parse(line.text, line.len, &fields, &parsed);
        if (line.len == 0 || is == LOGLINE_BLANK)
            continue;
        if (form == UNDECIDED)
            form = is == LOGLINE_OK ? LOG : PLAIN;
        int failed = 0;
        if (form == PLAIN)
            failed = add_line(traffic, subjects, &size, line.text, line.len);
        else if (is == LOGLINE_OK)
            failed = add_line(traffic, subjects, &size, parsed.subject, parsed.subject_len);
        else
            traffic->unparsed_count++;
        if (failed)
            return cmd_fail("bench", "--subjects: not enough memory");
    }
    if (result == LOGFILE_BROKEN)
        return cmd_fail("bench", "--subjects: %s", logfile_error(file));
    return 0;
}

static int hash_subjects(struct traffic *traffic, const struct subjects *subjects, uint64_t seed,
                         const uint64_t *salt)
{
    static uint8_t salted[LOGFILE_LINE_MAX + sizeof(*salt)];
    traffic->keys = calloc(subjects->count, sizeof(*traffic->keys));
    if (!traffic->keys)
        return cmd_fail("bench", "--subjects: not enough memory");
    for (uint32_t i = 0; i < subjects->count; i++) {
        size_t len;
        const char *name = subjects_name(subjects, i, &len);
        memcpy(salted, name, len);
        if (salt)
            memcpy(salted + len, salt, sizeof(*salt));
        traffic->keys[i] = key_of_subject(salted, len + (salt ? sizeof(*salt) : 0), seed);
    }
    traffic->subject_count = subjects->count;
    return 0;
}

static int read_file(const char *path, uint64_t seed, const uint64_t *salt, struct traffic *traffic)
{
    char error[256];
    struct logfile *file;
    struct subjects subjects;
    if (logfile_open(path, &file, error, sizeof(error)) < 0)
        return cmd_fail("bench", "--subjects: %s", error);
    subjects_init(&subjects);
    int result = read_lines(file, traffic, &subjects);
    logfile_close(file);
    if (result == 0 && traffic->line_count == 0)
        result = cmd_fail("bench", "--subjects: %s: no subjects in it", path);
    if (result == 0)
        result = hash_subjects(traffic, &subjects, seed, salt);
    subjects_deinit(&subjects);
    return result;
}

int traffic_open(const struct bench_options *options, uint64_t seed, bool salted,
                 struct traffic *ret_traffic)
{
    struct traffic traffic = {
        .subject_count = (uint32_t)options->keys,
        .random = options->seed,
        .line_step = 1,
        .wraps = options->duration_ns != 0 || options->requests != 0,
        .left = options->requests ? options->requests : UINT64_MAX,
        .parts = 1,
        .exclusive = options->verify != NULL && !options->unique,
        .hot_below = options->hot_part < 1 ? (uint64_t)(options->hot_part * 0x1p64) : UINT64_MAX,
        .unique = options->unique,
    };
    uint64_t salt = 0;
    int result = 0;

    if (salted && getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
        result = cmd_fail("bench", "no random numbers to be had");
    traffic.salt = salt;
    traffic.zipf.exponent = options->zipf;
    if (result == 0 && options->subjects)
        result = read_file(options->subjects, seed, salted ? &salt : NULL, &traffic);
    if (result == 0 && traffic.exclusive && traffic.subject_count < options->threads)
        result = cmd_fail("bench", "--threads: more than the %u subjects, with --verify",
                          traffic.subject_count);
    if (result == 0)
        *ret_traffic = traffic;
    else
        traffic_close(&traffic);
    return result;
}

void traffic_close(struct traffic *traffic)
{
    free(traffic->keys);
    free(traffic->lines);
}

/* Exclusive: on to a line of this part; every part has one, because its first subject is some
 * line's. */
static void skip_others(struct traffic *traffic)
{
    while (traffic->line_at < traffic->line_count &&
           traffic->lines[traffic->line_at] % traffic->parts != traffic->part) {
        traffic->line_at++;
        if (traffic->line_at >= traffic->line_count && traffic->wraps)
            traffic->line_at = 0;
    }
}

int traffic_share(const struct traffic *traffic, unsigned index, unsigned count,
                  struct traffic *ret_share)
{
    struct traffic share = *traffic;
    share.random = traffic_mix(traffic->random + index);
    share.own_count = traffic->subject_count;
    if (traffic->left != UINT64_MAX)
        share.left = traffic->left / count + (index < traffic->left % count);
    if (traffic->exclusive) {
        share.part = index;
        share.parts = count;
        share.own_count = (traffic->subject_count - index + count - 1) / count;
        share.is_out = calloc(share.own_count, sizeof(*share.is_out));
        share.waiting = calloc(share.own_count, sizeof(*share.waiting));
        share.ready = calloc(share.own_count, sizeof(*share.ready));
        if (!share.is_out || !share.waiting || !share.ready) {
            traffic_unshare(&share);
            return -1;
        }
        if (traffic->keys)
            skip_others(&share);
    } else {
        share.line_at = index;
        share.line_step = count;
    }
    if (share.zipf.exponent > 0)
        share.zipf = zipf_make(share.zipf.exponent, share.own_count);
    *ret_share = share;
    return 0;
}

void traffic_unshare(struct traffic *share)
{
    free(share->is_out);
    free(share->waiting);
    free(share->ready);
}

static uint32_t uniform_draw(struct traffic *traffic)
{
    const uint64_t random = traffic_random(&traffic->random);
    return (uint32_t)((unsigned __int128)random * traffic->own_count >> 64);
}

/* The next made key, of those of this part, by its law. */
static uint32_t next_made(struct traffic *traffic)
{
    if (traffic->hot_below && traffic_random(&traffic->random) < traffic->hot_below)
        return 0;
    if (traffic->zipf.exponent > 0)
        return zipf_draw(&traffic->zipf, traffic->own_count, &traffic->random) - 1;
    return uniform_draw(traffic);
}

/* The next one in the source's order. The caller knows that there is one. */
static uint32_t next_subject(struct traffic *traffic)
{
    traffic->left--;
    if (traffic->unique) {
        const uint64_t subject = traffic->line_at;
        traffic->line_at += traffic->line_step;
        return (uint32_t)subject;
    }
    if (!traffic->keys)
        return next_made(traffic) * traffic->parts + traffic->part;
    const uint32_t subject = traffic->lines[traffic->line_at];
    traffic->line_at += traffic->line_step;
    if (traffic->line_at >= traffic->line_count && traffic->wraps)
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a file of subjects has a line */
        traffic->line_at %= traffic->line_count;
    if (traffic->parts > 1)
        skip_others(traffic);
    return subject;
}

static bool source_is_over(const struct traffic *traffic)
{
    return traffic->left == 0 || (traffic->keys && traffic->line_at >= traffic->line_count);
}

bool traffic_is_over(const struct traffic *traffic)
{
    return source_is_over(traffic) && traffic->waiting_count == 0;
}

static unsigned draw_exclusive(struct traffic *traffic, unsigned n, uint32_t *ret_subjects)
{
    unsigned count = 0;
    while (count < n && traffic->ready_count > 0) {
        const uint32_t own = traffic->ready[traffic->ready_begin];
        traffic->ready_begin = (traffic->ready_begin + 1) % traffic->own_count;
        traffic->ready_count--;
        traffic->waiting[own]--;
        traffic->waiting_count--;
        ret_subjects[count++] = own * traffic->parts + traffic->part; /* stayed marked as out */
    }
    for (unsigned i = 0; i < LOOK_AHEAD && count < n && !source_is_over(traffic); i++) {
        if (traffic->waiting_count >= MOST_WAITING)
            break;
        const uint32_t subject = next_subject(traffic), own = subject / traffic->parts;
        if (traffic->is_out[own]) {
            traffic->waiting[own]++;
            traffic->waiting_count++;
        } else {
            traffic->is_out[own] = true;
            ret_subjects[count++] = subject;
        }
    }
    return count;
}

static bool is_plain(const struct traffic *traffic)
{
    return !traffic->keys && !traffic->unique && !traffic->hot_below &&
           !(traffic->zipf.exponent > 0);
}

unsigned traffic_draw(struct traffic *traffic, unsigned n, uint32_t *ret_subjects)
{
    if (traffic->exclusive)
        return draw_exclusive(traffic, n, ret_subjects);
    unsigned count = 0;
    if (is_plain(traffic) && traffic->left >= n) { /* the usual case, without asking each time */
        traffic->left -= n;
        for (; count < n; count++)
            ret_subjects[count] = uniform_draw(traffic);
        return n;
    }
    while (count < n && !source_is_over(traffic))
        ret_subjects[count++] = next_subject(traffic);
    return count;
}

void traffic_return(struct traffic *traffic, uint32_t subject)
{
    if (!traffic->exclusive)
        return;
    const uint32_t own = subject / traffic->parts;
    if (traffic->waiting[own] == 0) {
        traffic->is_out[own] = false;
        return;
    }
    /* Out still, in the ring: at most once each, so the ring never overflows. */
    const uint32_t at = traffic->ready_begin + traffic->ready_count;
    traffic->ready[at < traffic->own_count ? at : at - traffic->own_count] = own;
    traffic->ready_count++;
}
