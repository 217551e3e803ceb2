// The arithmetic of one sample, shared by CPU and CUDA.
//
// Order matters: each interpolation is written as sums of differences that are exactly zero for equal samples, so that
// a constant colour comes back exactly.
#pragma once

#include <cmath>

#include "kernels/types.h"

#if defined(__GNUC__) || defined(__CUDACC__)
#define RAWZOO_INLINE RAWZOO_HD inline __attribute__((always_inline))
#else
#define RAWZOO_INLINE RAWZOO_HD inline
#endif

namespace rawzoo {

// For single floats, and for vectors of them: Malvar, He and Cutler 2004, 5x5 kernels. A red or blue site: `own` is its
// sample, `own_cross` the sum of the four samples of its colour at distance 2, `green` the sum of the four greens
// beside it, `diagonal` that of the other colour.
template <class V>
RAWZOO_INLINE V malvar_green(V own, V own_cross, V green) {
  return 0.125f * ((4.0f * own - own_cross) + 2.0f * green);
}
template <class V>
RAWZOO_INLINE V malvar_opposite(V own, V own_cross, V diagonal) {
  return 0.125f * (1.5f * (4.0f * own - own_cross) + 2.0f * diagonal);
}
// A green site: the colour whose two samples (sum `near`) lie on one axis. `diagonal`: the four greens at the corners;
// `along` and `across`: the two greens at distance 2 on that axis and on the other.
template <class V>
RAWZOO_INLINE V malvar_at_green(V own, V near, V diagonal, V along, V across) {
  return 0.125f * (4.0f * near + ((4.0f * own - diagonal) + ((own - along) + 0.5f * across)));
}

// Mirror an index at the edges of 0..n-1 without repeating the edge sample; keeps parity. n >= 2.
RAWZOO_INLINE int64_t mirror(int64_t i, int64_t n) {
  const int64_t twice = 2 * (n - 1);
  i = (i < 0 ? -i : i) % twice;
  return i < n ? i : twice - i;
}
// Continue beyond the edges with samples whole periods further in; keeps the phase of X-Trans. n >= 6.
RAWZOO_INLINE int64_t continue_by_period(int64_t i, int64_t n) {
  while (i < 0) i += 6;
  while (i >= n) i -= 6;
  return i;
}

// X-Trans bilinear: a sample at (dy, dx) in the smallest window of radius r that holds the wanted colour weighs
// (r + 1 - |dy|) * (r + 1 - |dx|). Radius for one cell and colour:
RAWZOO_INLINE int window_radius(const Pattern& pattern, int row, int column, int color) {
  for (int r = 0; r < 3; ++r)
    for (int dy = -r; dy <= r; ++dy)
      for (int dx = -r; dx <= r; ++dx)
        if (pattern.color[(row + dy + 6) % 6 * 6 + (column + dx + 6) % 6] == color) return r;
  return 3;
}
RAWZOO_INLINE int window_weight(int r, int dy, int dx) {
  return (r + 1 - (dy < 0 ? -dy : dy)) * (r + 1 - (dx < 0 ? -dx : dx));
}

RAWZOO_INLINE float balance(float value, float black, float scale, float clip) {
  const float v = (value - black) * scale;
  return clip < v ? clip : v;  // NaN stays
}

// NaN becomes 0.
RAWZOO_INLINE float clamp01(float v) {
  v = v > 0.0f ? v : 0.0f;
  return v < 1.0f ? v : 1.0f;
}

// Nearest uint16; NaN becomes 0.
RAWZOO_INLINE uint16_t round_u16(float v) {
  v = v > 0.0f ? v : 0.0f;
  v = v < 65535.0f ? v : 65535.0f;
  return static_cast<uint16_t>(static_cast<int32_t>(v + 0.5f));
}

// Linear interpolation in a table of n >= 2 samples over 0..1.
RAWZOO_INLINE float interpolate(const float* curve, int64_t n, float v) {
  const float at = clamp01(v) * static_cast<float>(n - 1);
  int32_t i = static_cast<int32_t>(at);
  i = i < n - 2 ? i : static_cast<int32_t>(n - 2);
  const float low = curve[i];
  return low + (at - static_cast<float>(i)) * (curve[i + 1] - low);
}

// Generalised Anscombe transform, f(x) = 2 sqrt(max(0, (x - offset) / gain + 3/8 + (sigma / gain)^2)), here with
// scale = 1 / gain and shift = 3/8 + (sigma / gain)^2.
RAWZOO_INLINE float anscombe_value(float x, float offset, float scale, float shift) {
  const float v = (x - offset) * scale + shift;
  return 2.0f * sqrtf(v < 0.0f ? 0.0f : v);
}

constexpr float kSqrt3Over2 = 1.224744871391589f;

// Closed-form approximation of the exact unbiased inverse for sigma = 0, Makitalo and Foi 2011. It is zero at
// 2 sqrt(3/8), the least value that the forward transform of pure Poisson data takes, and diverges below.
RAWZOO_INLINE float exact_unbiased(float d) {
  d = d < 2.0f * 0.6123724356957945f ? 2.0f * 0.6123724356957945f : d;
  const float q = 1.0f / d;
  return 0.25f * d * d + q * (0.25f * kSqrt3Over2 + q * (-1.375f + q * (0.625f * kSqrt3Over2))) - 0.125f;
}

}  // namespace rawzoo
