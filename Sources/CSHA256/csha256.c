// Two messages are taken block by block in turns; what one is longer than the other goes alone.
#include "csha256.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

static const uint32_t rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// The state in the order that the instructions want: a, b, e, f and c, d, g, h.
struct lane {
    __m128i abef, cdgh;
    const uint8_t *next;
};

#define WITH_SHA __attribute__((target("sha,sse4.1,ssse3")))

// `count` blocks of each of `lanes` messages. Inlined with a constant number of lanes, so that all stays in registers.
WITH_SHA __attribute__((always_inline)) static inline void compress(struct lane *lane, int lanes, size_t count) {
    const __m128i bytes = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    for (; count > 0; count--) {
        __m128i abef[2], cdgh[2], words[2][4];
        for (int l = 0; l < lanes; l++) {
            abef[l] = lane[l].abef;
            cdgh[l] = lane[l].cdgh;
            for (int i = 0; i < 4; i++)
                words[l][i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(lane[l].next + 16 * i)), bytes);
            lane[l].next += 64;
        }
#pragma clang loop unroll(full)
        for (int r = 0; r < 16; r++) {
            const __m128i constants = _mm_loadu_si128((const __m128i *)&rounds[4 * r]);
            for (int l = 0; l < lanes; l++) {
                const __m128i word = words[l][r & 3];
                __m128i sum = _mm_add_epi32(word, constants);
                cdgh[l] = _mm_sha256rnds2_epu32(cdgh[l], abef[l], sum);
                sum = _mm_shuffle_epi32(sum, 0x0e);
                abef[l] = _mm_sha256rnds2_epu32(abef[l], cdgh[l], sum);
                if (r >= 12) continue;
                __m128i following = _mm_sha256msg1_epu32(word, words[l][(r + 1) & 3]);
                const __m128i shifted = _mm_alignr_epi8(words[l][(r + 3) & 3], words[l][(r + 2) & 3], 4);
                following = _mm_add_epi32(following, shifted);
                words[l][r & 3] = _mm_sha256msg2_epu32(following, words[l][(r + 3) & 3]);
            }
        }
        for (int l = 0; l < lanes; l++) {
            lane[l].abef = _mm_add_epi32(lane[l].abef, abef[l]);
            lane[l].cdgh = _mm_add_epi32(lane[l].cdgh, cdgh[l]);
        }
    }
}

WITH_SHA static void compress_both(struct lane lane[2], size_t count) { compress(lane, 2, count); }
WITH_SHA static void compress_one(struct lane *lane, size_t count) { compress(lane, 1, count); }

// What is left of a message, the bit that ends it, zeros, and its length in bits. Gives the number of blocks.
static size_t last_blocks(uint8_t blocks[128], const uint8_t *message, size_t size) {
    const size_t left = size % 64;
    const size_t count = left < 56 ? 1 : 2;
    memset(blocks, 0, 128);
    if (left > 0) memcpy(blocks, message + (size - left), left);
    blocks[left] = 0x80;
    const uint64_t bits = (uint64_t)size * 8;
    for (int i = 0; i < 8; i++) blocks[count * 64 - 1 - i] = (uint8_t)(bits >> (8 * i));
    return count;
}

WITH_SHA static void write_digest(uint8_t digest[32], const struct lane *lane) {
    uint32_t low[4], high[4];
    _mm_storeu_si128((__m128i *)low, lane->abef);
    _mm_storeu_si128((__m128i *)high, lane->cdgh);
    const uint32_t state[8] = {low[3], low[2], high[3], high[2], low[1], low[0], high[1], high[0]};
    for (int i = 0; i < 8; i++) {
        const uint32_t word = __builtin_bswap32(state[i]);
        memcpy(digest + 4 * i, &word, 4);
    }
}

// As much as both have in turns, then the rest of the longer one.
static void advance(struct lane lane[2], size_t first, size_t second) {
    const size_t both = first < second ? first : second;
    compress_both(lane, both);
    if (first > both) compress_one(&lane[0], first - both);
    if (second > both) compress_one(&lane[1], second - both);
}

WITH_SHA static void start(struct lane *lane, const uint8_t *message) {
    lane->abef = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
    lane->cdgh = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
    lane->next = message;
}

WITH_SHA void csha256_one(const uint8_t *message, size_t size, uint8_t digest[32]) {
    struct lane lane;
    start(&lane, message);
    compress_one(&lane, size / 64);
    uint8_t end[128];
    const size_t blocks = last_blocks(end, message, size);
    lane.next = end;
    compress_one(&lane, blocks);
    write_digest(digest, &lane);
}

