#include "kernels/markesteijn.h"

#include "kernels/vector.h"
#include "kernels/xtrans_formulas.h"

// This file is compiled several times with different instruction sets: everything is local.
namespace rawzoo {
namespace {

constexpr int kPeriods = kXTransPeriods;

// The last rows of a plane. Sample k of phase p is column 6 * (k - kXTransMargin) + p of the block.
class Ring {
 public:
  void take(float*& scratch, int depth) {
    data_ = scratch;
    mask_ = depth - 1;
    scratch += depth * kXTransRow;
  }
  float* row(int64_t y) { return data_ + (y & mask_) * kXTransRow + 16; }
  const float* row(int64_t y) const { return data_ + (y & mask_) * kXTransRow + 16; }
  float* phase(int64_t y, int p) { return row(y) + p * kPeriods; }
  // Samples dx columns right of those in phase p.
  const float* at(int64_t y, int p, int dx) const {
    const int q = p + dx;
    return row(y) + (q < 0 ? (q + 6) * kPeriods - 1 : q < 6 ? q * kPeriods : (q - 6) * kPeriods + 1);
  }

 private:
  float* data_ = nullptr;
  int64_t mask_ = 0;
};

struct Offset {
  int dy, dx;
};

// A red or blue site: unit offset towards its solitary green, and across.
struct Axis {
  Offset along, across;
  int along_direction, across_direction;
  Offset step(int k, int p) const { return {k * along.dy + p * across.dy, k * along.dx + p * across.dx}; }
};
Axis axis_of(int in_y, int in_x) {
  if (in_x == 0) return {{-in_y, 0}, {0, 1}, kVertical, kHorizontal};
  return {{0, -in_x}, {1, 0}, kHorizontal, kVertical};
}

// Four images, one for each direction, and what they are merged to.
struct Pass {
  Ring plane[kDirections][3], bends[kDirections], merged[3];

  void take(float*& scratch) {
    for (int d = 0; d < kDirections; ++d) {
      for (int c = 0; c < 3; ++c) plane[d][c].take(scratch, c == 1 ? 16 : 8);
      bends[d].take(scratch, 4);
    }
    for (Ring& ring : merged) ring.take(scratch, 8);
  }
};

class Block {
 public:
  Block(const XTransBlock& job, float* scratch)
      : job_(job), periods_(static_cast<int>((job.width + 5) / 6) + 2 * kXTransMargin) {
    for (int i = 0; i < kXTransScratch; ++i) scratch[i] = 0.0f;
    find_solitary(job.pattern, &solitary_row_, &solitary_column_);
    samples_.take(scratch, 32);
    for (int i = 0; i < job.passes; ++i) pass_[i].take(scratch);
    for (float*& line : line_) {
      line = scratch + 16;
      scratch += kXTransRow;
    }
  }

  void run() {
    const int reach = kXTransFirstReach + (job_.passes - 1) * kXTransReach;
    for (int64_t newest = job_.y_begin - reach; newest < job_.y_end + reach; ++newest) {
      load(newest);
      int lag = 0;
      for (int i = 0; i < job_.passes; ++i) {
        // Rows are made in the order in which they become possible; the first ones, which lack rows above, are not read.
        int64_t y = newest - lag - (i ? 2 : 3);
        if (i)
          green_again(pass_[i - 1], pass_[i], y);
        else
          first_green(pass_[i], y);
        at_solitary_greens(pass_[i], y - 2);
        at_red_and_blue(pass_[i], y - 3);
        in_green_blocks(pass_[i], y - 5);
        bends(pass_[i], y - 6);
        merge(pass_[i], y - 7);
        lag = static_cast<int>(newest - (y - 7));
      }
      if (newest - lag >= job_.y_begin) finish(newest - lag);
    }
  }

 private:
  int color(int64_t y, int p) const { return job_.pattern.color[(y % 6 + 6) % 6 * 6 + (p + 6) % 6]; }
  int in_y(int64_t y) const { return from_solitary(y, solitary_row_); }
  int in_x(int p) const { return from_solitary(p, solitary_column_); }
  static const float* at(const Ring& ring, int64_t y, int p, Offset o, int times = 1) {
    return ring.at(y + times * o.dy, p, times * o.dx);
  }

