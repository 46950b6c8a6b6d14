/* The first convolution of a network with the max_pool behind it, of channels_last images: bias and
 * relu are added to what is pooled. What the convolution gives never leaves the cache. Kept is one
 * byte for each number of the output, which says which pixel was the largest. Backward makes the
 * gradients of the weight and the bias; images need none.
 *
 * For the matrix unit (AMX), in bf16 with sums in fp32. Few channels leave most of its tiles empty
 * when it takes pixels one by one: here a row of a tile is the next 32 numbers of a line of the
 * image, which is a line of the kernel and more, and meets weights of zero. */

#include "vectors.h"

#ifdef __AMX_BF16__

#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SIDE = 16,               /* rows of a tile */
    DEEP = 32,               /* numbers of bf16 in one */
    TILE = SIDE * DEEP,
    BLOCK = 2 * SIDE,        /* pixels that are convolved at once */
    BAND = 8,                /* pooled lines that a thread makes at once */
    SUMS = 6,                /* tiles of sums at once, besides one of pixels and one of gradients */
    ASK = 0x1023, DATA = 18, /* ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA of Linux */
};

typedef uint16_t Half;
typedef uint32_t Pair; /* two numbers in bf16, the first one low */

/* The height of `pool` and `kernel` comes first. A window of the pool is an even number wide. */
typedef struct {
    int64_t images, channels, height, width, out_channels, out_height, out_width;
    int64_t kernel[2], padding[2], pool[2];
    int64_t relu, bytes; /* whether pixels are bytes, and not bf16 */
} Stem;

/* Whether the matrix unit is there for this process: Linux wants to be asked for it. */
int stem_ready(void) { return syscall(SYS_arch_prctl, ASK, DATA) == 0; }

/* Sets up tiles with rows of 64 bytes: the first `some` with so many `rows`, the others with 16. */
static void configure(int some, int rows) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        tiles.bytes[i] = 64;
        tiles.rows[i] = i < some ? rows : SIDE;
    }
    _tile_loadconfig(&tiles);
}

INLINE int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

/* Tiles that a line of the kernel takes. */
INLINE int64_t tiles_deep(const Stem *s) { return parts(s->kernel[1] * s->channels, DEEP); }

/* Lines of an image that a band is made of. */
INLINE int64_t lines_of(const Stem *s, int64_t rows) {
    return rows * s->pool[0] + s->kernel[0] - 1;
}

static void *room(int64_t count, size_t size) {
    void *found = aligned_alloc(64, parts(count * size, 64) * 64);
    if (found) memset(found, 0, count * size);
    return found;
}

/* A line of an image behind its padding, in bf16, which holds bytes exactly. */
INLINE void fetch(const Stem *s, const void *x, int64_t image, int64_t y, Half *to) {
    int64_t size = s->width * s->channels, at = (image * s->height + y) * size;
    to += s->padding[1] * s->channels;
    if (y < 0 || y >= s->height)
        memset(to, 0, size * sizeof(Half));
    else if (s->bytes)
        for (int64_t i = 0; i < size; i++) {
            float number = ((const uint8_t *)x)[at + i];
            uint32_t bits;
            memcpy(&bits, &number, sizeof bits);
            to[i] = bits >> 16;
        }
    else
        memcpy(to, (const Half *)x + at, size * sizeof(Half));
}

/* [out, in, kh, kw] to [out / 16, kh, tiles of a line, 16 pairs of its numbers, 16 of out, 2]. */
static void pack(const Stem *s, const float *weight, Half *packed) {
    int64_t high = s->kernel[0], wide = s->kernel[1];
    for (int64_t o = 0; o < s->out_channels; o++)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t i = 0; i < high; i++)
                for (int64_t j = 0; j < wide; j++, weight++) {
                    int64_t k = j * s->channels + c;
                    int64_t tile = (o / SIDE * high + i) * tiles_deep(s) + k / DEEP;
                    int64_t at = k % DEEP / 2 * BLOCK + o % SIDE * 2 + k % 2;
                    put(packed + tile * TILE, at, (Floats){*weight}, 1, BFLOAT16);
                }
}

