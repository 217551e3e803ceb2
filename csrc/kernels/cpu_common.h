// What the ops on the CPU share.
#pragma once

#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "kernels/rows.h"

namespace rawzoo::cpu {

constexpr float kUnbounded = std::numeric_limits<float>::infinity();
constexpr int64_t kStreamed = int64_t{1} << 24;  // bytes of a result that would push all else out of the caches
constexpr int kChunk = 512;  // pixels per pass through the row functions; what they hold stays in the L1 cache

inline const void* row_of(const Input& image, int64_t plane, int64_t y) {
  return static_cast<const char*>(image.data) +
         (plane * image.plane_stride + y * image.row_stride) * size_of(image.type);
}
inline void* row_of(const Output& image, int64_t plane, int64_t y) {
  return static_cast<char*>(image.data) + (plane * image.plane_stride + y * image.row_stride) * size_of(image.type);
}

template <class Image>
int64_t bytes_of(const Image& image) {
  return image.count * image.height * image.width * size_of(image.type);
}

// The tile's levels of one row, repeated along kLevelRun columns.
struct RowLevels {
  float black[kLevelRun], scale[kLevelRun];

  RowLevels(const Levels& levels, int period, int64_t y) {
    for (int i = 0; i < kLevelRun; ++i) {
      const int64_t cell = y % period * period + i % period;
      black[i] = levels.black[cell];
      scale[i] = levels.scale[cell];
    }
  }
};

inline std::vector<RowLevels> tile_levels(const Levels& levels, int period) {
  std::vector<RowLevels> rows;
  for (int y = 0; y < period; ++y) rows.emplace_back(levels, period, y);
  return rows;
}

struct AlignedDelete {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Floats = std::unique_ptr<float[], AlignedDelete>;
inline Floats floats(int64_t n) {
  return Floats(static_cast<float*>(::operator new[](static_cast<size_t>(n) * 4, std::align_val_t{64})));
}

}  // namespace rawzoo::cpu
