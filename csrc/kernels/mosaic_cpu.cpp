// Mending, measuring and shrinking mosaics on the CPU.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu_common.h"
#include "kernels/mosaic_formulas.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

namespace rawzoo::cpu {
namespace {

constexpr float kOne[kLevelRun] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
constexpr float kZero[kLevelRun] = {};

void load_row(const Input& mosaic, int64_t y, float* out) {
  rows().balance(row_of(mosaic, 0, y), mosaic.type, mosaic.width, kZero, kOne, kUnbounded, out);
}

// The rows around the one being mended as float, split by column phase and continued beyond both ends.
class MendRing {
 public:
  MendRing(const Input& mosaic, int period)
      : mosaic_(mosaic),
        period_(period),
        per_phase_((mosaic.width + period - 1) / period),
        pitch_((per_phase_ + 2 * kMargin + 15) / 16 * 16),
        samples_(floats(kSlots * period * pitch_)),
        line_(floats(mosaic.width)) {
    std::fill_n(samples_.get(), kSlots * period * pitch_, 0.0f);
    std::fill_n(row_in_, kSlots, int64_t{-1});
  }

  // Samples dx columns right of those in a phase, of row y, which may lie beyond the edge.
  const float* get(int64_t y, int phase, int dx) {
    y = continued(y, mosaic_.height, period_);
    const int slot = static_cast<int>(y % kSlots);
    if (row_in_[slot] != y) make(y, slot);
    row_in_[slot] = y;
    return &cell(slot, phase + dx);
  }

 private:
  static constexpr int kSlots = 16, kMargin = 16;

  float& cell(int slot, int64_t x) {
    const int64_t shifted = x + 4 * period_;  // positive, so that the division rounds down
    return samples_[(slot * period_ + shifted % period_) * pitch_ + kMargin + shifted / period_ - 4];
  }

  void make(int64_t y, int slot) {
    load_row(mosaic_, y, line_.get());
    const int64_t width = mosaic_.width;
    for (int phase = 0; phase < period_; ++phase)
      rows().every(line_.get(), period_, phase, (width - phase + period_ - 1) / period_, &cell(slot, phase));
    for (int64_t x = -period_; x < 0; ++x) cell(slot, x) = line_[continued(x, width, period_)];
    for (int64_t x = width; x < (per_phase_ + 1) * period_; ++x) cell(slot, x) = line_[continued(x, width, period_)];
  }

  const Input& mosaic_;
  const int period_;
  const int64_t per_phase_, pitch_;
  Floats samples_, line_;
  int64_t row_in_[kSlots];
};

}  // namespace

void hot_pixels(const Execution& run, const Input& mosaic, const Pattern& pattern, const Noise& noise, float threshold,
                const Output& repaired) {
  const int period = pattern.period;
  const Neighbours neighbours = neighbours_of(pattern);
  parallel(mosaic.height, strip_rows(mosaic.width), run.threads, [&](Strips& strips) {
    MendRing ring(mosaic, period);
    std::vector<uint8_t> hot(static_cast<size_t>((mosaic.width + period - 1) / period));
    for (int64_t begin, end; strips.next(begin, end);)
      for (int64_t y = begin; y < end; ++y) {
        char* out = static_cast<char*>(row_of(repaired, 0, y));
        std::memcpy(out, row_of(mosaic, 0, y), static_cast<size_t>(mosaic.width * size_of(mosaic.type)));
        for (int phase = 0; phase < period; ++phase) {
          const auto cell = static_cast<int>(y % period * period + phase);
          const int count = neighbours.count[cell];
          if (count < 3) continue;
          const float* in[25] = {ring.get(y, phase, 0)};
          for (int i = 0; i < count; ++i)
            in[i + 1] = ring.get(y + neighbours.dy[cell][i], phase, neighbours.dx[cell][i]);
          const int64_t n = (mosaic.width - phase + period - 1) / period;
          rows().outliers(in, count, n, noise, threshold, hot.data());
          const uint8_t *const first = hot.data(), *const last = first + n;
          for (const uint8_t* at = first; at < last; ++at) {
            at = static_cast<const uint8_t*>(std::memchr(at, 1, static_cast<size_t>(last - at)));
            if (!at) break;
            const int64_t k = at - first;
            float sum = 0.0f, low = in[1][k], high = low;
            for (int i = 1; i <= count; ++i) {
              sum += in[i][k];
              low = std::min(low, in[i][k]);
              high = std::max(high, in[i][k]);
            }
            const float mean = ((sum - low) - high) / static_cast<float>(count - 2);
            rows().store(&mean, mosaic.type, 1, out + (period * k + phase) * size_of(mosaic.type));
          }
        }
      }
  });
}

void bin_stats(const Execution& run, const Input& mosaic, int period, const Levels& levels, const int* channel_of,
               float low, float high, const Output& means, const Output& numbers) {
  const auto tile = tile_levels(levels, period);
  const int64_t channels = means.count, grid_rows = means.height, grid_columns = means.width;
  parallel(grid_rows, 1, run.threads, [&](Strips& strips) {
    const Floats line = floats(mosaic.width);
    const size_t runs = static_cast<size_t>(grid_columns * period * kLevelRun);
    std::vector<float> sum(runs), count(runs);
    std::vector<double> sums(static_cast<size_t>(grid_columns * channels)), counts(sums.size());
    for (int64_t i, end; strips.next(i, end);) {
      const int64_t first = grid_start(i, grid_rows, mosaic.height), last = grid_start(i + 1, grid_rows, mosaic.height);
      std::fill(sums.begin(), sums.end(), 0.0);
      std::fill(counts.begin(), counts.end(), 0.0);
      // float sums of a few rows of the tile, to be exact enough, then double.
      for (int64_t block = first; block < last; block += 8 * period) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        std::fill(count.begin(), count.end(), 0.0f);
        for (int64_t y = block; y < std::min(block + 8 * period, last); ++y) {
          const RowLevels& row = tile[y % period];
          rows().balance(row_of(mosaic, 0, y), mosaic.type, mosaic.width, row.black, row.scale, kUnbounded, line.get());
          for (int64_t j = 0; j < grid_columns; ++j) {
            const int64_t x = grid_start(j, grid_columns, mosaic.width);
            const int64_t n = grid_start(j + 1, grid_columns, mosaic.width) - x;
            const int64_t at = (j * period + y % period) * kLevelRun;
            rows().accumulate(line.get() + x, n, low, high, &sum[at], &count[at]);
          }
        }
        for (int64_t j = 0; j < grid_columns; ++j) {
          const int64_t x = grid_start(j, grid_columns, mosaic.width);
          for (int row = 0; row < period; ++row)
            for (int k = 0; k < kLevelRun; ++k) {
              const size_t to = static_cast<size_t>(j * channels + channel_of[row * period + (x + k) % period]);
              const size_t from = static_cast<size_t>((j * period + row) * kLevelRun + k);
              sums[to] += sum[from];
              counts[to] += count[from];
            }
        }
      }
      for (int64_t j = 0; j < grid_columns; ++j)
        for (int64_t c = 0; c < channels; ++c) {
          const double n = counts[j * channels + c];
          static_cast<float*>(row_of(means, c, i))[j] = static_cast<float>(n > 0 ? sums[j * channels + c] / n : 0.0);
          static_cast<float*>(row_of(numbers, c, i))[j] = static_cast<float>(n);
        }
    }
  });
}

