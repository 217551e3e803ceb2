// The arithmetic of edge-directed X-Trans demosaicing, shared by CPU and CUDA, and the geometry of the tile.
//
// Every 3x3 of the X-Trans tile is the same but for red and blue: one solitary green, four sites of red or blue beside
// it (two in its column, two in its row), and a 2x2 block of greens. Offsets are written from the solitary green at
// (0, 0), so that a site has coordinates -1, 0, 1 in either direction.
#pragma once

#include "kernels/bayer_formulas.h"  // encode_sqrt
#include "kernels/formulas.h"

namespace rawzoo {

// The four directions of interpolation.
enum Direction { kHorizontal, kVertical, kFalling, kRising, kDirections };
RAWZOO_INLINE constexpr int step_y(int direction) { return direction == kHorizontal ? 0 : 1; }
RAWZOO_INLINE constexpr int step_x(int direction) { return direction == kVertical ? 0 : direction == kRising ? -1 : 1; }

// Where the first solitary green is in each 3x3: returns false where the pattern is not the X-Trans tile in some phase.
RAWZOO_INLINE bool find_solitary(const Pattern& pattern, int* row, int* column) {
  if (pattern.period != 6) return false;
  const auto color = [&](int y, int x) { return pattern.color[(y + 6) % 6 * 6 + (x + 6) % 6]; };
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 3; ++x) {
      const int beside = color(y, x + 1), above = color(y + 1, x);
      bool same = beside != 1 && above == 2 - beside;
      for (int dy = -1; dy < 5; ++dy)
        for (int dx = -1; dx < 5; ++dx) {
          // Red and blue trade places from one 3x3 to the next.
          const int own = ((dy + 1) / 3 + (dx + 1) / 3) % 2 ? 2 - beside : beside;
          const int in_y = (dy + 1) % 3 - 1, in_x = (dx + 1) % 3 - 1;
          const int expected = (in_y == 0) == (in_x == 0) ? 1 : in_y == 0 ? own : 2 - own;
          same = same && color(y + dy, x + dx) == expected;
        }
      if (same) {
        *row = y;
        *column = x;
        return true;
      }
    }
  return false;
}

// Coordinate -1, 0, 1 of row or column i.
RAWZOO_INLINE int from_solitary(int64_t i, int solitary) {
  const int r = static_cast<int>((i - solitary + 1) % 3);  // i may be negative
  return (r < 0 ? r + 3 : r) - 1;
}

constexpr float kThird = 1.0f / 3.0f;
constexpr float kChromaWeight = 4.0f;   // of squared colour differences against squared luma
constexpr float kLeastEnergy = 1e-20f;  // keeps weights finite where there is no detail at all
constexpr float kRelaxation = 0.25f;    // how far a later pass goes towards its new estimate of green

RAWZOO_INLINE float middle(float a, float b) { return 0.5f * (a + b); }
// Linear interpolation from a sample at distance 1 and one at distance 2 on the other side.
RAWZOO_INLINE float between(float near, float far) { return near + (far - near) * kThird; }
// An estimate of a colour, corrected by how far green here is from the same estimate of green.
RAWZOO_INLINE float with_green(float color, float green_here, float green) { return color + (green_here - green); }

// First estimates of green at a red or blue site, Markesteijn's weights. Across the axis that joins the site to its
// solitary green there are greens at distance 1 and 2 on both sides:
RAWZOO_INLINE float green_across(float left, float right, float left2, float right2) {
  return middle(left, right) + (46.0f / 256.0f) * ((left - left2) + (right - right2));
}
// Along it, greens at 1 and -2, and a sample of its own colour at 2:
RAWZOO_INLINE float green_along(float near, float far, float own, float own2) {
  return near + ((33.0f / 256.0f) * (far - near) + (92.0f / 256.0f) * (own - own2));
}
// Diagonally, greens at 1 and -2, and samples of its own colour at -3 and 3:
RAWZOO_INLINE float green_diagonal(float near, float far, float own, float before, float after) {
  return near + ((92.0f / 256.0f) * (far - near) + (33.0f / 256.0f) * ((own - before) + (own - after)));
}

RAWZOO_INLINE float least(float a, float b) { return b < a ? b : a; }
RAWZOO_INLINE float most(float a, float b) { return b > a ? b : a; }
RAWZOO_INLINE float bounded(float v, float low, float high) { return v < low ? low : v > high ? high : v; }
RAWZOO_INLINE float distance(float a, float b) { return fabsf(a - b); }

// How far the interpolation of a pair is from a straight line in colour difference.
RAWZOO_INLINE float slope(float color1, float color2, float green1, float green2) {
  return square((color1 - color2) - (green1 - green2));
}
RAWZOO_INLINE float bend(float before, float here, float after) { return (here - before) + (here - after); }
// Energy of what does not go straight on in a direction: luma and colour differences.
RAWZOO_INLINE float energy(float red, float green, float blue) {
  const float luma = 0.5f * green + 0.25f * (red + blue);
  return square(luma) + kChromaWeight * (square(red - green) + square(blue - green));
}
RAWZOO_INLINE float weight_of(float sum) {
  sum += kLeastEnergy;
  return 1.0f / (sum * sqrtf(sum));
}

}  // namespace rawzoo
