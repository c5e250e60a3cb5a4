/* Times a kernel: called again and again on one product, or on copies of its weights in turn.
 *
 * Each thread calls `bitloom_time` with its own rows. All of them wait for each other before and after each sample, so
 * that a sample takes as long as the slowest; the one with number 0 keeps the time.
 */
#define _POSIX_C_SOURCE 199309L
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "product.h"

typedef void kernel_function(const struct product *, int64_t first, int64_t last);
typedef void prepare_function(const struct product *);

enum { LONGEST_WAIT_SECONDS = 10 };

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e6 * (double)time.tv_sec + 1e-3 * (double)time.tv_nsec;
}

/* Waits until all threads have come here `times` times; false if one does not come. */
static int meet(_Atomic int64_t *arrived, int64_t threads, int64_t times)
{
    if (atomic_fetch_add(arrived, 1) + 1 >= threads * times)
        return 1;
    const double started = now_us();
    while (atomic_load(arrived) < threads * times)
        if (now_us() - started > 1e6 * LONGEST_WAIT_SECONDS)
            return 0;
    return 1;
}

/* Writes microseconds of a call to times[samples], of the thread with number 0. Returns 0, or -1 if a thread is lost. */
int bitloom_time(kernel_function *kernel, const struct product *products, int64_t copies, int64_t first_copy,
                 int64_t first, int64_t last, int64_t samples, int64_t calls, int64_t thread, int64_t threads,
                 _Atomic int64_t *arrived, double *times)
{
    for (int64_t sample = 0, copy = first_copy; sample < samples; sample++) {
        if (threads > 1 && !meet(arrived, threads, 2 * sample + 1))
            return -1;
        const double started = now_us();
        for (int64_t call = 0; call < calls; call++, copy++)
            kernel(&products[copy % copies], first, last);
        if (threads > 1 && !meet(arrived, threads, 2 * sample + 2))
            return -1;
        if (thread == 0)
            times[sample] = (now_us() - started) / (double)calls;
    }
    return 0;
}

/* The same of what is made of the activations before. */
void bitloom_time_preparation(prepare_function *prepare, const struct product *product, int64_t samples, double *times)
{
    for (int64_t sample = 0; sample < samples; sample++) {
        const double started = now_us();
        prepare(product);
        times[sample] = now_us() - started;
    }
}
