// The edge-directed Bayer methods on the GPU: a block makes a region of the image, stage by stage, in shared memory.
//
// Each method is a function over `stage`, which calls a lambda for every cell of the region at least `margin` cells
// from its edges, spread over the block's threads, and lets the threads wait for each other; so that the stages are
// plain code.
#pragma once

#include "kernels/bayer_formulas.h"

namespace rawzoo {

constexpr int kRegionWidth = 32, kRegionHeight = 24;  // pixels made by a block

// What a method needs: cells around the pixels made, and planes of samples.
template <Method>
struct RegionOf;
template <>
struct RegionOf<Method::hamilton_adams> {
  static constexpr int halo = 3, planes = 2;
};
template <>
struct RegionOf<Method::menon> {
  static constexpr int halo = 8, planes = 5;
};
template <>
struct RegionOf<Method::gbtf> {
  static constexpr int halo = 9, planes = 5;
};
template <>
struct RegionOf<Method::rcd> {
  static constexpr int halo = 10, planes = 6;
};

// One plane, looked at from one cell.
template <int pitch>
struct Cell {
  float* p;

  RAWZOO_INLINE float& operator()(int dy, int dx) const { return p[dy * pitch + dx]; }
  RAWZOO_INLINE float operator()() const { return *p; }
  RAWZOO_INLINE float h(int n) const { return p[-n] + p[n]; }
  RAWZOO_INLINE float v(int n) const { return p[-n * pitch] + p[n * pitch]; }
  RAWZOO_INLINE float corners() const { return (p[-pitch - 1] + p[-pitch + 1]) + (p[pitch - 1] + p[pitch + 1]); }
};

template <Method method>
struct Region {
  using Of = RegionOf<method>;
  static constexpr int pitch = kRegionWidth + 2 * Of::halo, rows = kRegionHeight + 2 * Of::halo;
  static constexpr int plane_size = pitch * rows;
  static constexpr int bytes = Of::planes * plane_size * 4;

  float* memory;   // plane 0 holds the mosaic
  int green_cell;  // parity of row + column of green cells

  RAWZOO_INLINE bool is_green(int i) const { return ((i / pitch + i % pitch) & 1) == green_cell; }
  RAWZOO_INLINE Cell<pitch> at(int plane, int i) const { return {memory + plane * plane_size + i}; }

