// Bayer demosaicing over a whole image.
#pragma once

#include <functional>

#include "kernels/types.h"

namespace rawzoo::cpu {

// Demosaics (any method but superpixel) in tiles and calls take(y, x, n, rgb) for each row of each: pixels [x, x + n),
// planes of R, G, B. Several threads call it at once. Where `planes` is not null, the result goes to these three f32
// planes instead.
using TakeRow = std::function<void(int64_t y, int64_t x, int64_t n, const float* const* rgb)>;
void demosaic_tiles(const Execution& run, const Input& mosaic, const Pattern& pattern, const Levels& levels, float clip,
                    Method method, Encode encode, const TakeRow& take, const Output* planes = nullptr);

}  // namespace rawzoo::cpu
