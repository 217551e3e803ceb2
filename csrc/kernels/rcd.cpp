// Ratio corrected demosaicing (Luis Sanz Rodriguez 2017), from its published description.
#include "kernels/bayer_stages.h"

namespace rawzoo {
namespace {

struct Rcd {
  const BayerTile& tile;
  Arena arena;
  Mosaic m;
  Ring vertical_x, vertical_g;  // squared high-pass along columns
  Ring share_x, share_g;        // of vertical change: 1 where rows are to be followed
  Ring low;                     // low-passed, at x sites
  Ring falling, rising;         // squared high-pass along both diagonals, at x sites
  Ring diagonal;                // share of the falling one
  Ring green, opposite;         // at x sites
  float *horizontal_x, *horizontal_g, *g_own, *g_opposite;

  Rcd(const BayerTile& tile, float* scratch)
      : tile(tile),
        arena{scratch},
        m(tile, arena, 16),
        vertical_x(arena.ring(4)),
        vertical_g(arena.ring(4)),
        share_x(arena.ring(4)),
        share_g(arena.ring(8)),
        low(arena.ring(8)),
        falling(arena.ring(4)),
        rising(arena.ring(4)),
        diagonal(arena.ring(4)),
        green(arena.ring(8)),
        opposite(arena.ring(8)),
        horizontal_x(arena.row()),
        horizontal_g(arena.row()),
        g_own(arena.row()),
        g_opposite(arena.row()) {}

  void make_vertical(int64_t y) {
    const float *x = m.x[y], *x_n = m.x[y - 1], *x_s = m.x[y + 1], *x_n2 = m.x[y - 2], *x_s2 = m.x[y + 2],
                *x_n3 = m.x[y - 3], *x_s3 = m.x[y + 3];
    const float *g = m.g[y], *g_n = m.g[y - 1], *g_s = m.g[y + 1], *g_n2 = m.g[y - 2], *g_s2 = m.g[y + 2],
                *g_n3 = m.g[y - 3], *g_s3 = m.g[y + 3];
    float *at_x = vertical_x[y], *at_g = vertical_g[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      at_x[k] = rcd_square(x[k], g_n[k] + g_s[k], x_n2[k] + x_s2[k], g_n3[k] + g_s3[k]);
      at_g[k] = rcd_square(g[k], x_n[k] + x_s[k], g_n2[k] + g_s2[k], x_n3[k] + x_s3[k]);
    }
  }

  void make_low(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *x_n = m.x[y - 1], *x_s = m.x[y + 1], *g_n = m.g[y - 1], *g_s = m.g[y + 1];
    float* out = low[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const int64_t w = k + p.left, e = k + p.right;
      const float corners = (x_n[w] + x_n[e]) + (x_s[w] + x_s[e]);
      const float sides = (g_n[k] + g_s[k]) + (g[w] + g[e]);
      out[k] = 0.0625f * (corners + 2.0f * sides) + 0.25f * x[k];
    }
  }

  void make_share(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      horizontal_x[k] =
          rcd_square(x[k], g[k + p.left] + g[k + p.right], x[k - 1] + x[k + 1], g[k + p.left - 1] + g[k + p.right + 1]);
      horizontal_g[k] = rcd_square(g[k], x[k + p.g_left] + x[k + p.g_right], g[k - 1] + g[k + 1],
                                   x[k + p.g_left - 1] + x[k + p.g_right + 1]);
    }
    const float *v_x = vertical_x[y], *v_g = vertical_g[y];
    const float *n_x = vertical_x[y - 1], *n_g = vertical_g[y - 1], *s_x = vertical_x[y + 1], *s_g = vertical_g[y + 1];
    float *at_x = share_x[y], *at_g = share_g[y];
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      at_x[k] = rcd_share(v_x[k] + (n_g[k] + s_g[k]),
                          horizontal_x[k] + (horizontal_g[k + p.left] + horizontal_g[k + p.right]));
      at_g[k] = rcd_share(v_g[k] + (n_x[k] + s_x[k]),
                          horizontal_g[k] + (horizontal_x[k + p.g_left] + horizontal_x[k + p.g_right]));
    }
  }

  void make_green(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *g = m.g[y], *n1 = m.g[y - 1], *s1 = m.g[y + 1], *n2 = m.x[y - 2], *s2 = m.x[y + 2],
                *n3 = m.g[y - 3], *s3 = m.g[y + 3], *n4 = m.x[y - 4], *s4 = m.x[y + 4];
    const float *low_0 = low[y], *low_n = low[y - 2], *low_s = low[y + 2];
    const float *share = share_x[y], *share_n = share_x[y - 1], *share_s = share_x[y + 1];
    float* out = green[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const int64_t w = k + p.left, e = k + p.right;
      const float c = x[k];
      const float north = rcd_green_gradient(c, n1[k], n2[k], n3[k], n4[k], s1[k]);
      const float south = rcd_green_gradient(c, s1[k], s2[k], s3[k], s4[k], n1[k]);
      const float west = rcd_green_gradient(c, g[w], x[k - 1], g[w - 1], x[k - 2], g[e]);
      const float east = rcd_green_gradient(c, g[e], x[k + 1], g[e + 1], x[k + 2], g[w]);
      const float v =
          blend(south / (north + south), rcd_green(n1[k], low_0[k], low_n[k]), rcd_green(s1[k], low_0[k], low_s[k]));
      const float h =
          blend(east / (west + east), rcd_green(g[w], low_0[k], low_0[k - 1]), rcd_green(g[e], low_0[k], low_0[k + 1]));
      const float four = (share_n[w] + share_n[e]) + (share_s[w] + share_s[e]);
      out[k] = blend(rcd_decided(share[k], four), h, v);
    }
  }

