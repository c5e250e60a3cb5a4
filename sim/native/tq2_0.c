/* TQ2_0 on AVX2: blocks of 256 ternary weights, 64 bytes of codes w + 1 and a scale of float16, as ggml has them.
 *
 * Of each half block, byte m holds the weights m, m + 32, m + 64 and m + 96 from the lowest bits up
 * (isa/packings/ggml.py). Activations are blocks as of ggml's Q8_K: a float32 scale, 256 codes, 16 int16 sums of 16
 * codes each. Weights take 66 bytes and activations 292: loads cross the lines of caches, as in the public kernel.
 * A block takes 2 loads of weights, 6 vpsrlw, 8 vpand, 8 vpmaddubsw with their loads, 8 vpaddw, 1 vpsubw, 1 vpmaddwd,
 * 1 vcvtdq2ps, 1 vmulps and 1 vaddps.
 *
 * Exact but for scales: a lane of 16 bits adds 8 products of pairs, -4,096 to 4,064, and subtracts the sum of the
 * activations of another 16, -2,048 to 2,032; lanes of float32 add up integers exactly as long as those stay below 2^24.
 */
#include <immintrin.h>
#include <string.h>

#include "product.h"

enum { BLOCK = 256, STORED_BYTES = 66, CODE_BYTES = 64, HALF = 128, HALF_BYTES = 32, SUMS = 16 };

struct __attribute__((packed)) inputs {
    float scale;
    int8_t codes[BLOCK];
    int16_t sums[SUMS];
};

void tq2_0_prepare(const struct product *product)
{
    struct inputs *block = (struct inputs *)product->prepared;
    const int64_t blocks = product->tokens * product->k / BLOCK;
    for (int64_t index = 0; index < blocks; index++, block++) {
        memcpy(block->codes, product->activations + index * BLOCK, BLOCK);
        block->scale = product->scales[index];
        for (int part = 0; part < SUMS; part++) {
            int16_t sum = 0;
            for (int place = 0; place < SUMS; place++)
                sum += block->codes[SUMS * part + place];
            block->sums[part] = sum;
        }
    }
}

/* The products of half a block, in 16 lanes. */
static inline __attribute__((always_inline)) __m256i half_block(const uint8_t *stored, const int8_t *codes)
{
    const __m256i mask = _mm256_set1_epi8(3);
    const __m256i packed = _mm256_loadu_si256((const __m256i *)stored);
    const __m256i weights[4] = {
        _mm256_and_si256(packed, mask),
        _mm256_and_si256(_mm256_srli_epi16(packed, 2), mask),
        _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask),
        _mm256_and_si256(_mm256_srli_epi16(packed, 6), mask),
    };
    const __m256i *inputs = (const __m256i *)codes;
    const __m256i first = _mm256_maddubs_epi16(weights[0], _mm256_loadu_si256(inputs));
    const __m256i second = _mm256_maddubs_epi16(weights[1], _mm256_loadu_si256(inputs + 1));
    const __m256i third = _mm256_maddubs_epi16(weights[2], _mm256_loadu_si256(inputs + 2));
    const __m256i fourth = _mm256_maddubs_epi16(weights[3], _mm256_loadu_si256(inputs + 3));
    return _mm256_add_epi16(_mm256_add_epi16(first, second), _mm256_add_epi16(third, fourth));
}

static float row_times_token(const uint8_t *stored, const struct inputs *inputs, int64_t blocks)
{
    __m256 total = _mm256_setzero_ps();
    for (int64_t block = 0; block < blocks; block++, stored += STORED_BYTES, inputs++) {
        uint16_t stored_scale;
        memcpy(&stored_scale, stored + CODE_BYTES, sizeof stored_scale);
        const __m256i products = _mm256_add_epi16(half_block(stored, inputs->codes),
                                                  half_block(stored + HALF_BYTES, inputs->codes + HALF));
        const __m256i sums = _mm256_loadu_si256((const __m256i *)inputs->sums);
        const __m256i lanes = _mm256_madd_epi16(_mm256_sub_epi16(products, sums), _mm256_set1_epi16(1));
        const __m256 scale = _mm256_set1_ps(_cvtsh_ss(stored_scale) * inputs->scale);
        total = _mm256_add_ps(total, _mm256_mul_ps(_mm256_cvtepi32_ps(lanes), scale));
    }
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps(total, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    sum = _mm_add_ss(sum, _mm_movehdup_ps(sum));
    return _mm_cvtss_f32(sum);
}

/* Outputs are float32. */
void tq2_0(const struct product *product, int64_t first, int64_t last)
{
    const int64_t blocks = product->k / BLOCK;
    float *outputs = product->outputs;
    for (int64_t token = 0; token < product->tokens; token++) {
        const struct inputs *inputs = (const struct inputs *)product->prepared + token * blocks;
        for (int64_t row = first; row < last; row++) {
            const uint8_t *stored = product->weights + row * blocks * STORED_BYTES;
            outputs[token * product->rows + row] = row_times_token(stored, inputs, blocks);
        }
    }
}
