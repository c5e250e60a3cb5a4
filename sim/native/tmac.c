/* T-MAC on AVX2, 2 bits: two planes of signs, four of which look up the sum of four activations in a table of 16.
 *
 *     2 w = s0 + 2 s1 - 1,   s in {-1, +1} the bits of w + 2          outputs: s0 sums + 2 (s1 sums), int32
 *
 * Entries have 8 bits under one scale for all inputs of a token, the largest sum of four magnitudes over 127, rounded
 * to nearest, ties to even. Bit i of an entry's number is the sign of activation i, 1 for +; entry 15 - g is the
 * negative of entry g.
 *
 *     weights   (rows / 32, k / 4, 2 planes, 16 bytes)       byte r: row r in the low nibble, row r + 16 in the high
 *     prepared  int8 [tokens, k / 4, 16], then float32 scales [tokens], then int32 sums of activations [tokens]
 *
 * Four weights of 32 rows in one plane take 1 load, 2 vpand, 1 vpsrlw, 1 vinserti128, 1 vbroadcasti128, 1 vpshufb,
 * 1 vextracti128, 2 vpmovsxbw and 2 vpaddw: sums of entries are exact.
 *
 * Exact: 256 entries of at most 127 are at most 32,512; then the lanes of 16 bits are widened to 32.
 */
#include <immintrin.h>
#include <stdlib.h>

#include "product.h"

enum { STRIP = 32, GROUP = 4, ENTRIES = 16, GROUPS_IN_16_BITS = 256, GROUP_BYTES = 32 };

static inline float *scales_of(const struct product *product)
{
    return (float *)(product->prepared + product->tokens * product->k / GROUP * ENTRIES);
}

static float scale_of(const int8_t *activations, int64_t k)
{
    int32_t largest = 0;
    for (int64_t input = 0; input < k; input += GROUP) {
        int32_t sum = 0;
        for (int64_t place = 0; place < GROUP; place++)
            sum += abs(activations[input + place]);
        largest = sum > largest ? sum : largest;
    }
    return (float)largest / 127.0f;
}

/* The 16 exact sums of a group of four activations, rounded to 8 bits. */
static inline void write_table(const int8_t *activations, __m256 inverse, int8_t *table)
{
    const __m256i signs[4] = {
        /* Entries 0 to 7 and 8 to 15 differ in the sign of the last activation alone. */
        _mm256_setr_epi32(-1, 1, -1, 1, -1, 1, -1, 1),
        _mm256_setr_epi32(-1, -1, 1, 1, -1, -1, 1, 1),
        _mm256_setr_epi32(-1, -1, -1, -1, 1, 1, 1, 1),
    };
    __m256i sums = _mm256_setzero_si256();
    for (int place = 0; place < 3; place++)
        sums = _mm256_add_epi32(sums, _mm256_sign_epi32(_mm256_set1_epi32(activations[place]), signs[place]));
    const __m256i last = _mm256_set1_epi32(activations[3]);
    const __m256 low = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, last));
    const __m256 high = _mm256_cvtepi32_ps(_mm256_add_epi32(sums, last));
    const __m256i entries = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(low, inverse)),
                                               _mm256_cvtps_epi32(_mm256_mul_ps(high, inverse)));
    const __m256i ordered = _mm256_permute4x64_epi64(entries, 0xd8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128((__m128i *)table, bytes);
}

void tmac_prepare(const struct product *product)
{
    float *scales = scales_of(product);
    int32_t *sums = (int32_t *)(scales + product->tokens);
    int8_t *table = (int8_t *)product->prepared;
    for (int64_t token = 0; token < product->tokens; token++) {
        const int8_t *activations = product->activations + token * product->k;
        const float scale = scale_of(activations, product->k);
        const __m256 inverse = _mm256_set1_ps(scale > 0.0f ? 1.0f / scale : 0.0f);
        int32_t sum = 0;
        for (int64_t input = 0; input < product->k; input += GROUP, table += ENTRIES)
            write_table(activations + input, inverse, table);
        for (int64_t input = 0; input < product->k; input++)
            sum += activations[input];
        scales[token] = scale;
        sums[token] = sum;
    }
}

/* Adds what 32 rows look up with one plane of four weights. */
static inline __attribute__((always_inline)) void add_group(const uint8_t *stored, __m256i table, __m256i sums[2])
{
    const __m128i mask = _mm_set1_epi8(15);
    const __m128i packed = _mm_loadu_si128((const __m128i *)stored);
    const __m128i low = _mm_and_si128(packed, mask), high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
    const __m256i entries = _mm256_shuffle_epi8(table, _mm256_set_m128i(high, low));
    sums[0] = _mm256_add_epi16(sums[0], _mm256_cvtepi8_epi16(_mm256_castsi256_si128(entries)));
    sums[1] = _mm256_add_epi16(sums[1], _mm256_cvtepi8_epi16(_mm256_extracti128_si256(entries, 1)));
}

/* 8 sums of the first plane and of the second, worth twice as much, added to 8 outputs. */
static inline __attribute__((always_inline)) void widen_into(int32_t *outputs, __m128i first, __m128i second)
{
    const __m256i worth = _mm256_slli_epi32(_mm256_cvtepi16_epi32(second), 1);
    const __m256i sum = _mm256_add_epi32(_mm256_cvtepi16_epi32(first), worth);
    const __m256i before = _mm256_loadu_si256((const __m256i *)outputs);
    _mm256_storeu_si256((__m256i *)outputs, _mm256_add_epi32(before, sum));
}

static void strip(const struct product *product, int64_t token, int64_t row)
{
    const int64_t groups = product->k / GROUP;
    const uint8_t *stored = product->weights + row * product->k / 4;
    const uint8_t *tables = product->prepared + token * groups * ENTRIES;
    int32_t *outputs = (int32_t *)product->outputs + token * product->rows + row;
    for (int64_t index = 0; index < STRIP; index++)
        outputs[index] = 0;
    for (int64_t begin = 0; begin < groups; begin += GROUPS_IN_16_BITS) {
        const int64_t end = begin + GROUPS_IN_16_BITS < groups ? begin + GROUPS_IN_16_BITS : groups;
        __m256i first[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        __m256i second[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (int64_t group = begin; group < end; group++, stored += GROUP_BYTES) {
            const __m128i entries = _mm_loadu_si128((const __m128i *)(tables + group * ENTRIES));
            const __m256i table = _mm256_broadcastsi128_si256(entries);
            add_group(stored, table, first);
            add_group(stored + GROUP_BYTES / 2, table, second);
        }
        for (int half = 0; half < 2; half++) {
            widen_into(outputs + 16 * half, _mm256_castsi256_si128(first[half]), _mm256_castsi256_si128(second[half]));
            widen_into(outputs + 16 * half + 8, _mm256_extracti128_si256(first[half], 1),
                       _mm256_extracti128_si256(second[half], 1));
        }
    }
}

/* first and last are multiples of 32. */
void tmac(const struct product *product, int64_t first, int64_t last)
{
    for (int64_t row = first; row < last; row += STRIP)
        for (int64_t token = 0; token < product->tokens; token++)
            strip(product, token, row);
}
