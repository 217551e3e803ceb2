// The ops on the CPU: strips of rows handed to threads, the row functions of this CPU inside.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/bayer_cpu.h"
#include "kernels/cpu_common.h"
#include "kernels/formulas.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

namespace rawzoo::cpu {
namespace {

// The rows of an X-Trans mosaic nearest to where a worker is: balanced, split by column phase, continued beyond both
// ends. A row is made when first asked for and stays until another takes its slot; rows closer than kSlots never share
// one.
class RowRing {
 public:
  RowRing(const Input& mosaic, const Levels& levels, float clip, Encode encode)
      : mosaic_(mosaic),
        levels_(tile_levels(levels, kPeriod)),
        clip_(clip),
        encode_(encode),
        per_phase_((mosaic.width + kPeriod - 1) / kPeriod),
        pitch_((per_phase_ + 2 * kMargin + 15) / 16 * 16),
        samples_(floats(kSlots * kPeriod * pitch_)),
        line_(floats(mosaic.width)) {
    std::fill_n(row_in_, kSlots, int64_t{-1});
  }

  // Columns phase, phase + 6, ... of row y, which may lie beyond the edge.
  const float* get(int64_t y, int phase) {
    y = continue_by_period(y, mosaic_.height);
    const int slot = static_cast<int>(y % kSlots);
    if (row_in_[slot] != y) {
      make(y, slot);
      row_in_[slot] = y;
    }
    return at(slot, phase);
  }

 private:
  static constexpr int kPeriod = 6, kSlots = 16, kMargin = 16;

  float* at(int slot, int phase) { return samples_.get() + (slot * kPeriod + phase) * pitch_ + kMargin; }

  void make(int64_t y, int slot) {
    const Rows& kernels = rows();
    const RowLevels& levels = levels_[y % kPeriod];
    const int64_t width = mosaic_.width;
    kernels.balance(row_of(mosaic_, 0, y), mosaic_.type, width, levels.black, levels.scale, clip_, line_.get());
    if (encode_ == Encode::sqrt) kernels.encode_sqrt(line_.get(), width);
    for (int phase = 0; phase < kPeriod; ++phase) {
      float* out = at(slot, phase);
      for (int64_t x = phase, k = 0; x < width; x += kPeriod, ++k) out[k] = line_[x];
    }
    const auto cell = [&](int64_t x) -> float& {
      const int64_t shifted = x + 4 * kPeriod;  // positive, so that the division rounds down
      return at(slot, static_cast<int>(shifted % kPeriod))[shifted / kPeriod - 4];
    };
    for (int64_t x = -2 * kPeriod; x < 0; ++x) cell(x) = cell(continue_by_period(x, width));
    for (int64_t x = width; x < (per_phase_ + 2) * kPeriod; ++x) cell(x) = cell(continue_by_period(x, width));
  }

  const Input& mosaic_;
  const std::vector<RowLevels> levels_;
  const float clip_;
  const Encode encode_;
  const int64_t per_phase_, pitch_;
  Floats samples_, line_;
  int64_t row_in_[kSlots];
};

// The taps of X-Trans bilinear for each cell of the tile and colour; row and column are offsets from the cell.
struct XTransTaps {
  struct Tap {
    int dy, dx;
    float weight;
  };
  std::vector<Tap> taps[6][6][3];

