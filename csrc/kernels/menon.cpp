// Demosaicing with directional filtering and a posteriori decision (DDFAPD): Menon, Andriani, Calvagno, IEEE TIP 2007,
// with its refining step.
#include "kernels/bayer_stages.h"

namespace rawzoo {
namespace {

struct Menon {
  const BayerTile& tile;
  Arena arena;
  Mosaic m;
  // At x sites: green along each direction, change of the colour difference along rows, the difference along columns
  // and its change, whether to go along rows, green before and after refinement, the opposite colour.
  Ring green_h, green_v, change_h, difference_v, change_v, along_rows, green, refined, opposite;
  Ring own, other, refined_own, refined_other;  // at g sites: both colours, before and after
  float *difference_h, *result;

  Menon(const BayerTile& tile, float* scratch)
      : tile(tile),
        arena{scratch},
        m(tile, arena, 16),
        green_h(arena.ring(4)),
        green_v(arena.ring(4)),
        change_h(arena.ring(8)),
        difference_v(arena.ring(4)),
        change_v(arena.ring(4)),
        along_rows(arena.ring(8)),
        green(arena.ring(4)),
        refined(arena.ring(4)),
        opposite(arena.ring(4)),
        own(arena.ring(4)),
        other(arena.ring(4)),
        refined_own(arena.ring(4)),
        refined_other(arena.ring(4)),
        difference_h(arena.row()),
        result(arena.row()) {}

  void make_candidates(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *n = m.g[y - 1], *s = m.g[y + 1], *n2 = m.x[y - 2], *s2 = m.x[y + 2];
    float *h = green_h[y], *v = green_v[y], *minus_v = difference_v[y], *change = change_h[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      h[k] = hamilton_adams(g[k + p.left] + g[k + p.right], x[k], x[k - 1] + x[k + 1]);
      v[k] = hamilton_adams(n[k] + s[k], x[k], n2[k] + s2[k]);
      difference_h[k] = x[k] - h[k];
      minus_v[k] = x[k] - v[k];
    }
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) change[k] = fabsf(difference_h[k] - difference_h[k + 1]);
  }

  void make_change_v(int64_t y) {
    const float *at = difference_v[y], *below = difference_v[y + 2];
    float* change = change_v[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) change[k] = fabsf(at[k] - below[k]);
  }

  void make_green(int64_t y) {
    const Parity p = m.parity(y);
    const float *h0 = change_h[y - 2], *h1 = change_h[y - 1], *h2 = change_h[y], *h3 = change_h[y + 1],
                *h4 = change_h[y + 2];
    const float *v0 = change_v[y - 2], *v1 = change_v[y - 1], *v2 = change_v[y];
    const float *horizontal = green_h[y], *vertical = green_v[y];
    float *chosen = along_rows[y], *out = green[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const float score_h = (((h0[k - 1] + h0[k]) + (h4[k - 1] + h4[k])) + 3.0f * (h2[k - 1] + h2[k])) +
                            (h1[k + p.left] + h3[k + p.left]);
      const float score_v = (((v0[k - 1] + v0[k + 1]) + (v2[k - 1] + v2[k + 1])) + 3.0f * (v0[k] + v2[k])) +
                            (v1[k + p.left] + v1[k + p.right]);
      const bool rows = score_v >= score_h;
      chosen[k] = rows ? 1.0f : 0.0f;
      out[k] = rows ? horizontal[k] : vertical[k];
    }
  }

  // Both colours at the g sites of row y.
  void make_colors(int64_t y, const Ring& green_x, float* row_color, float* column_color) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *green_0 = green_x[y];
    const float *x_n = m.x[y - 1], *x_s = m.x[y + 1], *green_n = green_x[y - 1], *green_s = green_x[y + 1];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const int64_t w = k + p.g_left, e = k + p.g_right;
      row_color[k] = along(g[k], x[w] + x[e], green_0[w] + green_0[e]);
      column_color[k] = along(g[k], x_n[k] + x_s[k], green_n[k] + green_s[k]);
    }
  }

  // The opposite colour at x sites, and green once more.
  void refine(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *g_n = m.g[y - 1], *g_s = m.g[y + 1], *green_x = green[y];
    // What is the row's colour here is the column's above and below.
    const float *own_0 = own[y], *own_n = other[y - 1], *own_s = other[y + 1];
    const float *other_0 = other[y], *other_n = own[y - 1], *other_s = own[y + 1];
    const float* chosen = along_rows[y];
    float *out = opposite[y], *out_green = refined[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const int64_t w = k + p.left, e = k + p.right;
      const bool rows = chosen[k] != 0.0f;
      const float opposite_h = along(x[k], other_0[w] + other_0[e], own_0[w] + own_0[e]);
      const float opposite_v = along(x[k], other_n[k] + other_s[k], own_n[k] + own_s[k]);
      out[k] = rows ? opposite_h : opposite_v;
      const float beside_h = (own_0[w] - g[w]) + (own_0[e] - g[e]);
      const float beside_v = (own_n[k] - g_n[k]) + (own_s[k] - g_s[k]);
      out_green[k] = menon_green(x[k], green_x[k], rows ? beside_h : beside_v);
    }
  }

  void finish(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *own_0 = refined_own[y], *own_n = refined_other[y - 1], *own_s = refined_other[y + 1];
    const float *other_0 = refined_other[y], *other_n = refined_own[y - 1], *other_s = refined_own[y + 1];
    const float *chosen = along_rows[y], *before = opposite[y];
    const int64_t end = row_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = 0; k < end; ++k) {
      const int64_t w = k + p.left, e = k + p.right;
      const float beside_h = (other_0[w] - own_0[w]) + (other_0[e] - own_0[e]);
      const float beside_v = (other_n[k] - own_n[k]) + (other_s[k] - own_s[k]);
      result[k] = menon_opposite(x[k], before[k], chosen[k] != 0.0f ? beside_h : beside_v);
    }
    write_row(tile, y, Samples{x, refined[y], result}, Samples{own_0, m.g[y], other_0});
  }

  void run() {
    for (int64_t y = -16; y < tile.rows; ++y) {
      m.make(y + 8);
      if (y >= -12) make_candidates(y + 6);
      if (y >= -10) make_change_v(y + 4);
      if (y >= -8) make_green(y + 4);
      if (y >= -6) make_colors(y + 3, green, own[y + 3], other[y + 3]);
      if (y >= -4) refine(y + 2);
      if (y >= -2) make_colors(y + 1, refined, refined_own[y + 1], refined_other[y + 1]);
      if (y >= 0) finish(y);
    }
  }
};

}  // namespace

void RAWZOO_FOR_ISA(menon_tile)(const BayerTile& tile, float* scratch) { Menon(tile, scratch).run(); }

}  // namespace rawzoo
