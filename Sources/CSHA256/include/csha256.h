// SHA-256 (FIPS 180-4) of two messages at once on one core, by the x86 SHA extensions.
//
// One message leaves the unit idle most of the time: each round waits for the one before. Two that take turns fill it, at
// about 1.5 times the throughput. For one message a library is as good, and is used.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Whether this processor has what csha256_two needs. Ask once.
int csha256_available(void);

// The digests of two messages of any lengths. Only where csha256_available() says so.
void csha256_two(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
                 uint8_t first_digest[32], uint8_t second_digest[32]);