  explicit XTransTaps(const Pattern& pattern) {
    for (int row = 0; row < 6; ++row)
      for (int column = 0; column < 6; ++column)
        for (int color = 0; color < 3; ++color) {
          auto& list = taps[row][column][color];
          const int r = window_radius(pattern, row, column, color);
          int sum = 0;
          for (int dy = -r; dy <= r; ++dy)
            for (int dx = -r; dx <= r; ++dx) {
              if (pattern.color[(row + dy + 6) % 6 * 6 + (column + dx + 6) % 6] != color) continue;
              list.push_back({dy, dx, static_cast<float>(window_weight(r, dy, dx))});
              sum += window_weight(r, dy, dx);
            }
          for (Tap& tap : list) tap.weight /= static_cast<float>(sum);
        }
  }
};

template <class Take>
void xtrans_row(RowRing& ring, const XTransTaps& taps, Encode encode, int64_t width, int64_t y, const Take& take) {
  constexpr int kPixels = kChunk / 6 * 6;
  alignas(64) float buffer[3][kPixels];
  const float* rgb[3] = {buffer[0], buffer[1], buffer[2]};
  Taps list[6][3];
  for (int column = 0; column < 6; ++column)
    for (int color = 0; color < 3; ++color) {
      Taps& to = list[column][color];
      to.count = -1;  // the first becomes the base
      for (const auto& tap : taps.taps[y % 6][column][color]) {
        const int x = column + tap.dx + 6;
        const float* samples = ring.get(y + tap.dy, x % 6) + (x / 6 - 1);
        if (to.count < 0) {
          to.base = samples;
        } else {
          to.tap[to.count] = samples;
          to.weight[to.count] = tap.weight;
        }
        ++to.count;
      }
    }
  for (int64_t x = 0; x < width; x += kPixels) {
    const int64_t n = std::min<int64_t>(kPixels, width - x);
    for (int column = 0; column < 6; ++column)
      for (int color = 0; color < 3; ++color)
        rows().weighted_mean(list[column][color], x / 6, (n + 5) / 6, buffer[color] + column);
    if (encode == Encode::sqrt)
      for (float* plane : buffer) rows().decode_sqrt(plane, n);
    take(x, n, rgb);
  }
}

// One pixel for each 2x2 cell: its red, the mean of its greens, its blue. Odd last rows and columns are left out.
template <class Take>
void superpixel_row(const Input& mosaic, const Pattern& pattern, const std::vector<RowLevels>& levels, float clip,
                    Encode encode, int64_t y, const Take& take) {
  alignas(64) float cell[4][kChunk], green[kChunk];
  const int64_t width = mosaic.width / 2;
  for (int64_t x = 0; x < width; x += kChunk) {
    const int64_t n = std::min<int64_t>(kChunk, width - x);
    const float* rgb[3] = {};
    const float* greens[2] = {};
    for (int row = 0; row < 2; ++row) {
      const char* in = static_cast<const char*>(row_of(mosaic, 0, 2 * y + row)) + 2 * x * size_of(mosaic.type);
      rows().split(in, mosaic.type, 2 * n, levels[row].black, levels[row].scale, clip, encode, cell[2 * row],
                   cell[2 * row + 1]);
    }
    for (int i = 0; i < 4; ++i) (pattern.color[i] == 1 ? greens[i / 2] : rgb[pattern.color[i]]) = cell[i];
    for (int64_t i = 0; i < n; ++i) green[i] = 0.5f * (greens[0][i] + greens[1][i]);
    if (encode == Encode::sqrt) {
      for (float* samples : cell) rows().decode_sqrt(samples, n);
      rows().decode_sqrt(green, n);
    }
    rgb[1] = green;
    take(x, n, rgb);
  }
}

int xtrans_passes(Method method) {
  return method == Method::markesteijn ? kXTransPasses : method == Method::markesteijn_1 ? 1 : 0;
}

// Edge-directed X-Trans demosaicing in blocks of columns, and where those are too few for the threads in bands of rows.
template <class Take>
void markesteijn(const Execution& run, const Input& mosaic, const Pattern& pattern, const Levels& levels, float clip,
                 int passes, Encode encode, const Take& take) {
  const int64_t blocks = (mosaic.width + kXTransBlock - 1) / kXTransBlock;
  const int64_t bands =
      run.threads == 1 ? 1 : std::min((4 * run.threads + blocks - 1) / blocks, mosaic.height / 256 + 1);
  const int64_t rows_in_band = (mosaic.height + bands - 1) / bands;
  parallel(blocks * bands, 1, run.threads, [&](Strips& strips) {
    const Floats scratch = floats(kXTransScratch);
    XTransBlock job{mosaic, pattern, levels, clip, encode == Encode::sqrt, passes, 0, 0, 0, 0, nullptr, nullptr};
    job.context = const_cast<Take*>(&take);
    job.take = [](void* context, int64_t y, int64_t x, int64_t n, const float* const* rgb) {
      (*static_cast<const Take*>(context))(y, x, n, rgb);
    };
    for (int64_t i, end; strips.next(i, end);) {
      job.x = i % blocks * kXTransBlock;
      job.width = std::min<int64_t>(kXTransBlock, mosaic.width - job.x);
      job.y_begin = i / blocks * rows_in_band;
      job.y_end = std::min(job.y_begin + rows_in_band, mosaic.height);
      rows().markesteijn(job, scratch.get());
    }
    rows().settle();
  });
}

// Demosaics and calls take(y, x, n, rgb) for each chunk of pixels.
template <class Take>
void demosaic_chunks(const Execution& run, const Input& mosaic, const Pattern& pattern, const Levels& levels,
                     float clip, Method method, Encode encode, const Take& take) {
  const bool superpixel = method == Method::superpixel;
  if (pattern.period == 2 && !superpixel)
    return demosaic_tiles(run, mosaic, pattern, levels, clip, method, encode, take);
  if (const int passes = xtrans_passes(method))
    return markesteijn(run, mosaic, pattern, levels, clip, passes, encode, take);
  const int64_t height = superpixel ? mosaic.height / 2 : mosaic.height;
  const auto tile = tile_levels(levels, pattern.period);
  const std::unique_ptr<const XTransTaps> taps(superpixel ? nullptr : new XTransTaps(pattern));
  parallel(height, strip_rows(mosaic.width), run.threads, [&](Strips& strips) {
    const std::unique_ptr<RowRing> ring(superpixel ? nullptr : new RowRing(mosaic, levels, clip, encode));
    for (int64_t begin, end; strips.next(begin, end);)
      for (int64_t y = begin; y < end; ++y) {
        const auto take_row = [&](int64_t x, int64_t n, const float* const* rgb) { take(y, x, n, rgb); };
        if (superpixel)
          superpixel_row(mosaic, pattern, tile, clip, encode, y, take_row);
        else
          xtrans_row(*ring, *taps, encode, mosaic.width, y, take_row);
      }
    rows().settle();
  });
}

// Writes chunks of RGB to planes or interleaved.
class RgbWriter {
 public:
  explicit RgbWriter(const Output& rgb) : rgb_(rgb) {}

