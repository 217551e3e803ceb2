// Packing, the Anscombe transforms, and both at once, on the CPU.
#include <algorithm>
#include <vector>

#include "kernels/cpu_common.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

namespace rawzoo::cpu {
namespace {

constexpr int kPiece = 960;  // a multiple of both periods

// Rows in a strip. Packing costs so little that fewer pixels take less time than to start a thread.
int64_t pack_rows(int64_t width) { return std::max<int64_t>(1, (int64_t{1} << 19) / std::max<int64_t>(width, 1)); }

// Calls work(begin, count) for pieces of 0..n.
template <class Work>
void pieces(const Execution& run, int64_t n, const Work& work) {
  parallel(n, int64_t{1} << 17, run.threads, [&](Strips& strips) {
    for (int64_t begin, end; strips.next(begin, end);) work(begin, end - begin);
  });
}

// Calls work(begin, count, noise, streamed) for pieces of equal noise.
template <class Work>
void channel_pieces(const Execution& run, const Channels& channels, const Work& work) {
  const int64_t all = channels.count * channels.length;
  pieces(run, all, [&](int64_t begin, int64_t count) {
    for (const int64_t end = begin + count; begin < end;) {
      const int64_t channel = begin / channels.length;
      const int64_t n = std::min(end, (channel + 1) * channels.length) - begin;
      work(begin, n, channels.noise[channel], all * 4 >= kStreamed);
      begin += n;
    }
    rows().settle();
  });
}

// One row of one plane of a pack, or of a mosaic.
struct Row {
  char* data;
  DType type;
  void* at(int64_t x) const { return data + x * size_of(type); }
};

// Of the two cells from `cell` on.
PairLevels pair_levels(const Levels& levels, const Noise* noise, int cell) {
  PairLevels pair{};
  pair.transformed = noise;
  for (int i = 0; i < 2; ++i) {
    pair.black[i] = levels.black[cell + i];
    pair.scale[i] = levels.scale[cell + i];
    if (!noise) continue;
    const auto [gain, sigma, offset] = noise[cell + i];
    const float ratio = sigma / gain;
    pair.scale[i] *= 4.0f / gain;
    pair.shift[i] = 4.0f * (0.375f + ratio * ratio - offset / gain);
  }
  return pair;
}

}  // namespace

void pack(const Execution& run, const Input& mosaic, int period, const Levels& levels, const int* plane_of,
          const Noise* noise, const Output& planes) {
  const Rows& kernels = rows();
  const auto tile = tile_levels(levels, period);
  const PairLevels pairs[2] = {pair_levels(levels, noise, 0), pair_levels(levels, noise, 2)};  // where the period is 2
  const bool direct = period == 2 && planes.type != DType::bf16;
  const bool streamed = bytes_of(planes) >= kStreamed;
  parallel(mosaic.height, pack_rows(mosaic.width), run.threads, [&](Strips& strips) {
    alignas(64) float line[kPiece], phase[6][kPiece / 2], linear[kPiece / 6];
    for (int64_t begin, end; strips.next(begin, end);)
      for (int64_t y = begin; y < end; ++y) {
        const RowLevels& row = tile[y % period];
        const auto* in = static_cast<const char*>(row_of(mosaic, 0, y));
        const int64_t cell = y % period * period;
        Row out[6];
        for (int i = 0; i < period; ++i)
          out[i] = {static_cast<char*>(row_of(planes, plane_of[cell + i], y / period)), planes.type};
        if (direct) {
          kernels.pack(in, mosaic.type, mosaic.width, pairs[y % 2], streamed, planes.type, out[0].data, out[1].data);
          continue;
        }
        for (int64_t x = 0; x < mosaic.width; x += kPiece) {
          const int64_t n = std::min<int64_t>(kPiece, mosaic.width - x), count = n / period;
          const char* samples = in + x * size_of(mosaic.type);
          if (period == 2) {
            kernels.pack(samples, mosaic.type, n, pairs[y % 2], false, DType::f32, phase[0], phase[1]);
          } else {
            kernels.balance(samples, mosaic.type, n, row.black, row.scale, kUnbounded, line);
            for (int i = 0; i < period; ++i) {
              kernels.every(line, period, i, count, noise ? linear : phase[i]);
              if (noise) kernels.anscombe(linear, count, noise[cell + i], false, phase[i]);
            }
          }
          for (int i = 0; i < period; ++i) kernels.store(phase[i], planes.type, count, out[i].at(x / period));
        }
      }
    kernels.settle();
  });
}

void unpack(const Execution& run, const Input& planes, int period, const Levels& levels, const int* plane_of,
            const Noise* noise, Inverse inverse, const Output& mosaic) {
  const Rows& kernels = rows();
  Levels back = levels;
  for (float& scale : back.scale) scale = 1.0f / scale;
  const auto tile = tile_levels(back, period);
  parallel(mosaic.height, pack_rows(mosaic.width), run.threads, [&](Strips& strips) {
    alignas(64) float line[kPiece], phase[6][kPiece / 2];
    for (int64_t begin, end; strips.next(begin, end);)
      for (int64_t y = begin; y < end; ++y) {
        const RowLevels& row = tile[y % period];
        const int64_t cell = y % period * period;
        const Row out{static_cast<char*>(row_of(mosaic, 0, y)), mosaic.type};
        for (int64_t x = 0; x < mosaic.width; x += kPiece) {
          const int64_t n = std::min<int64_t>(kPiece, mosaic.width - x), count = n / period;
          for (int i = 0; i < period; ++i) {
            const auto* in = static_cast<const char*>(row_of(planes, plane_of[cell + i], y / period));
            kernels.load(in + x / period * size_of(planes.type), planes.type, count, phase[i]);
            if (noise) kernels.inverse_anscombe(phase[i], count, noise[cell + i], inverse, false, phase[i]);
          }
          if (period == 2) {
            kernels.merge(phase[0], phase[1], count, row.black, row.scale, line);
          } else {
            for (int i = 0; i < period; ++i)
              for (int64_t k = 0; k < count; ++k) line[period * k + i] = phase[i][k] * row.scale[i] + row.black[i];
          }
          kernels.store(line, mosaic.type, n, out.at(x));
        }
      }
  });
}

void anscombe(const Execution& run, const float* x, const Channels& channels, float* y) {
  channel_pieces(run, channels, [&](int64_t i, int64_t n, const Noise& noise, bool streamed) {
    rows().anscombe(x + i, n, noise, streamed, y + i);
  });
}

void inverse_anscombe(const Execution& run, const float* y, const Channels& channels, Inverse inverse, float* x) {
  channel_pieces(run, channels, [&](int64_t i, int64_t n, const Noise& noise, bool streamed) {
    rows().inverse_anscombe(y + i, n, noise, inverse, streamed, x + i);
  });
}

void anscombe_map(const Execution& run, const float* x, int64_t n, const NoiseMap& map, float* y) {
  pieces(run, n, [&](int64_t i, int64_t count) {
    rows().anscombe_map(x + i, count, map.gain + i, map.sigma + i, map.offset + i, y + i);
  });
}

void inverse_anscombe_map(const Execution& run, const float* y, int64_t n, const NoiseMap& map, Inverse inverse,
                          float* x) {
  pieces(run, n, [&](int64_t i, int64_t count) {
    rows().inverse_anscombe_map(y + i, count, map.gain + i, map.sigma + i, map.offset + i, inverse, x + i);
  });
}

}  // namespace rawzoo::cpu
