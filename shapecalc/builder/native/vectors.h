/* Numbers sixteen at a time, in the vectors that gcc and clang have for every processor. */

#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define VECTOR(T) __attribute__((vector_size(LANES * sizeof(T))))

enum { NOWHERE = 255, LANES = 16 };

typedef float Floats VECTOR(float);
typedef int32_t Ints VECTOR(int32_t);
typedef uint32_t Bits VECTOR(uint32_t);
typedef uint16_t Halves VECTOR(uint16_t);
typedef uint8_t Bytes VECTOR(uint8_t);

typedef enum { FLOAT, BFLOAT16 } Type;

INLINE Floats choose(Ints which, Floats yes, Floats no) {
    return (Floats)((which & (Ints)yes) | (~which & (Ints)no));
}

/* The next `count` numbers; those behind them are zero. */
INLINE Floats get(const void *numbers, int64_t at, int count, Type type) {
    if (type == FLOAT) {
        Floats found = {0};
        memcpy(&found, (const float *)numbers + at, count * sizeof(float));
        return found;
    }
    Halves found = {0};
    memcpy(&found, (const uint16_t *)numbers + at, count * sizeof(uint16_t));
    return (Floats)(__builtin_convertvector(found, Bits) << 16);
}

INLINE void put(void *numbers, int64_t at, Floats found, int count, Type type) {
    if (type == FLOAT) {
        memcpy((float *)numbers + at, &found, count * sizeof(float));
        return;
    }
    Bits bits = (Bits)found, nan = (Bits)(found != found);
    Bits rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16; /* to even */
    Halves halves = __builtin_convertvector((nan & 0x7fc0) | (~nan & rounded), Halves);
    memcpy((uint16_t *)numbers + at, &halves, count * sizeof(uint16_t));
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
