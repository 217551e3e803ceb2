// Pieces of the tile pipelines; see bayer_tile.h. Everything is local to the including file (see rows.cpp).
#pragma once

#include "kernels/bayer_formulas.h"
#include "kernels/bayer_tile.h"
#include "kernels/lanes.h"
#include "kernels/vector.h"

namespace rawzoo {
namespace {

// Rows by number, each in the slot that its number has modulo a power of two.
struct Ring {
  float* base;
  int64_t mask;

  float* operator[](int64_t row) const { return base + (row & mask) * kTilePitch + 2 * kHaloPairs; }
};

// A stage makes whole vectors, from kFirst or 0 up to a multiple of 16: aligned, and without remainders. What it makes
// more than it has the samples for is never used.
constexpr int64_t kFirst = -kHaloPairs;
inline int64_t halo_end(const BayerTile& tile) { return (tile.pairs + kHaloPairs / 2 + 15) & ~int64_t{15}; }
inline int64_t row_end(const BayerTile& tile) { return (tile.pairs + 15) & ~int64_t{15}; }

// Hands out rings from the scratch memory.
struct Arena {
  float* free;

  Ring ring(int64_t slots) {
    const Ring ring{free, slots - 1};
    free += slots * kTilePitch;
    return ring;
  }
  float* row() { return ring(1)[0]; }
};

// Where a row's neighbours are. From an x site, the sites of the other column parity begin at k + left; from a g site
// at k - left - 1.
struct Parity {
  int64_t left, right;      // of an x site, in arrays over the other columns
  int64_t g_left, g_right;  // of a g site

  explicit Parity(int64_t parity) : left(parity - 1), right(parity), g_left(-parity), g_right(1 - parity) {}
};

// The mosaic's rows.
struct Mosaic {
  const BayerTile& tile;
  Ring x, g;

  Mosaic(const BayerTile& tile, Arena& arena, int64_t slots) : tile(tile), x(arena.ring(slots)), g(arena.ring(slots)) {}
  void make(int64_t y) const { tile.load(tile.context, y, x[y], g[y]); }
  Parity parity(int64_t y) const { return Parity((tile.x_parity + y) & 1); }
};

// The colour of the row's x sites, green, and the opposite colour of Lanes::n sites of one kind.
struct Colors {
  Lanes own, green, opposite;
};

template <bool encoded, bool streamed, class AtX, class AtG>
void write_row_as(const BayerTile& tile, int64_t y, AtX at_x, AtG at_g, float* const* rows) {
  constexpr int64_t kTwice = 2 * Lanes::n;
  float* const out[3] = {rows[0], rows[1], rows[2]};
  const int64_t width = tile.width;
  const int64_t x_column = (tile.x_parity + y) & 1;
  // Pixels [i, i + kTwice), to each of three places.
  const auto make = [&](int64_t i, float* const* to, auto&& put) {
    const Colors x = at_x((i + 1 - x_column) >> 1), g = at_g((i + x_column) >> 1);
    const bool x_first = ((i + x_column) & 1) == 0;
    const auto merge = [&](Lanes at_x, Lanes at_g, float* row) {
      if (encoded) {
        at_x = at_x * (at_x.magnitude() + Lanes::of(2 * kPedestalRoot));
        at_g = at_g * (at_g.magnitude() + Lanes::of(2 * kPedestalRoot));
      }
      Lanes first, second;
      if (x_first)
        Lanes::interleave(at_x, at_g, &first, &second);
      else
        Lanes::interleave(at_g, at_x, &first, &second);
      put(first, row);
      put(second, row + Lanes::n);
    };
    merge(x.own, g.own, to[0]);
    merge(x.green, g.green, to[1]);
    merge(x.opposite, g.opposite, to[2]);
  };
  const auto store = [](Lanes v, float* to) { v.store(to); };
  // Pixels [first, last) of fewer.
  const auto some = [&](int64_t first, int64_t last) {
    float part[3][kTwice];
    float* const parts[3] = {part[0], part[1], part[2]};
    make(first, parts, store);
    for (int c = 0; c < 3; ++c)
      for (int64_t i = first; i < last; ++i) out[c][i] = part[c][i - first];
  };
  int64_t begin = 0;
  if (streamed) begin = static_cast<int64_t>((64 - reinterpret_cast<uintptr_t>(out[0]) % 64) % 64 / 4);
  begin = begin < width ? begin : width;
  if (begin) some(0, begin);
  int64_t i = begin;
  RAWZOO_INDEPENDENT
  for (; i + kTwice <= width; i += kTwice) {
    float* const to[3] = {out[0] + i, out[1] + i, out[2] + i};
    if (streamed)
      make(i, to, [](Lanes v, float* to) { v.stream(to); });
    else
      make(i, to, store);
  }
  if (i < width) some(i, width);
}

// The last stage: makes row y, where the tile wants it, in one loop, so that much is computed while memory is waited
// for. at_x(k), at_g(k): the colours at Lanes::n sites from k on.
template <class AtX, class AtG>
void write_row(const BayerTile& tile, int64_t y, AtX at_x, AtG at_g) {
  float* out[3];
  tile.place(tile.context, y, out);
  const auto in_line = [](const float* p) { return reinterpret_cast<uintptr_t>(p) % 64; };
  const bool streamed = tile.streamed && in_line(out[0]) % 4 == 0 && in_line(out[0]) == in_line(out[1]) &&
                        in_line(out[0]) == in_line(out[2]);
  if (tile.encoded)
    (streamed ? write_row_as<true, true, AtX, AtG> : write_row_as<true, false, AtX, AtG>)(tile, y, at_x, at_g, out);
  else
    (streamed ? write_row_as<false, true, AtX, AtG> : write_row_as<false, false, AtX, AtG>)(tile, y, at_x, at_g, out);
  tile.take(tile.context, y);
}

// Colours in arrays.
struct Samples {
  const float *own, *green, *opposite;
  Colors operator()(int64_t k) const {
    return {Lanes::load(own + k), Lanes::load(green + k), Lanes::load(opposite + k)};
  }
};

}  // namespace
}  // namespace rawzoo
