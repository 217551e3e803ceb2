// Gradient-based threshold-free demosaicing, in a soft form: both directions are blended at each site, by the squares
// of the changes of the colour difference over 5x5, instead of halves of each direction by their own windows.
#include "kernels/bayer_stages.h"

namespace rawzoo {
namespace {

struct Gbtf {
  const BayerTile& tile;
  Arena arena;
  Mosaic m;
  Ring vertical_x, vertical_g;              // differences along columns
  Ring sum_h_x, sum_h_g, sum_v_x, sum_v_g;  // changes, summed over five columns
  Ring weight_x, weight_g;
  Ring green, difference;  // at x sites
  Ring opposite;
  float *e_x, *e_g, *change_x, *change_g;

  Gbtf(const BayerTile& tile, float* scratch)
      : tile(tile),
        arena{scratch},
        m(tile, arena, 16),
        vertical_x(arena.ring(4)),
        vertical_g(arena.ring(4)),
        sum_h_x(arena.ring(8)),
        sum_h_g(arena.ring(8)),
        sum_v_x(arena.ring(8)),
        sum_v_g(arena.ring(8)),
        weight_x(arena.ring(2)),
        weight_g(arena.ring(8)),
        green(arena.ring(8)),
        difference(arena.ring(8)),
        opposite(arena.ring(4)),
        e_x(arena.row()),
        e_g(arena.row()),
        change_x(arena.row()),
        change_g(arena.row()) {}

  // Of rows y and y + 1 at once, which share most of what is read.
  void make_vertical(int64_t y) {
    const float *x0 = m.x[y - 2], *x1 = m.x[y - 1], *x2 = m.x[y], *x3 = m.x[y + 1], *x4 = m.x[y + 2], *x5 = m.x[y + 3];
    const float *g0 = m.g[y - 2], *g1 = m.g[y - 1], *g2 = m.g[y], *g3 = m.g[y + 1], *g4 = m.g[y + 2], *g5 = m.g[y + 3];
    float *at_x = vertical_x[y], *at_g = vertical_g[y], *next_x = vertical_x[y + 1], *next_g = vertical_g[y + 1];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      at_x[k] = gbtf_difference(x2[k], g1[k] + g3[k], x0[k] + x4[k]);
      at_g[k] = gbtf_difference(g2[k], x1[k] + x3[k], g0[k] + g4[k]);
      next_x[k] = gbtf_difference(x3[k], g2[k] + g4[k], x1[k] + x5[k]);
      next_g[k] = gbtf_difference(g3[k], x2[k] + x4[k], g1[k] + g5[k]);
    }
  }