  template <class T>
  void load_line(const T* in, int64_t y, float* line) {
    const float* black = job_.levels.black + y % 6 * 6;
    const float* scale = job_.levels.scale + y % 6 * 6;
    const int64_t start = job_.x - 6 * kXTransMargin;
    const int n = periods_;
    for (int i = 0; i < 6 * n; ++i) {
      const int64_t x = start + i, width = job_.mosaic.width;
      line[i] = static_cast<float>(in[x >= 0 && x < width ? x : continue_by_period(x, width)]);
    }
    for (int p = 0; p < 6; ++p) {
      float* out = samples_.phase(row_, p);
      const float b = black[p], s = scale[p], clip = job_.clip;
      RAWZOO_INDEPENDENT
      for (int k = 0; k < n; ++k) out[k] = balance(line[6 * k + p], b, s, clip);
      if (!job_.root) continue;
      RAWZOO_INDEPENDENT
      for (int k = 0; k < n; ++k) out[k] = encode_sqrt(out[k]);
    }
  }

  void load(int64_t y) {
    row_ = y;
    const int64_t inside = continue_by_period(y, job_.mosaic.height);
    if (job_.mosaic.type == DType::u16)
      load_line(static_cast<const uint16_t*>(job_.mosaic.data) + inside * job_.mosaic.row_stride, inside, line_[0]);
    else
      load_line(static_cast<const float*>(job_.mosaic.data) + inside * job_.mosaic.row_stride, inside, line_[0]);
  }

  // Puts the samples of row y where they belong.
  void place_samples(Pass& pass, int64_t y, int p) {
    const int n = periods_;
    const float* x = samples_.phase(y, p);
    for (int d = 0; d < kDirections; ++d) {
      float* out = pass.plane[d][color(y, p)].phase(y, p);
      RAWZOO_INDEPENDENT
      for (int k = 0; k < n; ++k) out[k] = x[k];
    }
  }

  void first_green(Pass& pass, int64_t y) {
    const int n = periods_;
    for (int p = 0; p < 6; ++p) {
      place_samples(pass, y, p);
      if (color(y, p) == 1) continue;
      const Axis axis = axis_of(in_y(y), in_x(p));
      const auto sample = [&](int along, int across) { return at(samples_, y, p, axis.step(along, across)); };
      const float *x = sample(0, 0), *left = sample(0, -1), *right = sample(0, 1), *left2 = sample(0, -2),
                  *right2 = sample(0, 2), *near = sample(1, 0), *far = sample(-2, 0), *own2 = sample(2, 0),
                  *near_l = sample(-1, -1), *near_r = sample(-1, 1), *far_l = sample(2, 2), *far_r = sample(2, -2),
                  *own3[4] = {sample(-3, -3), sample(3, 3), sample(-3, 3), sample(3, -3)};
      // Towards smaller rows and columns at once, or larger at once, is falling.
      const bool falling = axis.along.dy + axis.along.dx > 0;
      float *across = pass.plane[axis.across_direction][1].phase(y, p),
            *along = pass.plane[axis.along_direction][1].phase(y, p),
            *diagonal_l = pass.plane[falling ? kFalling : kRising][1].phase(y, p),
            *diagonal_r = pass.plane[falling ? kRising : kFalling][1].phase(y, p);
      RAWZOO_INDEPENDENT
      for (int k = 0; k < n; ++k) {
        const float low = least(least(least(left[k], right[k]), least(near[k], far[k])), least(near_l[k], near_r[k]));
        const float high = most(most(most(left[k], right[k]), most(near[k], far[k])), most(near_l[k], near_r[k]));
        across[k] = bounded(green_across(left[k], right[k], left2[k], right2[k]), low, high);
        along[k] = bounded(green_along(near[k], far[k], x[k], own2[k]), low, high);
        diagonal_l[k] = bounded(green_diagonal(near_l[k], far_l[k], x[k], own3[0][k], own3[1][k]), low, high);
        diagonal_r[k] = bounded(green_diagonal(near_r[k], far_r[k], x[k], own3[2][k], own3[3][k]), low, high);
      }
    }
  }

