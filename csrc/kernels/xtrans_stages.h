// Edge-directed X-Trans demosaicing of a region with a margin, one site of one stage at a time, for the GPU.
//
// The stages run one after another over the whole region, kXTransStageReach from its edges; what lies within
// kXTransMarginColumns of the edges is only there to be read.
#pragma once

#include "kernels/xtrans_formulas.h"

namespace rawzoo {

constexpr int kXTransMarginColumns = 30;  // what three passes read, as whole tiles
constexpr int kXTransStageReach = 3;

struct XTransRegion {
  float* memory;  // kPlanes planes of height * width
  int64_t height, width;
  int64_t top, left;  // where the region's first site is in the mosaic; may be negative
  Pattern pattern;
  int solitary_row, solitary_column;

  static constexpr int kPlanes = 1 + 4 * 3 + 4 + 3;

  // Arguments of everything below: a site's index in a plane, and its row and column in the region.
  RAWZOO_INLINE float* plane(int i) const { return memory + i * (height * width); }
  RAWZOO_INLINE float* samples() const { return plane(0); }
  RAWZOO_INLINE float* image(int direction, int color) const { return plane(1 + 3 * direction + color); }
  RAWZOO_INLINE float* bends(int direction) const { return plane(13 + direction); }
  RAWZOO_INLINE float* merged(int color) const { return plane(17 + color); }

  RAWZOO_INLINE int color(int64_t y, int64_t x) const {
    const int row = static_cast<int>((y + top) % 6), column = static_cast<int>((x + left) % 6);
    return pattern.color[(row < 0 ? row + 6 : row) * 6 + (column < 0 ? column + 6 : column)];
  }
  RAWZOO_INLINE int in_y(int64_t y) const { return from_solitary(y + top, solitary_row); }
  RAWZOO_INLINE int in_x(int64_t x) const { return from_solitary(x + left, solitary_column); }

  // Steps from a red or blue site along the axis to its solitary green, and across.
  struct Axis {
    int64_t along, across;
    int along_direction, across_direction, left_direction, right_direction;
    RAWZOO_INLINE int64_t step(int k, int p) const { return k * along + p * across; }
  };
  RAWZOO_INLINE Axis axis(int64_t y, int64_t x) const {
    const int dy = in_y(y), dx = in_x(x);
    const bool falling = dy + dx < 0;
    const int left_of = falling ? kFalling : kRising, right_of = falling ? kRising : kFalling;
    if (dx == 0) return {-dy * width, 1, kVertical, kHorizontal, left_of, right_of};
    return {-dx, width, kHorizontal, kVertical, left_of, right_of};
  }

  struct Bounds {
    float low, high;
  };
  RAWZOO_INLINE Bounds bounds(const float* x, const Axis& a) const {
    const float left = x[a.step(0, -1)], right = x[a.step(0, 1)], near = x[a.step(1, 0)], far = x[a.step(-2, 0)],
                near_l = x[a.step(-1, -1)], near_r = x[a.step(-1, 1)];
    return {least(least(least(left, right), least(near, far)), least(near_l, near_r)),
            most(most(most(left, right), most(near, far)), most(near_l, near_r))};
  }

  RAWZOO_INLINE void first_green(int64_t i, int64_t y, int64_t x) const {
    const float* at = samples() + i;
    const int own = color(y, x);
    for (int d = 0; d < kDirections; ++d) image(d, own)[i] = *at;
    if (own == 1) return;
    const Axis a = axis(y, x);
    const Bounds b = bounds(at, a);
    const auto s = [&](int k, int p) { return at[a.step(k, p)]; };
    image(a.across_direction, 1)[i] = bounded(green_across(s(0, -1), s(0, 1), s(0, -2), s(0, 2)), b.low, b.high);
    image(a.along_direction, 1)[i] = bounded(green_along(s(1, 0), s(-2, 0), *at, s(2, 0)), b.low, b.high);
    image(a.left_direction, 1)[i] = bounded(green_diagonal(s(-1, -1), s(2, 2), *at, s(-3, -3), s(3, 3)), b.low, b.high);
    image(a.right_direction, 1)[i] =
        bounded(green_diagonal(s(-1, 1), s(2, -2), *at, s(-3, 3), s(3, -3)), b.low, b.high);
  }

