/* TL2 on AVX2: three ternary weights look up the sum of their activations in a table of 14 entries, with a sign apart.
 *
 * Bytes lie as isa/packings/tl.py says: tiles of rows and columns, strips of 32 rows. An entry has 16 bits, kept as two
 * planes of 16 bytes, low and high, so that one vpshufb a plane looks it up for 32 rows; the order of the rows in a
 * byte vector makes vpunpck put the sums in order. A byte vector of indices, 32 rows of two triples, takes 1 load,
 * 1 vpsrlw, 2 vpand, 4 vbroadcasti128, 4 vpshufb, 4 vpunpck, 4 vpsllw and 4 vpsraw of signs, 4 vpaddw and 4 vpxor to
 * negate, and 4 vpaddw to add up. Behind whole tiles stand pairs, which look up 9 entries without a sign.
 *
 * Exact: an entry is a sum of 3 activations, and a lane of 16 bits adds up one tile of at most 192 columns, -24,576 to
 * 24,576, before it is widened. (tile_columns is at most 192, and a multiple of 24.)
 */
#include <immintrin.h>

#include "product.h"

enum { STRIP = 32, TABLE_BYTES = 32, PAIR_COLUMNS = 32, EIGHT_TRIPLES = 24 };

/* The signs of w0, w1, w2 for the entries v = 9 w0 + 3 w1 + w2, 0 to 13; the last two are not looked up. */
static const int16_t TRIPLE_SIGNS[3][16] __attribute__((aligned(32))) = {
    {0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},
    {0, 0, 1, 1, 1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 0, 0},
    {0, 1, -1, 0, 1, -1, 0, 1, -1, 0, 1, -1, 0, 1, 0, 0},
};
/* The same for the entries 3 w0 + w1 + 4 of pairs, 0 to 8. */
static const int16_t PAIR_SIGNS[2][16] __attribute__((aligned(32))) = {
    {-1, -1, -1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0},
    {-1, 0, 1, -1, 0, 1, -1, 0, 1, 0, 0, 0, 0, 0, 0, 0},
};

/* One table: 16 low bytes, then 16 high bytes of the entries, each the signed sum of `inputs` activations. */
static inline __attribute__((always_inline)) void
write_table(const int8_t *activations, int inputs, const int16_t signs[][16], uint8_t *table)
{
    const __m256i planes = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,
                                            0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    __m256i entries = _mm256_setzero_si256();
    for (int input = 0; input < inputs; input++) {
        const __m256i sign = _mm256_load_si256((const __m256i *)signs[input]);
        entries = _mm256_add_epi16(entries, _mm256_sign_epi16(_mm256_set1_epi16(activations[input]), sign));
    }
    const __m256i split = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(entries, planes), 0xd8);
    _mm256_storeu_si256((__m256i *)table, split);
}

static inline int64_t triple_columns(const struct product *product)
{
    return product->k - product->k % product->tile_columns;
}

static inline int64_t bytes_of_tables(const struct product *product)
{
    const int64_t threes = triple_columns(product);
    return (threes / 3 + (product->k - threes) / 2) * TABLE_BYTES;
}

void tl2_prepare(const struct product *product)
{
    const int64_t threes = triple_columns(product), k = product->k;
    for (int64_t token = 0; token < product->tokens; token++) {
        const int8_t *activations = product->activations + token * k;
        uint8_t *table = product->prepared + token * bytes_of_tables(product);
        for (int64_t input = 0; input < threes; input += 3, table += TABLE_BYTES)
            write_table(activations + input, 3, TRIPLE_SIGNS, table);
        for (int64_t input = threes; input < k; input += 2, table += TABLE_BYTES)
            write_table(activations + input, 2, PAIR_SIGNS, table);
    }
}

/* Entries of one table for 32 rows: int16 of the rows 0 to 15 and 16 to 31. */
static inline __attribute__((always_inline)) void look_up(const uint8_t *table, __m256i indices, __m256i entries[2])
{
    const __m128i *planes = (const __m128i *)table;
    const __m256i low = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(planes)), indices);
    const __m256i high = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(planes + 1)), indices);
    entries[0] = _mm256_unpacklo_epi8(low, high);
    entries[1] = _mm256_unpackhi_epi8(low, high);
}