void downscale_mosaic(const Execution& run, const Input& mosaic, int period, const int* channel_of, int factor,
                      const Output& smaller) {
  const int channels = period == 2 ? 4 : 3;
  const Tent tent = tent_of(period, channel_of, factor);
  const int widest = *std::max_element(tent.reach, tent.reach + channels);
  const int64_t margin = (widest + period) / period * period, padded = mosaic.width + 2 * margin;
  parallel(smaller.height, std::max<int64_t>(1, strip_rows(mosaic.width) / factor), run.threads, [&](Strips& strips) {
    const Floats line = floats(padded), result = floats(smaller.width);
    std::vector<Floats> column_sums;
    for (int c = 0; c < channels; ++c) column_sums.push_back(floats(padded));
    for (int64_t begin, end; strips.next(begin, end);)
      for (int64_t i = begin; i < end; ++i) {
        const int* out_channels = channel_of + i % period * period;
        bool wanted[4] = {};
        for (int x = 0; x < period; ++x) wanted[out_channels[x]] = true;
        for (int c = 0; c < channels; ++c)
          if (wanted[c]) std::fill_n(column_sums[c].get(), padded, 0.0f);
        const int64_t twice_y = twice_place(i, factor);
        for (int64_t y = twice_y / 2 - widest; y <= twice_y / 2 + 1 + widest; ++y) {
          bool loaded = false;
          for (int c = 0; c < channels; ++c) {
            const float vertical = wanted[c] ? tent_weight(2 * y - twice_y, tent.reach[c]) : 0.0f;
            const int64_t row = ((y % period) + period) % period * period;
            if (vertical == 0.0f ||
                std::find(channel_of + row, channel_of + row + period, c) == channel_of + row + period)
              continue;
            if (!loaded) {
              load_row(mosaic, continued(y, mosaic.height, period), line.get() + margin);
              for (int64_t x = 1; x <= margin; ++x)
                line[margin - x] = line[margin + continued(-x, mosaic.width, period)];
              for (int64_t x = mosaic.width; x < mosaic.width + margin; ++x)
                line[margin + x] = line[margin + continued(x, mosaic.width, period)];
              loaded = true;
            }
            float weight[kLevelRun];
            for (int x = 0; x < kLevelRun; ++x) weight[x] = channel_of[row + x % period] == c ? vertical : 0.0f;
            rows().add_weighted(line.get(), padded, weight, column_sums[c].get());
          }
        }
        for (int64_t j = 0; j < smaller.width; ++j) {
          const int c = out_channels[j % period], reach = tent.reach[c];
          const int64_t twice_x = twice_place(j, factor);
          const float* sums = column_sums[c].get() + margin;
          float sum = 0.0f;
          for (int64_t x = twice_x / 2 - reach + 1; x <= twice_x / 2 + reach; ++x)
            sum += tent_weight(2 * x - twice_x, reach) * sums[x];
          result[j] = sum * tent.scale[c];
        }
        rows().store(result.get(), smaller.type, smaller.width, row_of(smaller, 0, i));
      }
  });
}

}  // namespace rawzoo::cpu
