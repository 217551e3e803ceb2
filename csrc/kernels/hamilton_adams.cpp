// Edge-aware demosaicing after Hamilton and Adams (US patent 5,629,734, expired): green along the direction that
// changes less, here blended by how much each changes, then red and blue by bilinear interpolation of colour
// differences.
#include "kernels/bayer_stages.h"

namespace rawzoo {
namespace {

struct HamiltonAdams {
  const BayerTile& tile;
  Arena arena;
  Mosaic m;
  Ring green;  // at x sites
  float *opposite, *g_own, *g_opposite;

  HamiltonAdams(const BayerTile& tile, float* scratch)
      : tile(tile),
        arena{scratch},
        m(tile, arena, 8),
        green(arena.ring(4)),
        opposite(arena.row()),
        g_own(arena.row()),
        g_opposite(arena.row()) {}

  void make_green(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *n = m.g[y - 1], *s = m.g[y + 1], *n2 = m.x[y - 2], *s2 = m.x[y + 2];
    float* out = green[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const float west = g[k + p.left], east = g[k + p.right];
      const float far_h = x[k - 1] + x[k + 1], far_v = n2[k] + s2[k];
      const float w =
          weight_of(hamilton_adams_change(west, east, x[k], far_h), hamilton_adams_change(n[k], s[k], x[k], far_v));
      out[k] = blend(w, hamilton_adams(west + east, x[k], far_h), hamilton_adams(n[k] + s[k], x[k], far_v));
    }
  }

  void finish(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *green_x = green[y];
    const float *x_n = m.x[y - 1], *green_n = green[y - 1], *x_s = m.x[y + 1], *green_s = green[y + 1];
    const int64_t end = row_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = 0; k < end; ++k) {
      const int64_t left = k + p.left, right = k + p.right;
      const float green4 = (green_n[left] + green_n[right]) + (green_s[left] + green_s[right]);
      opposite[k] = 0.25f * ((x_n[left] + x_n[right]) + (x_s[left] + x_s[right])) + (green_x[k] - 0.25f * green4);
      const int64_t west = k + p.g_left, east = k + p.g_right;
      g_own[k] = along(g[k], x[west] + x[east], green_x[west] + green_x[east]);
      g_opposite[k] = along(g[k], x_n[k] + x_s[k], green_n[k] + green_s[k]);
    }
    write_row(tile, y, Samples{x, green_x, opposite}, Samples{g_own, g, g_opposite});
  }

  void run() {
    for (int64_t y = -6; y < tile.rows; ++y) {
      m.make(y + 3);
      if (y >= -2) make_green(y + 1);
      if (y >= 0) finish(y);
    }
  }
};

}  // namespace

void RAWZOO_FOR_ISA(hamilton_adams_tile)(const BayerTile& tile, float* scratch) { HamiltonAdams(tile, scratch).run(); }

}  // namespace rawzoo