/* Adds the entries of one triple, negated where bit 15 - 2 triple (rows 0 to 15) or the next lower one is set. */
static inline __attribute__((always_inline)) void
add_triple(const uint8_t *table, __m256i indices, __m256i signs, int triple, __m256i sums[2])
{
    __m256i entries[2];
    look_up(table, indices, entries);
    for (int half = 0; half < 2; half++) {
        const __m256i negative = _mm256_srai_epi16(_mm256_slli_epi16(signs, 2 * triple + half), 15);
        const __m256i value = _mm256_xor_si256(_mm256_add_epi16(entries[half], negative), negative);
        sums[half] = _mm256_add_epi16(sums[half], value);
    }
}

static inline __attribute__((always_inline)) void widen_into(int32_t *outputs, const __m256i sums[2])
{
    for (int half = 0; half < 2; half++) {
        const __m128i parts[2] = {_mm256_castsi256_si128(sums[half]), _mm256_extracti128_si256(sums[half], 1)};
        for (int part = 0; part < 2; part++) {
            __m256i *place = (__m256i *)(outputs + 16 * half + 8 * part);
            const __m256i wide = _mm256_cvtepi16_epi32(parts[part]);
            _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), wide));
        }
    }
}

/* A strip of 32 rows times one tile of columns in triples. */
static inline void
triples(const uint8_t *stored, const uint8_t *stored_signs, const uint8_t *table, int64_t columns, int32_t *outputs)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int64_t column = 0; column < columns; column += EIGHT_TRIPLES) {
        const __m256i signs = _mm256_loadu_si256((const __m256i *)stored_signs);
        for (int pair = 0; pair < 4; pair++) {
            const __m256i packed = _mm256_loadu_si256((const __m256i *)(stored + STRIP * pair));
            const __m256i first = _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask);
            const __m256i second = _mm256_and_si256(packed, mask);
            add_triple(table + 2 * pair * TABLE_BYTES, first, signs, 2 * pair, sums);
            add_triple(table + (2 * pair + 1) * TABLE_BYTES, second, signs, 2 * pair + 1, sums);
        }
        stored += 4 * STRIP;
        stored_signs += STRIP;
        table += 8 * TABLE_BYTES;
    }
    widen_into(outputs, sums);
}

/* A strip of 32 rows times 32 columns in pairs. */
static inline void pairs(const uint8_t *stored, const uint8_t *table, int32_t *outputs)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int two = 0; two < PAIR_COLUMNS / 4; two++) {
        const __m256i packed = _mm256_loadu_si256((const __m256i *)(stored + STRIP * two));
        const __m256i indices[2] = {
            _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask),
            _mm256_and_si256(packed, mask),
        };
        for (int pair = 0; pair < 2; pair++) {
            __m256i entries[2];
            look_up(table + (2 * two + pair) * TABLE_BYTES, indices[pair], entries);
            sums[0] = _mm256_add_epi16(sums[0], entries[0]);
            sums[1] = _mm256_add_epi16(sums[1], entries[1]);
        }
    }
    widen_into(outputs, sums);
}

/* One tile of rows times all columns for one token; `row` is its first row. */
static void tile(const struct product *product, int64_t token, int64_t row)
{
    const int64_t k = product->k, rows = product->rows, height = product->tile_rows, width = product->tile_columns;
    const int64_t threes = triple_columns(product), twos = k - threes;
    const uint8_t *stored = product->weights + row * threes / 6;
    const uint8_t *signs = product->weights + rows * threes / 6 + row * threes / 24;
    const uint8_t *stored_pairs = product->weights + rows * threes / 6 + rows * threes / 24 + row * twos / 4;
    const uint8_t *table = product->prepared + token * bytes_of_tables(product);
    int32_t *outputs = (int32_t *)product->outputs + token * rows + row;
    for (int64_t index = 0; index < height; index++)
        outputs[index] = 0;
    for (int64_t column = 0; column < threes; column += width, table += width / 3 * TABLE_BYTES)
        for (int64_t strip = 0; strip < height; strip += STRIP) {
            triples(stored, signs, table, width, outputs + strip);
            stored += STRIP * width / 6;
            signs += STRIP * width / 24;
        }
    for (int64_t column = 0; column < twos; column += PAIR_COLUMNS, table += PAIR_COLUMNS / 2 * TABLE_BYTES)
        for (int64_t strip = 0; strip < height; strip += STRIP) {
            pairs(stored_pairs, table, outputs + strip);
            stored_pairs += STRIP * PAIR_COLUMNS / 4;
        }
}

/* first and last are multiples of tile_rows. */
void tl2(const struct product *product, int64_t first, int64_t last)
{
    for (int64_t row = first; row < last; row += product->tile_rows)
        for (int64_t token = 0; token < product->tokens; token++)
            tile(product, token, row);
}