  // The row's colour, green, the opposite colour at cell i; after run().
  struct Pixel {
    float row, green, opposite;
  };
};

template <int pitch>
RAWZOO_INLINE float hamilton_adams_h(const Cell<pitch>& m) {
  return hamilton_adams(m.h(1), m(), m.h(2));
}
template <int pitch>
RAWZOO_INLINE float hamilton_adams_v(const Cell<pitch>& m) {
  return hamilton_adams(m.v(1), m(), m.v(2));
}

struct RegionHamiltonAdams : Region<Method::hamilton_adams> {
  template <class Stage>
  RAWZOO_INLINE void run(const Stage& stage) const {
    stage(2, [&](int i) {
      const auto m = at(0, i);
      const float w = weight_of(hamilton_adams_change(m(0, -1), m(0, 1), m(), m.h(2)),
                                hamilton_adams_change(m(-1, 0), m(1, 0), m(), m.v(2)));
      at(1, i)(0, 0) = is_green(i) ? m() : blend(w, hamilton_adams_h(m), hamilton_adams_v(m));
    });
  }
  RAWZOO_INLINE Pixel pixel(int i) const {
    const auto m = at(0, i), green = at(1, i);
    if (is_green(i)) return {along(m(), m.h(1), green.h(1)), m(), along(m(), m.v(1), green.v(1))};
    return {m(), green(), 0.25f * m.corners() + (green() - 0.25f * green.corners())};
  }
};

struct RegionGbtf : Region<Method::gbtf> {
  template <class Stage>
  RAWZOO_INLINE void run(const Stage& stage) const {
    stage(2, [&](int i) {
      const auto m = at(0, i);
      at(1, i)(0, 0) = gbtf_difference(m(), m.h(1), m.h(2));
      at(2, i)(0, 0) = gbtf_difference(m(), m.v(1), m.v(2));
    });
    stage(3, [&](int i) {
      const auto h = at(1, i), v = at(2, i);
      at(3, i)(0, 0) = fabsf(h(0, -1) - h(0, 1));
      at(4, i)(0, 0) = fabsf(v(-1, 0) - v(1, 0));
    });
    stage(3, [&](int i) {
      if (i % pitch < 5 || i % pitch >= pitch - 5) return;
      const auto h = at(3, i), v = at(4, i);
      at(1, i)(0, 0) = (h.h(2) + h()) + h.h(1);
      at(2, i)(0, 0) = (v.h(2) + v()) + v.h(1);
    });
    stage(5, [&](int i) {
      const auto m = at(0, i), h = at(1, i), v = at(2, i);
      const float w = gbtf_weight((h.v(2) + h()) + h.v(1), (v.v(2) + v()) + v.v(1));
      at(3, i)(0, 0) = w;
      at(4, i)(0, 0) = is_green(i)
                           ? m()
                           : blend(w, gbtf_green(m(), m.h(1), m.h(2), m.h(3)), gbtf_green(m(), m.v(1), m.v(2), m.v(3)));
    });
    stage(8, [&](int i) {
      if (is_green(i)) return;
      const auto m = at(0, i), green = at(4, i);
      const auto minus = [&](int dy, int dx) { return green(dy, dx) - m(dy, dx); };
      const float near = (minus(-1, -1) + minus(-1, 1)) + (minus(1, -1) + minus(1, 1));
      const float far = ((minus(-1, -3) + minus(-1, 3)) + (minus(1, -3) + minus(1, 3))) +
                        ((minus(-3, -1) + minus(-3, 1)) + (minus(3, -1) + minus(3, 1)));
      at(1, i)(0, 0) = gbtf_opposite(green(), m.corners(), green.corners(), near, far);
    });
  }
  RAWZOO_INLINE Pixel pixel(int i) const {
    const auto m = at(0, i), opposite = at(1, i), green = at(4, i);
    if (!is_green(i)) return {m(), green(), opposite()};
    const float w = at(3, i)();
    return {blend(w, along(m(), m.h(1), green.h(1)), along(m(), opposite.v(1), green.v(1))), m(),
            blend(w, along(m(), opposite.h(1), green.h(1)), along(m(), m.v(1), green.v(1)))};
  }
};

struct RegionMenon : Region<Method::menon> {
  template <class Stage>
  RAWZOO_INLINE void run(const Stage& stage) const {
    stage(2, [&](int i) {
      const auto m = at(0, i);
      at(1, i)(0, 0) = m() - hamilton_adams_h(m);
      at(2, i)(0, 0) = m() - hamilton_adams_v(m);
    });
    stage(4, [&](int i) {
      const auto m = at(0, i), h = at(1, i), v = at(2, i);
      const auto change_h = [&](int dy, int dx) { return fabsf(h(dy, dx) - h(dy, dx + 2)); };
      const auto change_v = [&](int dy, int dx) { return fabsf(v(dy, dx) - v(dy + 2, dx)); };
      const float score_h = (((change_h(-2, -2) + change_h(-2, 0)) + (change_h(2, -2) + change_h(2, 0))) +
                             3.0f * (change_h(0, -2) + change_h(0, 0))) +
                            (change_h(-1, -1) + change_h(1, -1));
      const float score_v = (((change_v(-2, -2) + change_v(-2, 2)) + (change_v(0, -2) + change_v(0, 2))) +
                             3.0f * (change_v(-2, 0) + change_v(0, 0))) +
                            (change_v(-1, -1) + change_v(-1, 1));
      const bool along_row = score_v >= score_h;
      at(3, i)(0, 0) = along_row ? 1.0f : 0.0f;
      at(4, i)(0, 0) = is_green(i) ? m() : along_row ? hamilton_adams_h(m) : hamilton_adams_v(m);
    });
    stage(5, [&](int i) { colors(i); });
    stage(6, [&](int i) {
      if (is_green(i)) return;
      const auto m = at(0, i), row = at(1, i), column = at(2, i), green = at(4, i);
      const bool along_row = at(3, i)() != 0.0f;
      const float beside = along_row ? (row(0, -1) - m(0, -1)) + (row(0, 1) - m(0, 1))
                                     : (column(-1, 0) - m(-1, 0)) + (column(1, 0) - m(1, 0));
      // Others read these planes at green cells only.
      row(0, 0) = along_row ? along(m(), column.h(1), row.h(1)) : along(m(), row.v(1), column.v(1));
      green(0, 0) = menon_green(m(), green(), beside);
    });
    stage(7, [&](int i) { colors(i); });
  }
  // Both colours at green cells.
  RAWZOO_INLINE void colors(int i) const {
    if (!is_green(i)) return;
    const auto m = at(0, i), green = at(4, i);
    at(1, i)(0, 0) = along(m(), m.h(1), green.h(1));
    at(2, i)(0, 0) = along(m(), m.v(1), green.v(1));
  }
  RAWZOO_INLINE Pixel pixel(int i) const {
    const auto m = at(0, i), row = at(1, i), column = at(2, i);
    if (is_green(i)) return {row(), m(), column()};
    const float beside = at(3, i)() != 0.0f ? (column(0, -1) - row(0, -1)) + (column(0, 1) - row(0, 1))
                                            : (row(-1, 0) - column(-1, 0)) + (row(1, 0) - column(1, 0));
    return {m(), at(4, i)(), menon_opposite(m(), row(), beside)};
  }
};

struct RegionRcd : Region<Method::rcd> {
  using Plane = Cell<pitch>;

