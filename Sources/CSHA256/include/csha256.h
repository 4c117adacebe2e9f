// SHA-256 (FIPS 180-4) of two messages at once on one core, by the x86 SHA extensions.
//
// One message leaves the unit idle most of the time: each round waits for the one before. Two that take turns fill it, at
// about 1.5 times the throughput. For one long message a library is as good, and is used.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Whether this processor has what csha256_two needs. Ask once.
int csha256_available(void);

// The digest of one message: what a library spends on setting up counts for a short one. Only where csha256_available() says so.
void csha256_one(const uint8_t *message, size_t size, uint8_t digest[32]);

// The digests of two messages of any lengths. Only where csha256_available() says so.
void csha256_two(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
                 uint8_t first_digest[32], uint8_t second_digest[32]);

// The digest of a message that comes in pieces, while parts of it are named as well.
struct csha256_stream {
    uint32_t abef[4], cdgh[4];
    uint64_t size;
    uint8_t partial[64];
};

void csha256_begin(struct csha256_stream *stream);

// Feeds `bytes` to the stream and gives the digests of `count` messages, 32 bytes each, by turns between the stream and one of them.
void csha256_feed(struct csha256_stream *stream, const uint8_t *bytes, size_t size, const uint8_t *const *messages,
                  const size_t *sizes, size_t count, uint8_t *digests);

// The digest of what was fed so far; more can follow.
void csha256_end(const struct csha256_stream *stream, uint8_t digest[32]);
