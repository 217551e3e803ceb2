// Bilinear and Malvar-He-Cutler demosaicing: each output is a fixed sum over at most 5x5 samples.
#include "kernels/bayer_stages.h"

namespace rawzoo {
namespace {

template <bool malvar>
struct Linear {
  const BayerTile& tile;
  Arena arena;
  Mosaic m;

  Linear(const BayerTile& tile, float* scratch) : tile(tile), arena{scratch}, m(tile, arena, 8) {}

  void finish(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *x_n = m.x[y - 1], *x_s = m.x[y + 1], *g_n = m.g[y - 1], *g_s = m.g[y + 1];
    const float *x_n2 = m.x[y - 2], *x_s2 = m.x[y + 2], *g_n2 = m.g[y - 2], *g_s2 = m.g[y + 2];
    const auto at = [](const float* row, int64_t k) { return Lanes::load(row + k); };
    const auto at_x = [=](int64_t k) -> Colors {
      const int64_t left = k + p.left, right = k + p.right;
      const Lanes own = at(x, k), green = (at(g_n, k) + at(g_s, k)) + (at(g, left) + at(g, right));
      const Lanes diagonal = (at(x_n, left) + at(x_n, right)) + (at(x_s, left) + at(x_s, right));
      if (!malvar) return {own, 0.25f * green, 0.25f * diagonal};
      const Lanes cross = (at(x_n2, k) + at(x_s2, k)) + (at(x, k - 1) + at(x, k + 1));
      return {own, malvar_green(own, cross, green), malvar_opposite(own, cross, diagonal)};
    };
    const auto at_g = [=](int64_t k) -> Colors {
      const int64_t west = k + p.g_left, east = k + p.g_right;
      const Lanes own = at(g, k), row = at(x, west) + at(x, east), column = at(x_n, k) + at(x_s, k);
      if (!malvar) return {0.5f * row, own, 0.5f * column};
      const Lanes diagonal = (at(g_n, west) + at(g_n, east)) + (at(g_s, west) + at(g_s, east));
      const Lanes row_green = at(g, k - 1) + at(g, k + 1), column_green = at(g_n2, k) + at(g_s2, k);
      return {malvar_at_green(own, row, diagonal, row_green, column_green), own,
              malvar_at_green(own, column, diagonal, column_green, row_green)};
    };
    write_row(tile, y, at_x, at_g);
  }

  void run() {
    for (int64_t y = -4; y < tile.rows; ++y) {
      m.make(y + 2);
      if (y >= 0) finish(y);
    }
  }
};

}  // namespace

void RAWZOO_FOR_ISA(bilinear_tile)(const BayerTile& tile, float* scratch) { Linear<false>(tile, scratch).run(); }
void RAWZOO_FOR_ISA(malvar_tile)(const BayerTile& tile, float* scratch) { Linear<true>(tile, scratch).run(); }

}  // namespace rawzoo
