/* What every kernel is given: one product of packed weights and activation codes, outputs = activations * weights^T.
 *
 * A kernel is two functions. `..._prepare` makes of the activations what the kernel looks up or subtracts; the kernel
 * itself computes the outputs of the rows first .. last - 1 for all tokens, so that threads can share a product. The
 * caller has checked and filled up all sizes (sim/native/kernels.py): no function here does. Buffers begin at 64 bytes.
 */
#ifndef BITLOOM_PRODUCT_H
#define BITLOOM_PRODUCT_H

#include <stdint.h>

struct product {
    const uint8_t *weights;
    const int8_t *activations; /* [tokens, k] */
    const float *scales;       /* of 256 activations each, [tokens, k / 256]; TQ2_0 alone */
    uint8_t *prepared;         /* what the kernel's `prepare` writes */
    void *outputs;             /* int32 or float32, [tokens, rows] */
    int64_t k;                 /* inputs, in whole blocks of the kernel's layout */
    int64_t rows;              /* outputs, in whole strips of the kernel's layout */
    int64_t tokens;
    int64_t lowest;            /* weight = stored code + lowest */
    int64_t tile_rows;         /* of TL2's tiling */
    int64_t tile_columns;
};

/* The sum of the activations of each token, int32 [tokens]: what an offset of the weights must be freed of. */
static inline void sum_activations(const struct product *product)
{
    int32_t *sums = (int32_t *)product->prepared;
    for (int64_t token = 0; token < product->tokens; token++) {
        const int8_t *activations = product->activations + token * product->k;
        int32_t sum = 0;
        for (int64_t input = 0; input < product->k; input++)
            sum += activations[input];
        sums[token] = sum;
    }
}

#endif