  RAWZOO_INLINE void green_again(int64_t i, int64_t y, int64_t x) const {
    const int own = color(y, x);
    if (own == 1) return;
    const Axis a = axis(y, x);
    const Bounds b = bounds(samples() + i, a);
    const float *c = merged(own) + i, *g = merged(1) + i;
    const auto again = [&](int direction, int64_t one, int64_t two, float share) {
      const float color = c[one] + (c[two] - c[one]) * share, green = g[one] + (g[two] - g[one]) * share;
      float& value = image(direction, 1)[i];
      value = value + kRelaxation * (bounded(with_green(green, samples()[i], color), b.low, b.high) - value);
    };
    again(a.across_direction, a.step(0, -1), a.step(0, 1), 0.5f);
    again(a.along_direction, a.step(1, 0), a.step(-2, 0), kThird);
    again(a.left_direction, a.step(-1, -1), a.step(2, 2), kThird);
    again(a.right_direction, a.step(-1, 1), a.step(2, -2), kThird);
  }

  // The mean of two sites, corrected by green.
  RAWZOO_INLINE float pair(const float* c, const float* g, int64_t step) const {
    return with_green(middle(c[-step], c[step]), *g, middle(g[-step], g[step]));
  }
  RAWZOO_INLINE float pair_slope(const float* c, const float* g, int64_t step) const {
    return slope(c[-step], c[step], g[-step], g[step]);
  }

  RAWZOO_INLINE void at_solitary_greens(int64_t i, int64_t y, int64_t x) const {
    if (in_y(y) != 0 || in_x(x) != 0) return;
    const int of_row = color(y, x + 1);
    for (int d = 0; d < kDirections; ++d) {
      float *row = image(d, of_row) + i, *column = image(d, 2 - of_row) + i;
      const float* g = image(d, 1) + i;
      const bool level =
          d == kHorizontal || (d != kVertical && pair_slope(row, g, 1) + pair_slope(column, g, 2) <=
                                                     pair_slope(row, g, 2 * width) + pair_slope(column, g, width));
      *row = pair(row, g, level ? 1 : 2 * width);
      *column = pair(column, g, level ? 2 : width);
    }
  }

  RAWZOO_INLINE void at_red_and_blue(int64_t i, int64_t y, int64_t x) const {
    const int own = color(y, x);
    if (own == 1) return;
    const Axis a = axis(y, x);
    for (int d = 0; d < kDirections; ++d) {
      float* c = image(d, 2 - own) + i;
      const float* g = image(d, 1) + i;
      int64_t step = a.along;
      if (d == a.across_direction && !(distance(*g, g[-step]) + distance(*g, g[step]) <
                                       2.0f * (distance(*g, g[-3 * a.across]) + distance(*g, g[3 * a.across]))))
        step = 3 * a.across;
      *c = pair(c, g, step);
    }
  }

  RAWZOO_INLINE void in_green_blocks(int64_t i, int64_t y, int64_t x) const {
    const int dy = in_y(y), dx = in_x(x);
    if (dy == 0 || dx == 0) return;
    for (int d = 0; d < kDirections; ++d) {
      const int64_t rows = d == kHorizontal ? 0 : dy * width, columns = d == kVertical ? 0 : dx;
      const bool centred = d >= kFalling && (dy * dx > 0) != (d == kFalling);
      const int64_t one = centred ? columns - rows : -rows - columns, two = centred ? -one : -2 * one;
      const float share = centred ? 0.5f : kThird;
      const float* g = image(d, 1) + i;
      const float mean = g[one] + (g[two] - g[one]) * share;
      for (int of = 0; of < 3; of += 2) {
        float* c = image(d, of) + i;
        *c = with_green(c[one] + (c[two] - c[one]) * share, *g, mean);
      }
    }
  }

  RAWZOO_INLINE void bend_here(int64_t i) const {
    for (int d = 0; d < kDirections; ++d) {
      const int64_t step = step_y(d) * width + step_x(d);
      const auto of = [&](int c) {
        const float* v = image(d, c) + i;
        return bend(v[-step], *v, v[step]);
      };
      bends(d)[i] = energy(of(0), of(1), of(2));
    }
  }

  RAWZOO_INLINE void merge(int64_t i, float rgb[3]) const {
    float weight[kDirections];
    for (int d = 0; d < kDirections; ++d) {
      const float* e = bends(d) + i;
      const auto column = [&](int64_t dx) { return (e[dx - width] + e[dx + width]) + e[dx]; };
      weight[d] = weight_of((column(-1) + column(1)) + column(0));
    }
    const float scale = 1.0f / ((weight[0] + weight[1]) + (weight[2] + weight[3]));
    for (int c = 0; c < 3; ++c) {
      const float v = image(0, c)[i];
      const auto part = [&](int d) { return (weight[d] * scale) * (image(d, c)[i] - v); };
      rgb[c] = merged(c)[i] = v + (part(1) + (part(2) + part(3)));
    }
  }
};

}  // namespace rawzoo
