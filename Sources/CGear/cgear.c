// Four bytes a turn: the hashes after each of them depend on the one before the turn alone, so that the processor works on
// all four at once. One byte a turn waits for an addition and a shift each time, and takes twice as long.
#include "cgear.h"

// The length at which the hash falls below `bound`, from `*at` on and before `end`; 0 when it does not.
static inline size_t scan(const uint8_t *bytes, size_t *at, size_t end, const uint64_t *gear, uint64_t *hash,
                          uint64_t bound) {
    size_t i = *at;
    uint64_t h = *hash;
    for (; i + 4 <= end; i += 4) {
        const uint64_t one = gear[bytes[i]];
        const uint64_t two = (one << 1) + gear[bytes[i + 1]];
        const uint64_t three = (two << 1) + gear[bytes[i + 2]];
        const uint64_t four = (three << 1) + gear[bytes[i + 3]];
        const uint64_t h1 = (h << 1) + one, h2 = (h << 2) + two, h3 = (h << 3) + three, h4 = (h << 4) + four;
        if ((h1 < bound) | (h2 < bound) | (h3 < bound) | (h4 < bound))
            return i + (h1 < bound ? 1 : h2 < bound ? 2 : h3 < bound ? 3 : 4);
        h = h4;
    }
    for (; i < end; i++) {
        h = (h << 1) + gear[bytes[i]];
        if (h < bound) return i + 1;
    }
    *at = i;
    *hash = h;
    return 0;
}

size_t cgear_cut(const uint8_t *bytes, size_t size, const uint64_t *gear, const struct cgear_limits *limits) {
    if (size <= limits->smallest) return size;
    const size_t end = size < limits->largest ? size : limits->largest;
    const size_t wanted = limits->wanted < end ? limits->wanted : end;
    uint64_t hash = 0;
    // What is older than 64 bytes has been shifted out.
    size_t i = limits->smallest - 64;
    for (; i < limits->smallest; i++) hash = (hash << 1) + gear[bytes[i]];
    const size_t early = scan(bytes, &i, wanted, gear, &hash, limits->rare);
    if (early > 0) return early;
    const size_t late = scan(bytes, &i, end, gear, &hash, limits->frequent);
    return late > 0 ? late : end;
}