  void operator()(int64_t y, int64_t x, int64_t n, const float* const* chunk) const {
    constexpr int kPiece = 512;
    const int64_t size = size_of(rgb_.type);
    const bool planar = rgb_.count == 3;
    const bool large = bytes_of(rgb_) >= kStreamed && n >= 64;
    if (planar) {
      for (int c = 0; c < 3; ++c) {
        char* out = static_cast<char*>(row_of(rgb_, c, y)) + x * size;
        if (large && rgb_.type == DType::f32)
          rows().stream(chunk[c], n, reinterpret_cast<float*>(out));
        else
          rows().store(chunk[c], rgb_.type, n, out);
      }
      return;
    }
    alignas(64) float piece[3 * kPiece];
    for (int64_t i = 0; i < n; i += kPiece) {
      const int64_t count = std::min<int64_t>(kPiece, n - i);
      const float* in[3] = {chunk[0] + i, chunk[1] + i, chunk[2] + i};
      rows().interleave3(in, count, piece);
      rows().store(piece, rgb_.type, 3 * count, static_cast<char*>(row_of(rgb_, 0, y)) + 3 * (x + i) * size);
    }
  }

 private:
  const Output& rgb_;
};

// Lines for the curve, null for linear; false where these cannot stay within 0.4 code of it.
bool fit_segments(const float* curve, int64_t size, ByteCurve& bytes) {
  constexpr float kCode = 256.0f, kWorst = 0.4f * kCode;
  const auto value = [&](float v) { return 255.0f * kCode * clamp01(curve ? interpolate(curve, size, v) : v); };
  const auto begin_of = [](int segment) {
    const uint32_t bits = kByteOriginBits + (static_cast<uint32_t>(segment) << kSegmentBits);
    float u;
    std::memcpy(&u, &bits, 4);
    return u - kByteOrigin;
  };
  const auto last = static_cast<float>(size - 1);
  for (int i = 0; i < kByteSegments; ++i) {
    const float begin = begin_of(i), end = begin_of(i + 1), reached = std::min(end, 1.0f);
    const float first = value(begin), slope = (value(reached) - first) / (reached - begin);
    // Between the curve's own samples it is a line too, so that the largest gaps are at these.
    float low = 0.0f, high = 0.0f;
    if (curve)
      for (auto j = static_cast<int64_t>(begin * last) + 1; static_cast<float>(j) < reached * last; ++j) {
        const float gap = 255.0f * kCode * clamp01(curve[j]) - (first + slope * (static_cast<float>(j) / last - begin));
        low = std::min(low, gap);
        high = std::max(high, gap);
      }
    const float start = first + 0.5f * (low + high) + 0.5f * kCode, rise = slope * (end - begin);
    // Negated, so that a NaN is refused.
    if (!(high - low <= 2.0f * kWorst && start >= 0.0f && rise >= 0.0f && rise < 65535.0f &&
          start + slope * (reached - begin) < 65535.0f))
      return false;
    bytes.start[i] = static_cast<uint16_t>(start + 0.5f);
    bytes.rise[i] = static_cast<uint16_t>(rise + 0.5f);
  }
  return true;
}

// Writes chunks of linear RGB to the picture.
class ToneWriter {
 public:
  ToneWriter(const Tone& tone, const Output& picture) : tone_(tone), picture_(picture) {
    if (picture.type != DType::u8 || fit_segments(tone.curve, tone.curve_size, bytes_)) return;
    table_.resize(kByteTableSize);
    for (int i = 0; i < kByteTableSize; ++i) {
      const float v = static_cast<float>(i) / (kByteTableSize - 1);
      table_[i] =
          static_cast<uint8_t>(255.0f * clamp01(tone.curve ? interpolate(tone.curve, tone.curve_size, v) : v) + 0.5f);
    }
    bytes_.table = table_.data();
  }