  template <class Stage>
  RAWZOO_INLINE void run(const Stage& stage) const {
    stage(3, [&](int i) {
      const auto m = at(0, i);
      at(1, i)(0, 0) = rcd_square(m(), m.v(1), m.v(2), m.v(3));
      at(2, i)(0, 0) = rcd_square(m(), m.h(1), m.h(2), m.h(3));
      at(4, i)(0, 0) = 0.0625f * (m.corners() + 2.0f * (m.v(1) + m.h(1))) + 0.25f * m();
    });
    stage(4, [&](int i) {
      const auto v = at(1, i), h = at(2, i);
      at(3, i)(0, 0) = rcd_share(v() + v.v(1), h() + h.h(1));
    });
    stage(5, [&](int i) {
      const auto m = at(0, i), share = at(3, i);
      at(5, i)(0, 0) = is_green(i)
                           ? m()
                           : blend(rcd_decided(share(), share.corners()), green_along(i, 0, -1), green_along(i, -1, 0));
    });
    stage(3, [&](int i) {
      const auto m = at(0, i);
      at(1, i)(0, 0) = rcd_square(m(), m(-1, -1) + m(1, 1), m(-2, -2) + m(2, 2), m(-3, -3) + m(3, 3));
      at(2, i)(0, 0) = rcd_square(m(), m(-1, 1) + m(1, -1), m(-2, 2) + m(2, -2), m(-3, 3) + m(3, -3));
    });
    stage(4, [&](int i) {
      const auto falling = at(1, i), rising = at(2, i);
      at(4, i)(0, 0) =
          rcd_share(falling() + (falling(-1, -1) + falling(1, 1)), rising() + (rising(-1, 1) + rising(1, -1)));
    });
    stage(7, [&](int i) {
      const auto m = at(0, i), share = at(4, i), green = at(5, i);
      at(1, i)(0, 0) =
          blend(rcd_decided(share(), share.corners()), color_along(m, green, -1, 1), color_along(m, green, -1, -1));
    });
  }
  // From the neighbours at (dy, dx) and opposite.
  RAWZOO_INLINE float green_along(int i, int dy, int dx) const {
    const auto m = at(0, i), low = at(4, i);
    const auto gradient = [&](int y, int x) {
      return rcd_green_gradient(m(), m(y, x), m(2 * y, 2 * x), m(3 * y, 3 * x), m(4 * y, 4 * x), m(-y, -x));
    };
    const float first = gradient(dy, dx), second = gradient(-dy, -dx);
    return blend(second / (first + second), rcd_green(m(dy, dx), low(), low(2 * dy, 2 * dx)),
                 rcd_green(m(-dy, -dx), low(), low(-2 * dy, -2 * dx)));
  }
  RAWZOO_INLINE float color_along(const Plane& color, const Plane& green, int dy, int dx) const {
    const auto gradient = [&](int y, int x) {
      return rcd_gradient(color(y, x), color(-y, -x), color(3 * y, 3 * x), green(), green(2 * y, 2 * x));
    };
    return rcd_color(green(), gradient(dy, dx), gradient(-dy, -dx), color(dy, dx), color(-dy, -dx), green(dy, dx),
                     green(-dy, -dx));
  }
  RAWZOO_INLINE Pixel pixel(int i) const {
    const auto m = at(0, i), opposite = at(1, i), share = at(3, i), green = at(5, i);
    if (!is_green(i)) return {m(), green(), opposite()};
    const float w = rcd_decided(share(), share.corners());
    return {blend(w, color_along(m, green, 0, -1), color_along(opposite, green, -1, 0)), m(),
            blend(w, color_along(opposite, green, 0, -1), color_along(m, green, -1, 0))};
  }
};

}  // namespace rawzoo
