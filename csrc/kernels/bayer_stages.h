// Pieces of the tile pipelines; see bayer_tile.h. Everything is local to the including file (see rows.cpp).
#pragma once

#include "kernels/bayer_formulas.h"
#include "kernels/bayer_tile.h"
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

}  // namespace
}  // namespace rawzoo