/* Lines of 32 pixels, each of which gets a row of a tile to itself. */
INLINE void lay_out(const Stem *s, const Half *band, int64_t across, int64_t lines, Half *rows) {
    for (int64_t l = 0; l < lines; l++, band += across)
        for (int64_t k = 0; k < tiles_deep(s); k++)
            for (int64_t z = 0; z < BLOCK; z++, rows += DEEP)
                memcpy(rows, band + z * s->channels + k * DEEP, DEEP * sizeof(Half));
}

/* [32 pixels, 16 channels] of a line. */
INLINE void convolve(const Stem *s, const Half *rows, const Half *weights, float *sums) {
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t n = s->kernel[0] * tiles_deep(s); n; n--, weights += TILE, rows += 2 * TILE) {
        _tile_loadd(4, weights, 64);
        _tile_loadd(2, rows, 64);
        _tile_dpbf16ps(0, 2, 4);
        _tile_loadd(3, rows + TILE, 64);
        _tile_dpbf16ps(1, 3, 4);
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + SIDE * SIDE, 64);
}

INLINE void pool_sums(const Stem *s, const float *sums, Floats bias, Half *out, uint8_t *where) {
    Floats best = get(sums, 0, LANES, FLOAT);
    Ints place = {0};
    for (int64_t n = 1; n < s->pool[0] * s->pool[1]; n++) {
        int64_t pixel = n / s->pool[1] * BLOCK + n % s->pool[1];
        Floats found = get(sums, pixel * SIDE, LANES, FLOAT);
        Ints larger = (found > best) | (found != found); /* NaN stays */
        best = choose(larger, found, best);
        place = (larger & (int32_t)n) | (~larger & place);
    }
    best += bias;
    if (s->relu) {
        Ints dead = best <= 0;
        best = choose(~dead, best, (Floats){0});
        place |= dead; /* which are ones, as NOWHERE is */
    }
    put(out, 0, best, LANES, BFLOAT16);
    Bytes bytes = __builtin_convertvector(place, Bytes);
    if (where) memcpy(where, &bytes, LANES);
}

INLINE void forward(const Stem *s, const void *x, const float *weight, const float *bias, Half *out,
                    uint8_t *where) {
    int64_t high = s->kernel[0], deep = tiles_deep(s), blocks = s->out_channels / SIDE;
    int64_t bands = parts(s->out_height, BAND), windows = BLOCK / s->pool[1];
    int64_t across = (s->width + 2 * s->padding[1] + BLOCK) * s->channels + deep * DEEP;
    Half *packed = room(blocks * high * deep * TILE, sizeof(Half));
    pack(s, weight, packed);
#pragma omp parallel
    {
        Half *band = room(lines_of(s, BAND) * across, sizeof(Half));
        Half *rows = room(lines_of(s, BAND) * deep * BLOCK * DEEP, sizeof(Half));
        float *sums = room(s->pool[0] * BLOCK * SIDE, sizeof(float));
        configure(0, 0);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < s->images * bands; task++) {
            int64_t image = task / bands, first = task % bands * BAND;
            int64_t count = least(BAND, s->out_height - first), lines = lines_of(s, count);
            for (int64_t l = 0; l < lines; l++)
                fetch(s, x, image, first * s->pool[0] - s->padding[0] + l, band + l * across);
            for (int64_t w = 0; w < s->out_width; w += windows) {
                lay_out(s, band + w * s->pool[1] * s->channels, across, lines, rows);
                for (int64_t n = 0; n < count * blocks; n++) {
                    int64_t row = n / blocks, channel = n % blocks * SIDE;
                    const Half *line = rows + row * s->pool[0] * deep * 2 * TILE;
                    const Half *weights = packed + channel / SIDE * high * deep * TILE;
                    for (int64_t i = 0; i < s->pool[0]; i++)
                        convolve(s, line + i * deep * 2 * TILE, weights, sums + i * BLOCK * SIDE);
                    Floats shift = bias ? get(bias, channel, LANES, FLOAT) : (Floats){0};
                    int64_t window = (image * s->out_height + first + row) * s->out_width + w;
                    int64_t at = window * s->out_channels + channel;
                    int64_t last = least(windows, s->out_width - w);
                    for (int64_t v = 0; v < last; v++, at += s->out_channels)
                        pool_sums(s, sums + v * s->pool[1] * SIDE, shift, out + at,
                                  where ? where + at : NULL);
                }
            }
        }
        _tile_release();
        free(band);
        free(rows);
        free(sums);
    }
    free(packed);
}