  void make_squares(int64_t y) {
    const Parity p = m.parity(y);
    const float *x = m.x[y], *n1 = m.x[y - 1], *s1 = m.x[y + 1], *n2 = m.x[y - 2], *s2 = m.x[y + 2], *n3 = m.x[y - 3],
                *s3 = m.x[y + 3];
    float *down = falling[y], *up = rising[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const int64_t w = k + p.left, e = k + p.right;
      down[k] = rcd_square(x[k], n1[w] + s1[e], n2[k - 1] + s2[k + 1], n3[w - 1] + s3[e + 1]);
      up[k] = rcd_square(x[k], n1[e] + s1[w], n2[k + 1] + s2[k - 1], n3[e + 1] + s3[w - 1]);
    }
  }

  void make_diagonal(int64_t y) {
    const Parity p = m.parity(y);
    const float *down = falling[y], *down_n = falling[y - 1], *down_s = falling[y + 1];
    const float *up = rising[y], *up_n = rising[y - 1], *up_s = rising[y + 1];
    float* out = diagonal[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const int64_t w = k + p.left, e = k + p.right;
      out[k] = rcd_share(down[k] + (down_n[w] + down_s[e]), up[k] + (up_n[e] + up_s[w]));
    }
  }

  void make_opposite(int64_t y) {
    const Parity p = m.parity(y);
    const float *n1 = m.x[y - 1], *s1 = m.x[y + 1], *n3 = m.x[y - 3], *s3 = m.x[y + 3];
    const float *g0 = green[y], *g_n1 = green[y - 1], *g_s1 = green[y + 1], *g_n2 = green[y - 2], *g_s2 = green[y + 2];
    const float *share = diagonal[y], *share_n = diagonal[y - 1], *share_s = diagonal[y + 1];
    float* out = opposite[y];
    const int64_t end = halo_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = kFirst; k < end; ++k) {
      const int64_t w = k + p.left, e = k + p.right;
      const float nw = rcd_gradient(n1[w], s1[e], n3[w - 1], g0[k], g_n2[k - 1]);
      const float se = rcd_gradient(s1[e], n1[w], s3[e + 1], g0[k], g_s2[k + 1]);
      const float ne = rcd_gradient(n1[e], s1[w], n3[e + 1], g0[k], g_n2[k + 1]);
      const float sw = rcd_gradient(s1[w], n1[e], s3[w - 1], g0[k], g_s2[k - 1]);
      const float down = rcd_color(g0[k], nw, se, n1[w], s1[e], g_n1[w], g_s1[e]);
      const float up = rcd_color(g0[k], ne, sw, n1[e], s1[w], g_n1[e], g_s1[w]);
      const float four = (share_n[w] + share_n[e]) + (share_s[w] + share_s[e]);
      out[k] = blend(rcd_decided(share[k], four), up, down);
    }
  }

  // One colour at the g sites; `row` holds it at this row's x sites, n1 ... s3 at those above and below.
  void make_color(int64_t y, const float* row, const float* n1, const float* s1, const float* n3, const float* s3,
                  float* out) {
    const Parity p = m.parity(y);
    const float *g = m.g[y], *g_n2 = m.g[y - 2], *g_s2 = m.g[y + 2];
    const float *g_x = green[y], *g_n1 = green[y - 1], *g_s1 = green[y + 1];
    const float *share = share_g[y], *share_n = share_g[y - 1], *share_s = share_g[y + 1];
    const int64_t end = row_end(tile);
    RAWZOO_INDEPENDENT
    for (int64_t k = 0; k < end; ++k) {
      const int64_t w = k + p.g_left, e = k + p.g_right;
      const float north = rcd_gradient(n1[k], s1[k], n3[k], g[k], g_n2[k]);
      const float south = rcd_gradient(s1[k], n1[k], s3[k], g[k], g_s2[k]);
      const float west = rcd_gradient(row[w], row[e], row[w - 1], g[k], g[k - 1]);
      const float east = rcd_gradient(row[e], row[w], row[e + 1], g[k], g[k + 1]);
      const float v = rcd_color(g[k], north, south, n1[k], s1[k], g_n1[k], g_s1[k]);
      const float h = rcd_color(g[k], west, east, row[w], row[e], g_x[w], g_x[e]);
      const float four = (share_n[w] + share_n[e]) + (share_s[w] + share_s[e]);
      out[k] = blend(rcd_decided(share[k], four), h, v);
    }
  }

  void finish(int64_t y) {
    make_color(y, m.x[y], opposite[y - 1], opposite[y + 1], opposite[y - 3], opposite[y + 3], g_own);
    make_color(y, opposite[y], m.x[y - 1], m.x[y + 1], m.x[y - 3], m.x[y + 3], g_opposite);
    write_row(tile, y, Samples{m.x[y], green[y], opposite[y]}, Samples{g_own, m.g[y], g_opposite});
  }

  void run() {
    for (int64_t y = -20; y < tile.rows; ++y) {
      m.make(y + 10);
      if (y >= -14) make_vertical(y + 7);
      if (y >= -14) make_low(y + 7);
      if (y >= -12) make_share(y + 6);
      if (y >= -10) make_green(y + 5);
      if (y >= -10) make_squares(y + 5);
      if (y >= -8) make_diagonal(y + 4);
      if (y >= -6) make_opposite(y + 3);
      if (y >= 0) finish(y);
    }
  }
};

}  // namespace

void RAWZOO_FOR_ISA(rcd_tile)(const BayerTile& tile, float* scratch) { Rcd(tile, scratch).run(); }

}  // namespace rawzoo