  // Green from the colour differences of the picture so far, in each direction, and some of the way there.
  void green_again(Pass& before, Pass& pass, int64_t y) {
    const int n = periods_;
    for (int p = 0; p < 6; ++p) {
      place_samples(pass, y, p);
      if (color(y, p) == 1) continue;
      const Axis axis = axis_of(in_y(y), in_x(p));
      const auto sample = [&](int along, int across) { return at(samples_, y, p, axis.step(along, across)); };
      const float *x = sample(0, 0), *left = sample(0, -1), *right = sample(0, 1), *near = sample(1, 0),
                  *far = sample(-2, 0), *near_l = sample(-1, -1), *near_r = sample(-1, 1);
      float* low = line_[0];
      float* high = line_[1];
      RAWZOO_INDEPENDENT
      for (int k = 0; k < n; ++k) {
        low[k] = least(least(least(left[k], right[k]), least(near[k], far[k])), least(near_l[k], near_r[k]));
        high[k] = most(most(most(left[k], right[k]), most(near[k], far[k])), most(near_l[k], near_r[k]));
      }
      const bool falling = axis.along.dy + axis.along.dx > 0;
      const Ring& own = before.merged[color(y, p)];
      const Ring& green = before.merged[1];
      const auto pair = [&](int direction, Offset one, Offset other, bool centred) {
        const float *c1 = at(own, y, p, one), *c2 = at(own, y, p, other), *g1 = at(green, y, p, one),
                    *g2 = at(green, y, p, other), *old = before.plane[direction][1].phase(y, p);
        float* out = pass.plane[direction][1].phase(y, p);
        const float share = centred ? 0.5f : kThird;
        RAWZOO_INDEPENDENT
        for (int k = 0; k < n; ++k) {
          const float c = c1[k] + (c2[k] - c1[k]) * share, g = g1[k] + (g2[k] - g1[k]) * share;
          const float again = bounded(with_green(g, x[k], c), low[k], high[k]);
          out[k] = old[k] + kRelaxation * (again - old[k]);
        }
      };
      pair(axis.across_direction, axis.step(0, -1), axis.step(0, 1), true);
      pair(axis.along_direction, axis.step(1, 0), axis.step(-2, 0), false);
      pair(falling ? kFalling : kRising, axis.step(-1, -1), axis.step(2, 2), false);
      pair(falling ? kRising : kFalling, axis.step(-1, 1), axis.step(2, -2), false);
    }
  }

  // Red and blue at solitary greens: one colour from the two sites beside, the other from the two beyond; from the row
  // or from the column.
  void at_solitary_greens(Pass& pass, int64_t y) {
    const int n = periods_;
    if (in_y(y) != 0) return;
    for (int p = 0; p < 6; ++p) {
      if (in_x(p) != 0) continue;
      const int of_row = color(y, p + 1), of_column = 2 - of_row;
      for (int d = 0; d < kDirections; ++d) {
        const Ring &green = pass.plane[d][1], &row = pass.plane[d][of_row], &column = pass.plane[d][of_column];
        const float *g = green.at(y, p, 0), *w = green.at(y, p, -1), *e = green.at(y, p, 1), *w2 = green.at(y, p, -2),
                    *e2 = green.at(y, p, 2), *up = green.at(y - 1, p, 0), *down = green.at(y + 1, p, 0),
                    *up2 = green.at(y - 2, p, 0), *down2 = green.at(y + 2, p, 0);
        const float *rw = row.at(y, p, -1), *re = row.at(y, p, 1), *rn = row.at(y - 2, p, 0), *rs = row.at(y + 2, p, 0);
        const float *cw = column.at(y, p, -2), *ce = column.at(y, p, 2), *cn = column.at(y - 1, p, 0),
                    *cs = column.at(y + 1, p, 0);
        float *r = pass.plane[d][of_row].phase(y, p), *c = pass.plane[d][of_column].phase(y, p);
        if (d == kHorizontal) {
          RAWZOO_INDEPENDENT
          for (int k = 0; k < n; ++k) {
            r[k] = with_green(middle(rw[k], re[k]), g[k], middle(w[k], e[k]));
            c[k] = with_green(middle(cw[k], ce[k]), g[k], middle(w2[k], e2[k]));
          }
        } else if (d == kVertical) {
          RAWZOO_INDEPENDENT
          for (int k = 0; k < n; ++k) {
            r[k] = with_green(middle(rn[k], rs[k]), g[k], middle(up2[k], down2[k]));
            c[k] = with_green(middle(cn[k], cs[k]), g[k], middle(up[k], down[k]));
          }
        } else {
          RAWZOO_INDEPENDENT
          for (int k = 0; k < n; ++k) {
            const bool level = slope(rw[k], re[k], w[k], e[k]) + slope(cw[k], ce[k], w2[k], e2[k]) <=
                               slope(rn[k], rs[k], up2[k], down2[k]) + slope(cn[k], cs[k], up[k], down[k]);
            const float r_level = with_green(middle(rw[k], re[k]), g[k], middle(w[k], e[k]));
            const float r_steep = with_green(middle(rn[k], rs[k]), g[k], middle(up2[k], down2[k]));
            const float c_level = with_green(middle(cw[k], ce[k]), g[k], middle(w2[k], e2[k]));
            const float c_steep = with_green(middle(cn[k], cs[k]), g[k], middle(up[k], down[k]));
            r[k] = level ? r_level : r_steep;
            c[k] = level ? c_level : c_steep;
          }
        }
      }
    }
  }

