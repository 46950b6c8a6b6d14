/* max_pool of channels_last images that keeps one byte for each number of its output: which pixel of
 * the window was the largest. With `relu` what is not above zero becomes zero, and keeps NOWHERE. */

#include "vectors.h"

typedef struct {
    int64_t images, height, width, channels, out_height, out_width;
    int64_t kernel[2], stride[2], padding[2], dilation[2];
    int64_t relu;
} Window;

/* The elements of the kernel, along an axis, that meet pixels and not padding. */
typedef struct {
    int64_t first, end;
} Span;

INLINE Span met(const Window *w, int axis, int64_t start, int64_t pixels) {
    int64_t step = w->dilation[axis], end = (pixels - start + step - 1) / step;
    return (Span){start < 0 ? (-start + step - 1) / step : 0, least(end, w->kernel[axis])};
}

INLINE void pool_channels(const Window *w, const void *x, int64_t pixel, Span down, Span along,
                          void *out, uint8_t *where, int64_t to, int64_t channel, int count,
                          Type type) {
    Floats best = {0};
    Ints place = {0};
    place -= 1;
    for (int64_t i = down.first; i < down.end; i++)
        for (int64_t j = along.first; j < along.end; j++) {
            int64_t from = pixel + i * w->dilation[0] * w->width + j * w->dilation[1];
            Floats found = get(x, from * w->channels + channel, count, type);
            Ints larger = (found > best) | (found != found) | (place < 0); /* NaN stays */
            best = choose(larger, found, best);
            place = (larger & (int32_t)(i * w->kernel[1] + j)) | (~larger & place);
        }
    if (w->relu) {
        Ints dead = best <= 0;
        best = choose(~dead, best, (Floats){0});
        place |= dead; /* which are ones, as NOWHERE is */
    }
    put(out, to + channel, best, count, type);
    Bytes bytes = __builtin_convertvector(place, Bytes);
    if (where) memcpy(where + to + channel, &bytes, count);
}

/* Where each pixel lies in one window at most, each gradient is put where it belongs. */
INLINE void scatter_channels(const Window *w, const void *grad, const uint8_t *where, int64_t at,
                             Span down, Span along, int64_t pixel, void *out, int64_t channel,
                             int count, Type type) {
    Floats found = get(grad, at + channel, count, type);
    Bytes bytes = {0};
    memcpy(&bytes, where + at + channel, count);
    Ints place = __builtin_convertvector(bytes, Ints);
    for (int64_t i = down.first; i < down.end; i++)
        for (int64_t j = along.first; j < along.end; j++) {
            Ints here = place == (int32_t)(i * w->kernel[1] + j);
            int64_t to = (pixel + i * w->width + j) * w->channels + channel;
            put(out, to, (Floats)(here & (Ints)found), count, type);
        }
}

/* All windows: each pooled from `from` into `to`, or with `back` the gradient of each brought there. */
INLINE void windows(const Window *w, const void *from, void *to, uint8_t *where, int back,
                    Type type) {
    int64_t rows = w->images * w->out_height, channels = w->channels;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        int64_t image = row / w->out_height;
        int64_t top = row % w->out_height * w->stride[0] - w->padding[0];
        Span down = met(w, 0, top, w->height);
        for (int64_t column = 0; column < w->out_width; column++) {
            int64_t left = column * w->stride[1] - w->padding[1];
            Span along = {0, w->kernel[1]};
            if (left < 0 || left + (w->kernel[1] - 1) * w->dilation[1] >= w->width)
                along = met(w, 1, left, w->width);
            int64_t pixel = (image * w->height + top) * w->width + left;
            int64_t at = (row * w->out_width + column) * channels;
            for (int64_t c = 0; c < channels; c += LANES) {
                int count = channels - c < LANES ? channels - c : LANES;
                if (back && count == LANES)
                    scatter_channels(w, from, where, at, down, along, pixel, to, c, LANES, type);
                else if (back)
                    scatter_channels(w, from, where, at, down, along, pixel, to, c, count, type);
                else if (count == LANES)
                    pool_channels(w, from, pixel, down, along, to, where, at, c, LANES, type);
                else
                    pool_channels(w, from, pixel, down, along, to, where, at, c, count, type);
            }
        }
    }
}

