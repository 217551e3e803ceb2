// Bilinear and Malvar-He-Cutler demosaicing: each output is a fixed sum over at most 5x5 samples.
#include "kernels/bayer_stages.h"

namespace rawzoo {
namespace {

template <bool malvar>
struct Linear {
  const BayerTile& tile;
  Arena arena;
  Mosaic m;
  float *x_green, *x_opposite, *g_own, *g_opposite;

  Linear(const BayerTile& tile, float* scratch)
      : tile(tile),
        arena{scratch},
        m(tile, arena, 8),
        x_green(arena.row()),
        x_opposite(arena.row()),
        g_own(arena.row()),
        g_opposite(arena.row()) {}

  void finish(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *x_n = m.x[y - 1], *x_s = m.x[y + 1], *g_n = m.g[y - 1], *g_s = m.g[y + 1];
    const float *x_n2 = m.x[y - 2], *x_s2 = m.x[y + 2], *g_n2 = m.g[y - 2], *g_s2 = m.g[y + 2];
    const int64_t end = row_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = 0; k < end; ++k) {
      const int64_t left = k + p.left, right = k + p.right;
      const float green = (g_n[k] + g_s[k]) + (g[left] + g[right]);
      const float diagonal = (x_n[left] + x_n[right]) + (x_s[left] + x_s[right]);
      if (malvar) {
        const float cross = (x_n2[k] + x_s2[k]) + (x[k - 1] + x[k + 1]);
        x_green[k] = malvar_green(x[k], cross, green);
        x_opposite[k] = malvar_opposite(x[k], cross, diagonal);
      } else {
        x_green[k] = 0.25f * green;
        x_opposite[k] = 0.25f * diagonal;
      }
    }
    RAWZOO_INDEPENDENT
    for (int64_t k = 0; k < end; ++k) {
      const int64_t west = k + p.g_left, east = k + p.g_right;
      const float row = x[west] + x[east], column = x_n[k] + x_s[k];
      if (malvar) {
        const float diagonal = (g_n[west] + g_n[east]) + (g_s[west] + g_s[east]);
        const float row_green = g[k - 1] + g[k + 1], column_green = g_n2[k] + g_s2[k];
        g_own[k] = malvar_at_green(g[k], row, diagonal, row_green, column_green);
        g_opposite[k] = malvar_at_green(g[k], column, diagonal, column_green, row_green);
      } else {
        g_own[k] = 0.5f * row;
        g_opposite[k] = 0.5f * column;
      }
    }
    tile.take(tile.context, y, {x, x_green, x_opposite, g_own, g, g_opposite});
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