  void operator()(int64_t y, int64_t x, int64_t n, const float* const* rgb) const {
    char* out = static_cast<char*>(row_of(picture_, 0, y)) + 3 * x * size_of(picture_.type);
    if (picture_.type == DType::u8)
      rows().tone_u8(rgb, n, tone_.matrix, bytes_, reinterpret_cast<uint8_t*>(out));
    else if (picture_.type == DType::u16)
      rows().tone_u16(rgb, n, tone_, reinterpret_cast<uint16_t*>(out));
    else
      rows().tone_f32(rgb, n, tone_.matrix, reinterpret_cast<float*>(out));
  }

 private:
  const Tone& tone_;
  const Output& picture_;
  ByteCurve bytes_{};
  std::vector<uint8_t> table_;
};

}  // namespace

void white_balance(const Execution& run, const Input& mosaic, int period, const Levels& levels, float clip,
                   const Output& balanced) {
  const auto tile = tile_levels(levels, period);
  parallel(mosaic.height, strip_rows(mosaic.width), run.threads, [&](Strips& strips) {
    for (int64_t begin, end; strips.next(begin, end);)
      for (int64_t y = begin; y < end; ++y) {
        const RowLevels& row = tile[y % period];
        rows().balance(row_of(mosaic, 0, y), mosaic.type, mosaic.width, row.black, row.scale, clip,
                       static_cast<float*>(row_of(balanced, 0, y)));
      }
  });
}

void demosaic(const Execution& run, const Input& mosaic, const Pattern& pattern, Method method, Encode encode,
              const Output& rgb) {
  Levels identity;
  std::fill_n(identity.black, 36, 0.0f);
  std::fill_n(identity.scale, 36, 1.0f);
  if (pattern.period == 2 && method != Method::superpixel && rgb.count == 3 && rgb.type == DType::f32)
    return demosaic_tiles(run, mosaic, pattern, identity, kUnbounded, method, encode, {}, &rgb);
  demosaic_chunks(run, mosaic, pattern, identity, kUnbounded, method, encode, RgbWriter(rgb));
}

void develop(const Execution& run, const Input& mosaic, const Pattern& pattern, const Levels& levels, float clip,
             Method method, Encode encode, const Tone& tone, const Output& picture) {
  demosaic_chunks(run, mosaic, pattern, levels, clip, method, encode, ToneWriter(tone, picture));
}

void render(const Execution& run, const Input& rgb, const Tone& tone, const Output& picture) {
  const ToneWriter write(tone, picture);
  parallel(rgb.height, strip_rows(rgb.width), run.threads, [&](Strips& strips) {
    for (int64_t begin, end; strips.next(begin, end);)
      for (int64_t y = begin; y < end; ++y) {
        const float* chunk[3];
        for (int c = 0; c < 3; ++c) chunk[c] = static_cast<const float*>(row_of(rgb, c, y));
        write(y, 0, rgb.width, chunk);
      }
  });
}

}  // namespace rawzoo::cpu
