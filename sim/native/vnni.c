/* 2-bit weights on AVX-512 VNNI: unsigned codes times signed activations, four products a lane of 32 bits at once.
 *
 *     weights   (rows / 2, k / 256, 2 rows, 64 bytes)    byte p: the weights p, p + 64, p + 128, p + 192, lowest first
 *
 * A field is masked and not shifted down, so that its products are 1, 4, 16 or 64 times too large; every field has sums
 * of its own, which are shifted once, at the end of a row. A block of 2 rows and one token takes 2 loads of weights and
 * 4 of activations, 8 vpandd and 8 vpdpbusd. Four tokens of a batch share 8 vpandd and 6 vpsrlw.
 *
 * Exact: 256 weights bring a lane at most 4 * 192 * 128 = 98,304, so that 2^20 inputs stay below 2^29.
 */
#include <immintrin.h>

#include "product.h"

enum { BLOCK = 256, ROWS = 2, TOKENS = 4, FIELDS = 4, BLOCK_BYTES = 64, BAND = 32 };

void vnni_prepare(const struct product *product)
{
    sum_activations(product);
}

/* The sums of one row, a vector for each field. */
struct sums {
    __m512i fields[FIELDS];
};

static inline __attribute__((always_inline)) struct sums
add_block(struct sums sums, const uint8_t *stored, const struct sums *masks, const int8_t *activations)
{
    const __m512i packed = _mm512_loadu_si512(stored);
    for (int field = 0; field < FIELDS; field++) {
        const __m512i codes = _mm512_and_si512(packed, masks->fields[field]);
        const __m512i inputs = _mm512_loadu_si512(activations + field * BLOCK_BYTES);
        sums.fields[field] = _mm512_dpbusd_epi32(sums.fields[field], codes, inputs);
    }
    return sums;
}

static inline __attribute__((always_inline)) int32_t total(struct sums sums)
{
    const __m512i low = _mm512_add_epi32(sums.fields[0], _mm512_srai_epi32(sums.fields[1], 2));
    const __m512i high = _mm512_add_epi32(_mm512_srai_epi32(sums.fields[2], 4), _mm512_srai_epi32(sums.fields[3], 6));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
}

static inline void tile(const struct product *product, int64_t token, int64_t row)
{
    const int64_t k = product->k;
    const uint8_t *stored = product->weights + row * k / 4;
    const int8_t *activations = product->activations + token * k;
    const __m512i zero = _mm512_setzero_si512();
    const struct sums masks = {{_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30),
                                _mm512_set1_epi8((char)0xc0)}};
    /* Two names and no array: the eight vectors stay in registers. */
    struct sums first = {{zero, zero, zero, zero}}, second = first;
    for (int64_t block = 0; block < k; block += BLOCK, stored += ROWS * BLOCK_BYTES) {
        first = add_block(first, stored, &masks, activations + block);
        second = add_block(second, stored + BLOCK_BYTES, &masks, activations + block);
    }
    const int32_t offset = (int32_t)product->lowest * ((const int32_t *)product->prepared)[token];
    int32_t *outputs = (int32_t *)product->outputs + token * product->rows + row;
    outputs[0] = total(first) + offset;
    outputs[1] = total(second) + offset;
}

/* Four tokens at once: fields are shifted down, which they share, so that a row and a token have one vector of sums. */
static inline void tile_of_tokens(const struct product *product, int64_t token, int64_t row)
{
    const __m512i mask = _mm512_set1_epi8(3);
    const int64_t k = product->k;
    const uint8_t *stored = product->weights + row * k / 4;
    const int8_t *activations = product->activations + token * k;
    __m512i sums[ROWS][TOKENS];
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < TOKENS; t++)
            sums[r][t] = _mm512_setzero_si512();
    for (int64_t block = 0; block < k; block += BLOCK, stored += ROWS * BLOCK_BYTES) {
        __m512i first = _mm512_loadu_si512(stored), second = _mm512_loadu_si512(stored + BLOCK_BYTES);
        for (int field = 0; field < FIELDS; field++) {
            const __m512i codes[ROWS] = {_mm512_and_si512(first, mask), _mm512_and_si512(second, mask)};
            for (int t = 0; t < TOKENS; t++) {
                const __m512i inputs = _mm512_loadu_si512(activations + t * k + block + field * BLOCK_BYTES);
                for (int r = 0; r < ROWS; r++)
                    sums[r][t] = _mm512_dpbusd_epi32(sums[r][t], codes[r], inputs);
            }
            first = _mm512_srli_epi16(first, 2);
            second = _mm512_srli_epi16(second, 2);
        }
    }
    int32_t *outputs = (int32_t *)product->outputs;
    for (int t = 0; t < TOKENS; t++) {
        const int32_t offset = (int32_t)product->lowest * ((const int32_t *)product->prepared)[token + t];
        for (int r = 0; r < ROWS; r++)
            outputs[(token + t) * product->rows + row + r] = _mm512_reduce_add_epi32(sums[r][t]) + offset;
    }
}

/* first and last are multiples of 2. The weights of a band stay in the second cache while tokens pass by. */
void vnni(const struct product *product, int64_t first, int64_t last)
{
    for (int64_t band = first; band < last; band += BAND) {
        const int64_t end = band + BAND < last ? band + BAND : last;
        int64_t token = 0;
        for (; token + TOKENS <= product->tokens; token += TOKENS)
            for (int64_t row = band; row < end; row += ROWS)
                tile_of_tokens(product, token, row);
        for (; token < product->tokens; token++)
            for (int64_t row = band; row < end; row += ROWS)
                tile(product, token, row);
    }
}
