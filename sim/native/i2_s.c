/* I2_S on AVX2: 2-bit codes w + 1 of 128 weights in 32 bytes, times signed activations.
 *
 * Byte p of a block holds the weights p, p + 32, p + 64 and p + 96 from the highest bits down (isa/packings/i2_s.py).
 * A block of one row and one token takes 1 load, 3 vpsrlw, 4 vpand, 4 vpmaddubsw (each with its load) and 4 vpaddw.
 *
 * Exact: a lane of 16 bits takes, from each block, 4 products of pairs, each from 2 * 2 * -128 = -512 to 2 * 2 * 127 =
 * 508. Sixteen blocks bring -32,768 to 32,512, which is just what 16 bits hold; then the lanes are widened to 32 bits.
 */
#include <immintrin.h>

#include "product.h"

enum { BLOCK = 128, BLOCK_BYTES = 32, BLOCKS_IN_16_BITS = 16, ROWS = 4, TOKENS = 4, BAND = 32 };

static inline __attribute__((always_inline)) int32_t horizontal_sum(__m256i lanes)
{
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return _mm_cvtsi128_si32(sum);
}

/* The outputs of `rows` rows from `row` on and `tokens` tokens from `token` on; both are constants where it is called,
 * so that all loops over them are unrolled and the sums stay in registers. */
static inline __attribute__((always_inline)) void
tile(const struct product *product, int rows, int tokens, int64_t row, int64_t token)
{
    const __m256i mask = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
    const int64_t k = product->k, blocks = k / BLOCK, row_bytes = k / 4;
    const uint8_t *weights = product->weights + row * row_bytes;
    const int8_t *activations = product->activations + token * k;
    __m256i totals[ROWS][TOKENS];
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < tokens; t++)
            totals[r][t] = _mm256_setzero_si256();

    for (int64_t begin = 0; begin < blocks; begin += BLOCKS_IN_16_BITS) {
        const int64_t end = begin + BLOCKS_IN_16_BITS < blocks ? begin + BLOCKS_IN_16_BITS : blocks;
        __m256i sums[ROWS][TOKENS];
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < tokens; t++)
                sums[r][t] = _mm256_setzero_si256();
        for (int64_t block = begin; block < end; block++) {
            for (int r = 0; r < rows; r++) {
                const uint8_t *stored = weights + r * row_bytes + block * BLOCK_BYTES;
                const __m256i packed = _mm256_loadu_si256((const __m256i *)stored);
                const __m256i codes[4] = {
                    _mm256_and_si256(_mm256_srli_epi16(packed, 6), mask),
                    _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask),
                    _mm256_and_si256(_mm256_srli_epi16(packed, 2), mask),
                    _mm256_and_si256(packed, mask),
                };
                for (int t = 0; t < tokens; t++) {
                    const __m256i *inputs = (const __m256i *)(activations + t * k + block * BLOCK);
                    const __m256i first = _mm256_maddubs_epi16(codes[0], _mm256_loadu_si256(inputs));
                    const __m256i second = _mm256_maddubs_epi16(codes[1], _mm256_loadu_si256(inputs + 1));
                    const __m256i third = _mm256_maddubs_epi16(codes[2], _mm256_loadu_si256(inputs + 2));
                    const __m256i fourth = _mm256_maddubs_epi16(codes[3], _mm256_loadu_si256(inputs + 3));
                    const __m256i left = _mm256_add_epi16(first, second), right = _mm256_add_epi16(third, fourth);
                    sums[r][t] = _mm256_add_epi16(sums[r][t], _mm256_add_epi16(left, right));
                }
            }
        }
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < tokens; t++)
                totals[r][t] = _mm256_add_epi32(totals[r][t], _mm256_madd_epi16(sums[r][t], ones));
    }

    const int32_t *input_sums = (const int32_t *)product->prepared;
    int32_t *outputs = product->outputs;
    for (int t = 0; t < tokens; t++)
        for (int r = 0; r < rows; r++)
            outputs[(token + t) * product->rows + row + r] = horizontal_sum(totals[r][t]) - input_sums[token + t];
}

void i2_s_prepare(const struct product *product)
{
    sum_activations(product);
}

/* One row and one token at a time. */
void i2_s_1x1(const struct product *product, int64_t first, int64_t last)
{
    for (int64_t token = 0; token < product->tokens; token++)
        for (int64_t row = first; row < last; row++)
            tile(product, 1, 1, row, token);
}

/* Four rows at a time, which share the loads of activations: four streams of weights. */
void i2_s_1xn(const struct product *product, int64_t first, int64_t last)
{
    for (int64_t token = 0; token < product->tokens; token++)
        for (int64_t row = first; row < last; row += ROWS)
            tile(product, ROWS, 1, row, token);
}

/* Four tokens at a time, for which a block of weights is unpacked once. The weights of a band of rows stay in the
 * second cache, and the activations of four tokens in the first, while the others pass by. */
void i2_s_nx1(const struct product *product, int64_t first, int64_t last)
{
    for (int64_t band = first; band < last; band += BAND) {
        const int64_t end = band + BAND < last ? band + BAND : last;
        int64_t token = 0;
        for (; token + TOKENS <= product->tokens; token += TOKENS)
            for (int64_t row = band; row < end; row++)
                tile(product, 1, TOKENS, row, token);
        for (; token < product->tokens; token++)
            for (int64_t row = band; row < end; row++)
                tile(product, 1, 1, row, token);
    }
}