/* The windows along an axis that a pixel lies in. */
INLINE Span around(const Window *w, int axis, int64_t pixel, int64_t windows) {
    int64_t at = pixel + w->padding[axis], stride = w->stride[axis];
    int64_t before = at - (w->kernel[axis] - 1) * w->dilation[axis];
    int64_t first = before <= 0 ? 0 : (before + stride - 1) / stride;
    return (Span){first, least(at / stride + 1, windows)};
}

INLINE void gather_channels(const Window *w, const void *grad, const uint8_t *where, int64_t image,
                            int64_t y, int64_t z, Span down, Span along, void *out, int64_t to,
                            int64_t channel, int count, Type type) {
    Floats sum = {0};
    for (int64_t row = down.first; row < down.end; row++) {
        int64_t i = y + w->padding[0] - row * w->stride[0];
        if (w->dilation[0] > 1) {
            if (i % w->dilation[0]) continue;
            i /= w->dilation[0];
        }
        for (int64_t column = along.first; column < along.end; column++) {
            int64_t j = z + w->padding[1] - column * w->stride[1];
            if (w->dilation[1] > 1) {
                if (j % w->dilation[1]) continue;
                j /= w->dilation[1];
            }
            int64_t window = (image * w->out_height + row) * w->out_width + column;
            int64_t at = window * w->channels + channel;
            Bytes place = {0};
            memcpy(&place, where + at, count);
            Ints here = __builtin_convertvector(place, Ints) == (int32_t)(i * w->kernel[1] + j);
            sum += (Floats)(here & (Ints)get(grad, at, count, type));
        }
    }
    put(out, to + channel, sum, count, type);
}

INLINE void pool_back(const Window *w, const void *grad, const uint8_t *where, void *out,
                      Type type) {
    int apart = 1, covered = 1;
    for (int axis = 0; axis < 2; axis++) {
        int64_t pixels = axis ? w->width : w->height, count = axis ? w->out_width : w->out_height;
        apart &= w->dilation[axis] == 1 && w->stride[axis] >= w->kernel[axis];
        covered &= w->stride[axis] == w->kernel[axis] &&
                   count * w->stride[axis] >= pixels + w->padding[axis];
    }
    if (apart) {
        int64_t numbers = w->images * w->height * w->width * w->channels;
        if (!covered) memset(out, 0, numbers * (type == FLOAT ? sizeof(float) : sizeof(uint16_t)));
        windows(w, grad, out, (uint8_t *)where, 1, type);
        return;
    }
    int64_t rows = w->images * w->height, channels = w->channels;
    Span *along = malloc(w->width * sizeof(Span));
    for (int64_t z = 0; z < w->width; z++) along[z] = around(w, 1, z, w->out_width);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        int64_t image = row / w->height, y = row % w->height;
        Span down = around(w, 0, y, w->out_height);
        for (int64_t z = 0; z < w->width; z++) {
            int64_t to = (row * w->width + z) * channels, c = 0;
            for (; c + LANES <= channels; c += LANES)
                gather_channels(w, grad, where, image, y, z, down, along[z], out, to, c, LANES, type);
            if (c < channels)
                gather_channels(w, grad, where, image, y, z, down, along[z], out, to, c,
                                channels - c, type);
        }
    }
    free(along);
}

void pool_float32(const Window *w, const void *x, void *out, uint8_t *where) {
    windows(w, x, out, where, 0, FLOAT);
}

void pool_bfloat16(const Window *w, const void *x, void *out, uint8_t *where) {
    windows(w, x, out, where, 0, BFLOAT16);
}

void pool_back_float32(const Window *w, const void *grad, const uint8_t *where, void *out) {
    pool_back(w, grad, where, out, FLOAT);
}

void pool_back_bfloat16(const Window *w, const void *grad, const uint8_t *where, void *out) {
    pool_back(w, grad, where, out, BFLOAT16);
}