  // Blue at red sites and red at blue ones: from the two sites beside on the axis, or, in the image that goes across it
  // and where green changes less that way, from the two at distance 3.
  void at_red_and_blue(Pass& pass, int64_t y) {
    const int n = periods_;
    for (int p = 0; p < 6; ++p) {
      if (color(y, p) == 1) continue;
      const Axis axis = axis_of(in_y(y), in_x(p));
      const int other = 2 - color(y, p);
      for (int d = 0; d < kDirections; ++d) {
        const Ring &green = pass.plane[d][1], &plane = pass.plane[d][other];
        const float *g = green.at(y, p, 0), *g1 = at(green, y, p, axis.along, -1), *g2 = at(green, y, p, axis.along),
                    *c1 = at(plane, y, p, axis.along, -1), *c2 = at(plane, y, p, axis.along);
        float* out = pass.plane[d][other].phase(y, p);
        if (d == axis.across_direction) {
          const float *h1 = at(green, y, p, axis.across, -3), *h2 = at(green, y, p, axis.across, 3),
                      *e1 = at(plane, y, p, axis.across, -3), *e2 = at(plane, y, p, axis.across, 3);
          RAWZOO_INDEPENDENT
          for (int k = 0; k < n; ++k) {
            const bool beside = distance(g[k], g1[k]) + distance(g[k], g2[k]) <
                                2.0f * (distance(g[k], h1[k]) + distance(g[k], h2[k]));
            const float near = with_green(middle(c1[k], c2[k]), g[k], middle(g1[k], g2[k]));
            const float far = with_green(middle(e1[k], e2[k]), g[k], middle(h1[k], h2[k]));
            out[k] = beside ? near : far;
          }
        } else {
          RAWZOO_INDEPENDENT
          for (int k = 0; k < n; ++k)
            out[k] = with_green(middle(c1[k], c2[k]), g[k], middle(g1[k], g2[k]));
        }
      }
    }
  }

  // Red and blue in the 2x2 blocks of greens: from the two sites before and behind in the direction.
  void in_green_blocks(Pass& pass, int64_t y) {
    const int n = periods_;
    const int dy = in_y(y);
    if (dy == 0) return;
    for (int p = 0; p < 6; ++p) {
      const int dx = in_x(p);
      if (dx == 0) continue;
      for (int d = 0; d < kDirections; ++d) {
        Offset one{-dy, -dx}, two{2 * dy, 2 * dx};
        if (d == kHorizontal) one.dy = two.dy = 0;
        if (d == kVertical) one.dx = two.dx = 0;
        // One diagonal leads to solitary greens, the other to a red or blue site at distance 1 on either side.
        const bool centred = d >= kFalling && (dy * dx > 0) != (d == kFalling);
        if (centred) {
          one.dx = dx;
          two = {dy, -dx};
        }
        const float share = centred ? 0.5f : kThird;
        const Ring& green = pass.plane[d][1];
        const float *g = green.at(y, p, 0), *g1 = at(green, y, p, one), *g2 = at(green, y, p, two);
        const Ring &red = pass.plane[d][0], &blue = pass.plane[d][2];
        const float *r1 = at(red, y, p, one), *r2 = at(red, y, p, two), *b1 = at(blue, y, p, one),
                    *b2 = at(blue, y, p, two);
        float *r = pass.plane[d][0].phase(y, p), *b = pass.plane[d][2].phase(y, p);
        RAWZOO_INDEPENDENT
        for (int k = 0; k < n; ++k) {
          const float mean = g1[k] + (g2[k] - g1[k]) * share;
          r[k] = with_green(r1[k] + (r2[k] - r1[k]) * share, g[k], mean);
          b[k] = with_green(b1[k] + (b2[k] - b1[k]) * share, g[k], mean);
        }
      }
    }
  }