/* Gradients of the lines under a pooled line, of 16 channels, each with that of the next pixel. */
INLINE void spread(const Stem *s, const Half *grad, const uint8_t *where, int64_t pairs,
                   Pair *lines, Floats *sum) {
    for (int64_t w = 0; w < s->out_width; w++, grad += s->out_channels, where += s->out_channels) {
        Bits found = (Bits)get(grad, 0, LANES, BFLOAT16);
        Bytes bytes;
        memcpy(&bytes, where, LANES);
        Ints place = __builtin_convertvector(bytes, Ints);
        *sum += (Floats)(found & (Bits)(place != NOWHERE));
        for (int64_t n = 0; n < s->pool[0] * s->pool[1]; n += 2) {
            Bits pair = (found >> 16 & (Bits)(place == (int32_t)n)) |
                        (found & (Bits)(place == (int32_t)n + 1));
            int64_t pixel = w * s->pool[1] + n % s->pool[1];
            memcpy(lines + (n / s->pool[1] * pairs + pixel / 2) * SIDE, &pair, sizeof pair);
        }
    }
}

/* Adds to [lines of the kernel, kw, 16] products of gradients with the pixels of a channel. */
INLINE void correlate(const Half *plane, int64_t across, const Pair *grads, int64_t pairs,
                      int64_t count, float *sums, int64_t size) {
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define LOAD(n) if (n < count) _tile_loadd(n, sums + n * size, 64);
#define STORE(n) if (n < count) _tile_stored(n, sums + n * size, 64);
#define ADD(n)                                            \
    if (n < count) {                                      \
        _tile_loadd(6, plane + n * across, sizeof(Half)); \
        _tile_dpbf16ps(n, 6, 7);                          \
    }
    EACH(LOAD)
    for (int64_t pair = 0; pair < pairs; pair += SIDE, plane += DEEP) {
        _tile_loadd(7, grads + pair * SIDE, 64);
        EACH(ADD)
    }
    EACH(STORE)
}

/* The same for all lines of the kernel, as many at once as there are tiles. */
INLINE void correlate_all(const Stem *s, const Half *plane, int64_t across, const Pair *grads,
                          int64_t pairs, float *sums) {
    int64_t size = s->kernel[1] * SIDE, left = s->kernel[0];
    for (; left >= SUMS; left -= SUMS, plane += SUMS * across, sums += SUMS * size)
        correlate(plane, across, grads, pairs, SUMS, sums, size);
    switch (left) {
    case 1: correlate(plane, across, grads, pairs, 1, sums, size); break;
    case 2: correlate(plane, across, grads, pairs, 2, sums, size); break;
    case 3: correlate(plane, across, grads, pairs, 3, sums, size); break;
    case 4: correlate(plane, across, grads, pairs, 4, sums, size); break;
    case 5: correlate(plane, across, grads, pairs, 5, sums, size); break;
    }
}

/* [width, channels] to [channels, width], a line of each `apart` from that of the next. */
INLINE void separate(const Half *line, int64_t width, int64_t channels, int64_t apart, Half *to) {
    for (int64_t z = 0; z < width; z++)
        for (int64_t c = 0; c < channels; c++) to[c * apart + z] = line[z * channels + c];
}

