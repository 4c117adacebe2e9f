// Where a content is cut: the gear hash of FastCDC (Xia et al., USENIX ATC 2016) with normalized chunking. Specs/store-format.md.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct cgear_limits {
    // No cut before `smallest` bytes; by then at least 64 have to have passed.
    size_t smallest;
    // Before `wanted` bytes cuts are rare, beyond it they are frequent, so that sizes gather around it.
    size_t wanted;
    // A cut at the latest.
    size_t largest;
    // A cut is where the hash is below this: up to `wanted`, and beyond.
    uint64_t rare;
    uint64_t frequent;
};

// The length of the first chunk of `bytes`, at most `size`; `size` when there is no cut in it. `gear` has 256 numbers.
size_t cgear_cut(const uint8_t *bytes, size_t size, const uint64_t *gear, const struct cgear_limits *limits);