  void make_sums(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      e_x[k] = gbtf_difference(x[k], g[k + p.left] + g[k + p.right], x[k - 1] + x[k + 1]);
      e_g[k] = gbtf_difference(g[k], x[k + p.g_left] + x[k + p.g_right], g[k - 1] + g[k + 1]);
    }
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      change_x[k] = fabsf(e_g[k + p.left] - e_g[k + p.right]);
      change_g[k] = fabsf(e_x[k + p.g_left] - e_x[k + p.g_right]);
    }
    five(p, sum_h_x[y], sum_h_g[y]);
    // The row above has its x sites in the columns where this one has its g sites.
    const float *n_x = vertical_x[y - 1], *n_g = vertical_g[y - 1], *s_x = vertical_x[y + 1], *s_g = vertical_g[y + 1];
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      change_x[k] = fabsf(n_g[k] - s_g[k]);
      change_g[k] = fabsf(n_x[k] - s_x[k]);
    }
    five(p, sum_v_x[y], sum_v_g[y]);
  }

  // Sums of changes.
  void five(const Parity& p, float* at_x, float* at_g) const {
    const float *x = change_x, *g = change_g;
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      at_x[k] = ((x[k - 1] + x[k + 1]) + x[k]) + (g[k + p.left] + g[k + p.right]);
      at_g[k] = ((g[k - 1] + g[k + 1]) + g[k]) + (x[k + p.g_left] + x[k + p.g_right]);
    }
  }

  // Sums over five rows, of rows y and y + 1 at once, which share most of what is read. From one row to the next, the
  // columns that were x are g.
  static void weigh(const Ring& h, const Ring& h_other, const Ring& v, const Ring& v_other, int64_t y, int64_t end,
                    float* weight, float* next_weight) {
    const float *h0 = h[y - 2], *h1 = h_other[y - 1], *h2 = h[y], *h3 = h_other[y + 1], *h4 = h[y + 2];
    const float *v0 = v[y - 2], *v1 = v_other[y - 1], *v2 = v[y], *v3 = v_other[y + 1], *v4 = v[y + 2];
    const float *h5 = h_other[y + 3], *v5 = v_other[y + 3];
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      weight[k] = gbtf_weight(((h0[k] + h4[k]) + h2[k]) + (h1[k] + h3[k]), ((v0[k] + v4[k]) + v2[k]) + (v1[k] + v3[k]));
      next_weight[k] =
          gbtf_weight(((h1[k] + h5[k]) + h3[k]) + (h2[k] + h4[k]), ((v1[k] + v5[k]) + v3[k]) + (v2[k] + v4[k]));
    }
  }

  void make_green(int64_t y) {
    const int64_t end = halo_end(tile);
    if (y % 2 == 0) {
      weigh(sum_h_x, sum_h_g, sum_v_x, sum_v_g, y, end, weight_x[y], weight_g[y + 1]);
      weigh(sum_h_g, sum_h_x, sum_v_g, sum_v_x, y, end, weight_g[y], weight_x[y + 1]);
    }
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *w = weight_x[y];
    const float *n1 = m.g[y - 1], *s1 = m.g[y + 1], *n2 = m.x[y - 2], *s2 = m.x[y + 2], *n3 = m.g[y - 3],
                *s3 = m.g[y + 3];
    float *out = green[y], *minus = difference[y];
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const float h =
          gbtf_green(x[k], g[k + p.left] + g[k + p.right], x[k - 1] + x[k + 1], g[k + p.left - 1] + g[k + p.right + 1]);
      const float v = gbtf_green(x[k], n1[k] + s1[k], n2[k] + s2[k], n3[k] + s3[k]);
      out[k] = blend(w[k], h, v);
      minus[k] = out[k] - x[k];
    }
  }

  void make_opposite(int64_t y) {
    const Parity p = m.parity(y);
    const float *g = green[y], *c_n = m.x[y - 1], *c_s = m.x[y + 1], *g_n = green[y - 1], *g_s = green[y + 1];
    const float *n = difference[y - 1], *s = difference[y + 1], *n3 = difference[y - 3], *s3 = difference[y + 3];
    float* out = opposite[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const int64_t w = k + p.left, e = k + p.right;
      const float far = ((n[w - 1] + n[e + 1]) + (s[w - 1] + s[e + 1])) + ((n3[w] + n3[e]) + (s3[w] + s3[e]));
      out[k] = gbtf_opposite(g[k], (c_n[w] + c_n[e]) + (c_s[w] + c_s[e]), (g_n[w] + g_n[e]) + (g_s[w] + g_s[e]),
                             (n[w] + n[e]) + (s[w] + s[e]), far);
    }
  }

  void finish(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *green_x = green[y], *opposite_x = opposite[y], *weight = weight_g[y];
    const float *x_n = m.x[y - 1], *green_n = green[y - 1], *opposite_n = opposite[y - 1];
    const float *x_s = m.x[y + 1], *green_s = green[y + 1], *opposite_s = opposite[y + 1];
    const auto at = [](const float* row, int64_t k) { return Lanes::load(row + k); };
    const auto at_g = [=](int64_t k) -> Colors {
      const int64_t w = k + p.g_left, e = k + p.g_right;
      const Lanes own = at(g, k), share = at(weight, k);
      const Lanes greens_h = at(green_x, w) + at(green_x, e), greens_v = at(green_n, k) + at(green_s, k);
      return {blend(share, along(own, at(x, w) + at(x, e), greens_h),
                    along(own, at(opposite_n, k) + at(opposite_s, k), greens_v)),
              own,
              blend(share, along(own, at(opposite_x, w) + at(opposite_x, e), greens_h),
                    along(own, at(x_n, k) + at(x_s, k), greens_v))};
    };
    write_row(tile, y, Samples{x, green_x, opposite_x}, at_g);
  }

  void run() {
    // Each stage runs as many rows ahead of the next as that one reads below its own.
    for (int64_t y = -21; y < tile.rows; ++y) {
      m.make(y + 11);
      if (y >= -16 && y % 2 == 0) make_vertical(y + 8);
      if (y >= -13) make_sums(y + 7);
      if (y >= -8) make_green(y + 4);
      if (y >= -2) make_opposite(y + 1);
      if (y >= 0) finish(y);
    }
  }
};

}  // namespace

void RAWZOO_FOR_ISA(gbtf_tile)(const BayerTile& tile, float* scratch) { Gbtf(tile, scratch).run(); }

}  // namespace rawzoo