INLINE void backward(const Stem *s, const void *x, const Half *grad, const uint8_t *where,
                     float *weight, float *bias) {
    int64_t high = s->kernel[0], wide = s->kernel[1], channels = s->channels;
    int64_t blocks = s->out_channels / SIDE, bands = parts(s->out_height, BAND);
    int64_t width = s->width + 2 * s->padding[1], across = width + BLOCK + wide;
    int64_t pairs = parts(s->out_width * s->pool[1], BLOCK) * SIDE;
    int64_t size = wide * SIDE, numbers = blocks * channels * high * size;
    int64_t all = numbers + s->out_channels, threads = omp_get_max_threads();
    double *totals = room(threads * all, sizeof(double));
#pragma omp parallel
    {
        int64_t apart = lines_of(s, BAND) * across;
        Half *line = room(width * channels, sizeof(Half));
        Half *planes = room(channels * apart, sizeof(Half));
        Pair *grads = room(s->pool[0] * pairs * SIDE, sizeof(Pair));
        float *sums = room(numbers, sizeof(float));
        double *total = totals + omp_get_thread_num() * all;
        configure(SUMS + 1, wide);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < s->images * bands; task++) {
            int64_t image = task / bands, first = task % bands * BAND;
            int64_t count = least(BAND, s->out_height - first);
            for (int64_t l = 0; l < lines_of(s, count); l++) {
                fetch(s, x, image, first * s->pool[0] - s->padding[0] + l, line);
                if (channels == 3)
                    separate(line, width, 3, apart, planes + l * across);
                else
                    separate(line, width, channels, apart, planes + l * across);
            }
            memset(sums, 0, numbers * sizeof(float));
            for (int64_t block = 0; block < blocks; block++) {
                Floats shift = {0};
                for (int64_t row = 0; row < count; row++) {
                    int64_t window = (image * s->out_height + first + row) * s->out_width;
                    int64_t at = window * s->out_channels + block * SIDE;
                    spread(s, grad + at, where + at, pairs, grads, &shift);
                    for (int64_t n = 0; n < channels * s->pool[0]; n++) {
                        int64_t c = n / s->pool[0], i = n % s->pool[0];
                        const Half *plane = planes + c * apart + (row * s->pool[0] + i) * across;
                        const Pair *some = grads + i * pairs * SIDE;
                        float *to = sums + (block * channels + c) * high * size;
                        correlate_all(s, plane, across, some, pairs, to);
                    }
                }
                for (int i = 0; i < SIDE; i++) total[numbers + block * SIDE + i] += shift[i];
            }
            for (int64_t i = 0; i < numbers; i++) total[i] += sums[i];
        }
        _tile_release();
        free(line);
        free(planes);
        free(grads);
        free(sums);
    }
    for (int64_t t = 1; t < threads; t++)
        for (int64_t i = 0; i < all; i++) totals[i] += totals[t * all + i];
    for (int64_t o = 0; o < s->out_channels; o++) {
        bias[o] = totals[numbers + o];
        for (int64_t n = 0; n < channels * high * wide; n++) {
            int64_t at = o / SIDE * channels * high * wide + n;
            *weight++ = totals[at * SIDE + o % SIDE];
        }
    }
    free(totals);
}

/* Made anew for windows of 2x2, which are by far the most, so that their loops unroll. */
INLINE Stem with_pool(const Stem *s, int64_t side) {
    Stem known = *s;
    known.pool[0] = known.pool[1] = side;
    return known;
}

INLINE int pools(const Stem *s, int64_t side) { return s->pool[0] == side && s->pool[1] == side; }

void stem_forward(const Stem *s, const void *x, const float *weight, const float *bias, Half *out,
                  uint8_t *where) {
    Stem two = with_pool(s, 2);
    if (pools(s, 2))
        forward(&two, x, weight, bias, out, where);
    else
        forward(s, x, weight, bias, out, where);
}

void stem_backward(const Stem *s, const void *x, const Half *grad, const uint8_t *where,
                   float *weight, float *bias) {
    Stem two = with_pool(s, 2);
    if (pools(s, 2))
        backward(&two, x, grad, where, weight, bias);
    else
        backward(s, x, grad, where, weight, bias);
}

#endif
