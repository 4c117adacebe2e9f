// One addition, one shift and one comparison a byte, which the compiler of C turns into just that in every configuration.
#include "cgear.h"

size_t cgear_cut(const uint8_t *bytes, size_t size, const uint64_t *gear, const struct cgear_limits *limits) {
    if (size <= limits->smallest) return size;
    const size_t end = size < limits->largest ? size : limits->largest;
    const size_t wanted = limits->wanted < end ? limits->wanted : end;
    uint64_t hash = 0;
    // What is older than 64 bytes has been shifted out.
    size_t i = limits->smallest - 64;
    for (; i < limits->smallest; i++) hash = (hash << 1) + gear[bytes[i]];
    for (; i < wanted; i++) {
        hash = (hash << 1) + gear[bytes[i]];
        if (hash < limits->rare) return i + 1;
    }
    for (; i < end; i++) {
        hash = (hash << 1) + gear[bytes[i]];
        if (hash < limits->frequent) return i + 1;
    }
    return end;
}