WITH_SHA void csha256_two(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
                          uint8_t first_digest[32], uint8_t second_digest[32]) {
    struct lane lane[2];
    start(&lane[0], first);
    start(&lane[1], second);
    advance(lane, first_size / 64, second_size / 64);
    uint8_t ends[2][128];
    const size_t first_blocks = last_blocks(ends[0], first, first_size);
    const size_t second_blocks = last_blocks(ends[1], second, second_size);
    lane[0].next = ends[0];
    lane[1].next = ends[1];
    advance(lane, first_blocks, second_blocks);
    write_digest(first_digest, &lane[0]);
    write_digest(second_digest, &lane[1]);
}

WITH_SHA static void load(struct lane *lane, const struct csha256_stream *stream, const uint8_t *next) {
    lane->abef = _mm_loadu_si128((const __m128i *)stream->abef);
    lane->cdgh = _mm_loadu_si128((const __m128i *)stream->cdgh);
    lane->next = next;
}

WITH_SHA static void save(struct csha256_stream *stream, const struct lane *lane) {
    _mm_storeu_si128((__m128i *)stream->abef, lane->abef);
    _mm_storeu_si128((__m128i *)stream->cdgh, lane->cdgh);
}

WITH_SHA void csha256_begin(struct csha256_stream *stream) {
    struct lane lane;
    start(&lane, NULL);
    save(stream, &lane);
    stream->size = 0;
}

// What is left of an earlier piece is made a whole block. Gives how many bytes that took.
WITH_SHA static size_t complete_block(struct csha256_stream *stream, const uint8_t *bytes, size_t size) {
    const size_t held = stream->size % 64;
    if (held == 0) return 0;
    const size_t taken = size < 64 - held ? size : 64 - held;
    memcpy(stream->partial + held, bytes, taken);
    stream->size += taken;
    if (held + taken < 64) return taken;
    struct lane lane;
    load(&lane, stream, stream->partial);
    compress_one(&lane, 1);
    save(stream, &lane);
    return taken;
}

// Blocks of the second lane, with as many of the first beside them as that still has.
static void together(struct lane lane[2], size_t *first, size_t second) {
    const size_t both = *first < second ? *first : second;
    compress_both(lane, both);
    *first -= both;
    compress_one(&lane[1], second - both);
}

WITH_SHA void csha256_feed(struct csha256_stream *stream, const uint8_t *bytes, size_t size,
                           const uint8_t *const *messages, const size_t *sizes, size_t count,
                           uint8_t *digests) {
    const size_t taken = size > 0 ? complete_block(stream, bytes, size) : 0;
    const size_t left = size - taken;
    struct lane lane[2];
    load(&lane[0], stream, bytes + taken);
    size_t blocks = left / 64;
    for (size_t i = 0; i < count; i++) {
        start(&lane[1], messages[i]);
        together(lane, &blocks, sizes[i] / 64);
        uint8_t end[128];
        const size_t last = last_blocks(end, messages[i], sizes[i]);
        lane[1].next = end;
        together(lane, &blocks, last);
        write_digest(digests + 32 * i, &lane[1]);
    }
    compress_one(&lane[0], blocks);
    save(stream, &lane[0]);
    stream->size += left;
    if (left % 64 > 0) memcpy(stream->partial, bytes + size - left % 64, left % 64);
}

WITH_SHA void csha256_end(const struct csha256_stream *stream, uint8_t digest[32]) {
    uint8_t end[128], message[64];
    const size_t held = stream->size % 64;
    memcpy(message, stream->partial, held);
    const size_t blocks = last_blocks(end, message, held);
    const uint64_t bits = stream->size * 8;
    for (int i = 0; i < 8; i++) end[blocks * 64 - 1 - i] = (uint8_t)(bits >> (8 * i));
    struct lane lane;
    load(&lane, stream, end);
    compress_one(&lane, blocks);
    write_digest(digest, &lane);
}

int csha256_available(void) {
    unsigned int a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_SHA)) return 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) && (c & bit_SSSE3);
}

#else

int csha256_available(void) { return 0; }

void csha256_one(const uint8_t *message, size_t size, uint8_t digest[32]) { (void)message, (void)size, (void)digest; }

void csha256_two(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
                 uint8_t first_digest[32], uint8_t second_digest[32]) {
    (void)first, (void)first_size, (void)second, (void)second_size, (void)first_digest, (void)second_digest;
}

void csha256_begin(struct csha256_stream *stream) { (void)stream; }

void csha256_feed(struct csha256_stream *stream, const uint8_t *bytes, size_t size, const uint8_t *const *messages,
                  const size_t *sizes, size_t count, uint8_t *digests) {
    (void)stream, (void)bytes, (void)size, (void)messages, (void)sizes, (void)count, (void)digests;
}

void csha256_end(const struct csha256_stream *stream, uint8_t digest[32]) { (void)stream, (void)digest; }

#endif