  void bends(Pass& pass, int64_t y) {
    const int n = periods_;
    for (int d = 0; d < kDirections; ++d)
      for (int p = 0; p < 6; ++p) {
        const float* tap[3][3];
        for (int c = 0; c < 3; ++c)
          for (int i = -1; i <= 1; ++i) tap[c][i + 1] = pass.plane[d][c].at(y + i * step_y(d), p, i * step_x(d));
        const float *r0 = tap[0][0], *r1 = tap[0][1], *r2 = tap[0][2], *g0 = tap[1][0], *g1 = tap[1][1],
                    *g2 = tap[1][2], *b0 = tap[2][0], *b1 = tap[2][1], *b2 = tap[2][2];
        float* out = pass.bends[d].phase(y, p);
        RAWZOO_INDEPENDENT
        for (int k = 0; k < n; ++k)
          out[k] = energy(bend(r0[k], r1[k], r2[k]), bend(g0[k], g1[k], g2[k]), bend(b0[k], b1[k], b2[k]));
      }
  }

  // The mean of the four images, weighted by how straight each goes on around the site.
  void merge(Pass& pass, int64_t y) {
    const int n = periods_;
    constexpr int kBefore = 1;
    for (int d = 0; d < kDirections; ++d) {
      const float *above = pass.bends[d].row(y - 1), *here = pass.bends[d].row(y), *below = pass.bends[d].row(y + 1);
      float* sum = line_[d] - kBefore;
      RAWZOO_INDEPENDENT
      for (int i = 0; i < 6 * kPeriods + 2 * kBefore; ++i)
        sum[i] = (above[i - kBefore] + below[i - kBefore]) + here[i - kBefore];
    }
    for (int p = 0; p < 6; ++p) {
      float* weight[kDirections];
      for (int d = 0; d < kDirections; ++d) {
        const int l = (p + 5) % 6 * kPeriods - (p == 0), r = (p + 1) % 6 * kPeriods + (p == 5);
        const float *left = line_[d] + l, *here = line_[d] + p * kPeriods, *right = line_[d] + r;
        float* out = weight[d] = line_[4 + d];
        RAWZOO_INDEPENDENT
        for (int k = 0; k < n; ++k) out[k] = weight_of((left[k] + right[k]) + here[k]);
      }
      const float *w0 = weight[0], *w1 = weight[1], *w2 = weight[2], *w3 = weight[3];
      float* scale = line_[8];
      RAWZOO_INDEPENDENT
      for (int k = 0; k < n; ++k) scale[k] = 1.0f / ((w0[k] + w1[k]) + (w2[k] + w3[k]));
      for (int c = 0; c < 3; ++c) {
        const float *v0 = pass.plane[0][c].phase(y, p), *v1 = pass.plane[1][c].phase(y, p),
                    *v2 = pass.plane[2][c].phase(y, p), *v3 = pass.plane[3][c].phase(y, p);
        float* out = pass.merged[c].phase(y, p);
        RAWZOO_INDEPENDENT
        for (int k = 0; k < n; ++k)
          out[k] = v0[k] + ((w1[k] * scale[k]) * (v1[k] - v0[k]) +
                            ((w2[k] * scale[k]) * (v2[k] - v0[k]) + (w3[k] * scale[k]) * (v3[k] - v0[k])));
      }
    }
  }

  void finish(int64_t y) {
    const int n = periods_;
    const float* rgb[3];
    for (int c = 0; c < 3; ++c) {
      float* line = line_[c];
      for (int p = 0; p < 6; ++p) {
        const float* in = pass_[job_.passes - 1].merged[c].phase(y, p) + kXTransMargin;
        for (int k = 0; k < n - 2 * kXTransMargin; ++k) line[6 * k + p] = in[k];
      }
      if (job_.root) {
        RAWZOO_INDEPENDENT
        for (int k = 0; k < kXTransBlock; ++k) line[k] = decode_sqrt(line[k]);
      }
      rgb[c] = line;
    }
    job_.take(job_.context, y, job_.x, job_.width, rgb);
  }

  const XTransBlock& job_;
  const int periods_;  // in this block, with its margins
  int solitary_row_ = 0, solitary_column_ = 0;
  int64_t row_ = 0;
  Ring samples_;
  Pass pass_[kXTransPasses];
  float* line_[16];
};

}  // namespace

void RAWZOO_FOR_ISA(markesteijn_block)(const XTransBlock& job, float* scratch);
void RAWZOO_FOR_ISA(markesteijn_block)(const XTransBlock& job, float* scratch) { Block(job, scratch).run(); }

}  // namespace rawzoo
