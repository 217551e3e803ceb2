// The arithmetic of the ops that mend, measure and shrink mosaics, shared by CPU and CUDA.
#pragma once

#include "kernels/formulas.h"

namespace rawzoo {

// Index into a mosaic's axis of n samples, continued beyond its ends so that the pattern is kept.
RAWZOO_INLINE int64_t continued(int64_t i, int64_t n, int period) {
  return i >= 0 && i < n ? i : period == 2 ? mirror(i, n) : continue_by_period(i, n);
}

// Sites of its own colour around each cell of the tile, in reading order: Bayer, the eight at distance 2 (so that the two
// greens stay apart); X-Trans, those in the 5x5 window.
struct Neighbours {
  int count[36];
  int8_t dy[36][24], dx[36][24];
};
inline Neighbours neighbours_of(const Pattern& pattern) {
  Neighbours found{};
  const int period = pattern.period;
  for (int cell = 0; cell < period * period; ++cell)
    for (int dy = -2; dy <= 2; ++dy)
      for (int dx = -2; dx <= 2; ++dx) {
        const int y = (cell / period + dy + 6) % period, x = (cell % period + dx + 6) % period;
        const bool same = period == 2 ? dy % 2 == 0 && dx % 2 == 0 : pattern.color[y * 6 + x] == pattern.color[cell];
        if (!same || (dy == 0 && dx == 0)) continue;
        found.dy[cell][found.count[cell]] = static_cast<int8_t>(dy);
        found.dx[cell][found.count[cell]++] = static_cast<int8_t>(dx);
      }
  return found;
}

// Standard deviation of the noise at a level.
RAWZOO_INLINE float noise_at(float level, const Noise& noise) {
  const float signal = level - noise.offset;
  return sqrtf(noise.gain * (signal > 0.0f ? signal : 0.0f) + noise.sigma * noise.sigma);
}
// Beyond all neighbours by more than `threshold` deviations, and by more than they differ from each other.
RAWZOO_INLINE bool is_outlier(float v, float low, float high, const Noise& noise, float threshold) {
  const float range = high - low;
  const float above = v - high, below = low - v;
  return (above > range && above > threshold * noise_at(high, noise)) ||
         (below > range && below > threshold * noise_at(low, noise));
}

// Shrinking: a tent around the place where an output sample lies in the input, over samples of its channel. Its half width
// is a multiple of the distance at which the channel repeats, so that the weights always have the same sum and the tent's
// middle as their centre: a ramp stays a ramp.
struct Tent {
  int reach[4];    // half width, of each channel
  float scale[4];  // 1 / sum of the weights, which are products of a tent in y and one in x
};
inline Tent tent_of(int period, const int* channel_of, int factor) {
  Tent tent{};
  for (int c = 0; c < 4; ++c) {
    int cells = 0;
    bool every_third = period == 6;
    for (int i = 0; i < period * period; ++i) {
      const bool is = channel_of[i] == c;
      cells += is;
      if (every_third && (is != (channel_of[(i / 6 + 3) % 6 * 6 + i % 6] == c) ||
                          is != (channel_of[i / 6 * 6 + (i % 6 + 3) % 6] == c)))
        every_third = false;
    }
    const int repeats = every_third ? 3 : period;
    tent.reach[c] = (factor + repeats - 1) / repeats * repeats;
    const float per_cell = static_cast<float>(tent.reach[c]) / static_cast<float>(period);
    if (cells) tent.scale[c] = 1.0f / (per_cell * per_cell * static_cast<float>(cells));
  }
  return tent;
}
// Twice the place of output sample i, which is a whole number.
RAWZOO_INLINE int64_t twice_place(int64_t i, int factor) { return (2 * i + 1) * factor - 1; }
RAWZOO_INLINE float tent_weight(int64_t twice_distance, int reach) {
  const float d = 0.5f * static_cast<float>(twice_distance < 0 ? -twice_distance : twice_distance);
  return d < static_cast<float>(reach) ? 1.0f - d / static_cast<float>(reach) : 0.0f;
}
// First sample of grid cell i of `cells` over n samples.
RAWZOO_INLINE int64_t grid_start(int64_t i, int64_t cells, int64_t n) { return i * n / cells; }

}  // namespace rawzoo
