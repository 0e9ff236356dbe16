/* Ranks by Zipf's law; bench_traffic.h names the source. With h(x) = x^-s and H its integral, a
 * number u is drawn evenly from [H(1.5) - 1, H(n + 0.5)] and k = H^-1(u) rounded is taken when u
 * falls into the part of k's column that k's probability fills. */
#include <math.h>

#include "cmd/bench_traffic.h"

/* (exp(x) - 1) / x and log(1 + x) / x, which stay exact where x is near 0: an exponent near 1. */
static double expm1_over(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2;
}

static double log1p_over(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x / 2;
}

static double integral(double exponent, double x)
{
    const double log_x = log(x);
    return expm1_over((1 - exponent) * log_x) * log_x;
}

static double inverse(double exponent, double y)
{
    const double t = fmax(y * (1 - exponent), -1);
    return exp(log1p_over(t) * y);
}

struct zipf zipf_make(double exponent, uint32_t count)
{
    return (struct zipf){
        .exponent = exponent,
        .from = integral(exponent, 1.5) - 1,
        .to = integral(exponent, count + 0.5),
        .squeeze = 2 - inverse(exponent, integral(exponent, 2.5) - pow(2, -exponent)),
    };
}

uint32_t zipf_draw(const struct zipf *zipf, uint32_t count, uint64_t *random)
{
    for (;;) {
        const double unit = (double)(traffic_random(random) >> 11) * 0x1p-53;
        const double u = zipf->to + unit * (zipf->from - zipf->to);
        const double x = inverse(zipf->exponent, u);
        const double k = fmin(fmax(floor(x + 0.5), 1), count);
        if (k - x <= zipf->squeeze ||
            u >= integral(zipf->exponent, k + 0.5) - pow(k, -zipf->exponent))
            return (uint32_t)k;
    }
}
