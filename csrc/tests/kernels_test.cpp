// The kernels on the CPU, run for what a sanitizer sees: every buffer has exactly the elements that an op may touch.
//
// Also checked, since they need no other implementation: results do not depend on threads, instruction set or strides,
// gaps between rows stay as they were, a constant colour comes back, a bad sample stays local. The last line printed is
// a checksum of all results; it must not depend on what fresh memory holds (ASan's malloc_fill_byte).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "kernels/rows.h"

using namespace rawzoo;

namespace {

#define CHECK(condition, ...)                                                       \
  do {                                                                              \
    if (!(condition)) {                                                             \
      std::fprintf(stderr, "%s:%d: %s is false: ", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, __VA_ARGS__);                                            \
      std::fputc('\n', stderr);                                                     \
      std::exit(1);                                                                 \
    }                                                                               \
  } while (false)

// Every method of each CFA; the Python test compares the names with rawzoo.ops.demosaic_methods.
struct Named {
  const char* name;
  Method method;
};
const Named kBayerMethods[] = {
    {"superpixel", Method::superpixel},
    {"bilinear", Method::bilinear},
    {"malvar", Method::malvar},
    {"hamilton-adams", Method::hamilton_adams},
    {"menon", Method::menon},
    {"rcd", Method::rcd},
    {"gbtf", Method::gbtf},
};
const Named kXTransMethods[] = {
    {"bilinear", Method::bilinear}, {"markesteijn-1", Method::markesteijn_1}, {"markesteijn", Method::markesteijn}};
constexpr int kReach = 28;  // pixels; no method carries a bad sample further

const char* const kXTrans = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG";

uint64_t checksum = 14695981039346656037u;
void digest(const void* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i)
    checksum = (checksum ^ static_cast<const unsigned char*>(data)[i]) * 1099511628211u;
}

uint32_t random_state = 1;
uint32_t random_bits() {
  random_state = random_state * 1664525u + 1013904223u;
  return random_state >> 8;
}

// An image in a heap block that ends with its last sample.
class Image {
 public:
  Image(DType type, int64_t count, int64_t height, int64_t width, int64_t gap = 0)
      : type_(type), count_(count), height_(height), width_(width), row_(width + gap), plane_(height * row_ + gap) {
    bytes_ = static_cast<size_t>(((count - 1) * plane_ + (height - 1) * row_ + width) * size_of(type));
    data_ = static_cast<unsigned char*>(std::malloc(bytes_));
    std::memset(data_, kGap, bytes_);
  }
  Image(const Image&) = delete;
  ~Image() { std::free(data_); }

  Input in() const { return {data_, type_, count_, height_, width_, plane_, row_}; }
  Output out() { return {data_, type_, count_, height_, width_, plane_, row_}; }
  float* floats() { return reinterpret_cast<float*>(data_); }

  void set(int64_t c, int64_t y, int64_t x, float value) {
    unsigned char* to = at(c, y, x);
    if (type_ == DType::f32) std::memcpy(to, &value, 4);
    if (type_ == DType::u16) {
      const auto word = static_cast<uint16_t>(value);
      std::memcpy(to, &word, 2);
    }
    if (type_ == DType::bf16) std::memcpy(to, reinterpret_cast<unsigned char*>(&value) + 2, 2);
    if (type_ == DType::f16) {
      // Any bits will do: normal numbers, infinities and NaNs.
      const auto word = static_cast<uint16_t>(random_bits());
      std::memcpy(to, &word, 2);
    }
  }
  float get(int64_t c, int64_t y, int64_t x) const {
    float value;
    std::memcpy(&value, at(c, y, x), 4);
    return value;
  }
  void fill(bool special) {
    for_each([&](int64_t c, int64_t y, int64_t x) {
      const uint32_t bits = random_bits();
      float value = static_cast<float>(bits % 65536);
      if (special && type_ == DType::f32) {
        const float extremes[] = {std::numeric_limits<float>::quiet_NaN(),
                                  std::numeric_limits<float>::infinity(),
                                  -std::numeric_limits<float>::infinity(),
                                  3e38f,
                                  -3e38f,
                                  1e-42f,
                                  -0.0f,
                                  -7.5f};
        if (bits % 5 == 0) value = extremes[(bits >> 8) % 8];
      }
      set(c, y, x, value);
    });
  }
  // Samples in reading order, whatever the strides, all NaNs alike (which of two a sum keeps is the compiler's choice);
  // CHECKs that the gaps hold what they held.
  std::vector<unsigned char> samples() const {
    std::vector<unsigned char> bytes;
    const size_t line = static_cast<size_t>(width_ * size_of(type_));
    size_t seen = 0;
    for (int64_t c = 0; c < count_; ++c)
      for (int64_t y = 0; y < height_; ++y) {
        const unsigned char* row = at(c, y, 0);
        const size_t begin = static_cast<size_t>(row - data_);
        for (; seen < begin; ++seen) CHECK(data_[seen] == kGap, "written between rows, byte %zu", seen);
        bytes.insert(bytes.end(), row, row + line);
        seen = begin + line;
      }
    const size_t step = static_cast<size_t>(size_of(type_));
    const bool bfloat = type_ == DType::bf16;
    for (size_t i = 0; i < bytes.size() && type_ != DType::u8 && type_ != DType::u16; i += step) {
      uint32_t bits = 0;
      std::memcpy(&bits, &bytes[i], step);
      const uint32_t infinity = type_ == DType::f32 ? 0x7f800000u : bfloat ? 0x7f80u : 0x7c00u;
      const uint32_t sign = type_ == DType::f32 ? 0x80000000u : 0x8000u;
      if ((bits & ~sign) > infinity) std::memset(&bytes[i], 0xff, step);
    }
    return bytes;
  }
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (int64_t c = 0; c < count_; ++c)
      for (int64_t y = 0; y < height_; ++y)
        for (int64_t x = 0; x < width_; ++x) visit(c, y, x);
  }

 private:
  static constexpr unsigned char kGap = 0xA5;
  unsigned char* at(int64_t c, int64_t y, int64_t x) const {
    return data_ + (c * plane_ + y * row_ + x) * size_of(type_);
  }
  DType type_;
  int64_t count_, height_, width_, row_, plane_;
  size_t bytes_;
  unsigned char* data_;
};

struct OutputShape {
  DType type;
  int64_t count, height, width;
};

// Runs an op into contiguous and strided output, with several numbers of threads and every instruction set: the same
// bytes each time.
void run_everywhere(const std::string& what, const OutputShape& shape,
                    const std::function<void(const Execution&, const Output&)>& op) {
  struct Way {
    const char* isa;
    int threads;
    int64_t gap;
  };
  std::vector<unsigned char> first;
  for (const Way& way : {Way{"baseline", 1, 0}, {"baseline", 5, 3}, {"avx2", 2, 7}, {"avx512", 2, 1}}) {
    if (!select_isa(way.isa)) continue;
    Image out(shape.type, shape.count, shape.height, shape.width, shape.height > 1 ? way.gap : 0);
    Execution run;
    run.threads = way.threads;
    op(run, out.out());
    const auto bytes = out.samples();
    if (first.empty()) {
      first = bytes;
      digest(bytes.data(), bytes.size());
    }
    CHECK(bytes == first, "%s with %s, %d threads, %d samples between rows", what.c_str(), way.isa, way.threads,
          static_cast<int>(way.gap));
  }
}

Levels levels_of(float black, float scale) {
  Levels levels;
  for (int i = 0; i < 36; ++i) {
    levels.black[i] = black + static_cast<float>(i);
    levels.scale[i] = scale * (1.0f + 0.1f * static_cast<float>(i));
  }
  return levels;
}

Pattern pattern_of(const std::string& cells, int shift_y = 0, int shift_x = 0) {
  Pattern pattern{};
  pattern.period = cells.size() == 4 ? 2 : 6;
  const int n = pattern.period;
  for (int y = 0; y < n; ++y)
    for (int x = 0; x < n; ++x)
      pattern.color[y * n + x] =
          static_cast<uint8_t>(std::string("RGB").find(cells[(y + shift_y) % n * n + (x + shift_x) % n]));
  return pattern;
}

std::string label(const char* op, int64_t height, int64_t width, int64_t gap) {
  return std::string(op) + " " + std::to_string(height) + "x" + std::to_string(width) + " gap " + std::to_string(gap);
}

void test_packing() {
  const Levels levels = levels_of(100.0f, 1e-4f);
  for (const int period : {2, 6})
    for (const auto& tiles : {std::pair<int64_t, int64_t>{1, 1}, {1, 23}, {3, 17}, {2, 257}, {17, 515}, {65, 550}})
      for (const int64_t gap : {0, 3}) {
        const int cells = period * period;
        const int64_t height = period * tiles.first, width = period * tiles.second;
        std::vector<int> plane_of(static_cast<size_t>(cells));
        std::vector<Noise> noises(plane_of.size());
        for (int i = 0; i < cells; ++i) {
          plane_of[i] = gap ? cells - 1 - i : i;
          noises[i] = {0.01f + 0.001f * static_cast<float>(i), 0.02f, 0.1f};
        }
        const Noise* noise = gap ? noises.data() : nullptr;
        for (const DType from : {DType::u16, DType::f32}) {
          Image mosaic(from, 1, height, width, gap);
          mosaic.fill(true);
          for (const DType to : {DType::f32, DType::f16, DType::bf16})
            run_everywhere(label("pack", height, width, gap), {to, cells, tiles.first, tiles.second},
                           [&](const Execution& run, const Output& out) {
                             cpu::pack(run, mosaic.in(), period, levels, plane_of.data(), noise, out);
                           });
        }
        for (const DType from : {DType::f32, DType::f16, DType::bf16}) {
          Image planes(from, cells, tiles.first, tiles.second, gap);
          planes.fill(true);
          for (const DType to : {DType::u16, DType::f32})
            run_everywhere(label("unpack", height, width, gap), {to, 1, height, width},
                           [&](const Execution& run, const Output& out) {
                             cpu::unpack(run, planes.in(), period, levels, plane_of.data(), noise,
                                         gap ? Inverse::exact : Inverse::algebraic, out);
                           });
        }
      }
}

void test_transforms() {
  for (const int64_t n : {1, 2, 15, 33, 1000, (1 << 17) - 1, (1 << 18) + 5}) {
    Image x(DType::f32, 1, 1, n), gain(DType::f32, 1, 1, n), sigma(DType::f32, 1, 1, n), offset(DType::f32, 1, 1, n);
    for (Image* image : {&x, &gain, &sigma, &offset}) image->fill(image == &x);
    const NoiseMap map{gain.floats(), sigma.floats(), offset.floats()};
    const std::vector<Noise> noise = {{2.5f, 3.0f, 10.0f}, {1.0f, 0.0f, 0.0f}, {0.5f, 1.0f, -2.0f}};
    const int64_t count = n % 3 ? 1 : 3;
    const Channels channels{count, n / count, noise.data()};
    const OutputShape shape{DType::f32, 1, 1, n};
    const auto to = [](const Output& out) { return static_cast<float*>(out.data); };
    run_everywhere(label("anscombe", 1, n, 0), shape,
                   [&](const Execution& run, const Output& out) { cpu::anscombe(run, x.floats(), channels, to(out)); });
    run_everywhere(label("anscombe_map", 1, n, 0), shape, [&](const Execution& run, const Output& out) {
      cpu::anscombe_map(run, x.floats(), n, map, to(out));
    });
    for (const Inverse inverse : {Inverse::algebraic, Inverse::asymptotic, Inverse::exact}) {
      run_everywhere(label("inverse_anscombe", 1, n, 0), shape, [&](const Execution& run, const Output& out) {
        cpu::inverse_anscombe(run, x.floats(), channels, inverse, to(out));
      });
      run_everywhere(label("inverse_anscombe_map", 1, n, 0), shape, [&](const Execution& run, const Output& out) {
        cpu::inverse_anscombe_map(run, x.floats(), n, map, inverse, to(out));
      });
    }
  }
}

// Each colour a channel, the greens of Bayer two: by row, as R, Gr, Gb, B.
std::vector<int> channels_of(const Pattern& pattern) {
  std::vector<int> channels;
  for (int i = 0; i < pattern.period * pattern.period; ++i) {
    const int color = pattern.color[i], row = i / 2 * 2;
    const bool red_row = pattern.period == 2 && (pattern.color[row] == 0 || pattern.color[row + 1] == 0);
    channels.push_back(pattern.period == 6 ? color : color == 1 ? (red_row ? 1 : 2) : color == 0 ? 0 : 3);
  }
  return channels;
}

void test_mosaic_ops() {
  const float unbounded = std::numeric_limits<float>::infinity();
  const Levels levels = levels_of(100.0f, 1e-4f);
  for (const auto& size : {std::pair<int64_t, int64_t>{2, 2}, {3, 5}, {6, 6}, {7, 97}, {33, 1031}})
    for (const std::string cells : {"RGGB", "GBRG", kXTrans})
      for (const DType from : {DType::u16, DType::f32})
        for (const int64_t gap : {0, 3}) {
          const auto [height, width] = size;
          const Pattern pattern = pattern_of(cells);
          const int period = pattern.period;
          if (height < period || width < period) continue;
          const std::vector<int> channels = channels_of(pattern);
          Image mosaic(from, 1, height, width, gap);
          mosaic.fill(true);
          for (const float clip : {1.0f, unbounded})
            run_everywhere(label("white_balance", height, width, gap), {DType::f32, 1, height, width},
                           [&](const Execution& run, const Output& out) {
                             cpu::white_balance(run, mosaic.in(), period, levels, clip, out);
                           });
          run_everywhere(label("hot_pixels", height, width, gap), {from, 1, height, width},
                         [&](const Execution& run, const Output& out) {
                           cpu::hot_pixels(run, mosaic.in(), pattern, {1.5f, 10.0f, 100.0f}, gap ? 0.0f : 6.0f, out);
                         });
          for (const int factor : {1, 2, 3, 7})
            if (height >= factor && width >= factor)
              run_everywhere(label("downscale_mosaic", height, width, gap), {from, 1, height / factor, width / factor},
                             [&](const Execution& run, const Output& out) {
                               cpu::downscale_mosaic(run, mosaic.in(), period, channels.data(), factor, out);
                             });
          const int64_t planes = 2 * (period == 2 ? 4 : 3), rows = std::min<int64_t>(height, 5);
          run_everywhere(
              label("bin_stats", height, width, gap), {DType::f32, planes, rows, std::min<int64_t>(width, 4)},
              [&](const Execution& run, const Output& out) {
                Output means = out, numbers = out;
                means.count = numbers.count = planes / 2;
                numbers.data = static_cast<float*>(out.data) + planes / 2 * out.plane_stride;
                cpu::bin_stats(run, mosaic.in(), period, levels, channels.data(), 0.0f, 0.9f, means, numbers);
              });
        }
}

// A curve that ends with its heap block.
struct Curve {
  float* values;
  Tone tone;
  explicit Curve(int64_t n) : values(static_cast<float*>(std::malloc(static_cast<size_t>(n) * 4))), tone{} {
    const float matrix[9] = {1.6f, -0.4f, -0.2f, -0.2f, 1.5f, -0.3f, 0.1f, -0.6f, 1.5f};
    std::memcpy(tone.matrix, matrix, sizeof matrix);
    for (int64_t i = 0; i < n; ++i)
      values[i] = std::sqrt(static_cast<float>(i) / static_cast<float>(n > 1 ? n - 1 : 1));
    tone.curve = n ? values : nullptr;
    tone.curve_size = n;
  }
  ~Curve() { std::free(values); }
};

// Pixels of the result.
std::pair<int64_t, int64_t> size_of_result(Method method, int64_t height, int64_t width) {
  return method == Method::superpixel ? std::pair<int64_t, int64_t>{height / 2, width / 2}
                                      : std::pair<int64_t, int64_t>{height, width};
}

void test_method(const Named& named, const Pattern& pattern, const std::vector<std::pair<int64_t, int64_t>>& sizes,
                 bool every_output) {
  const float unbounded = std::numeric_limits<float>::infinity();
  const Levels levels = levels_of(100.0f, 1e-5f);
  for (const auto& [height, width] : sizes)
    for (const int64_t gap : {0, 5})
      for (const DType from : {DType::u16, DType::f32})
        for (const bool special : {false, true}) {
          if (special && from == DType::u16) continue;
          Image mosaic(from, 1, height, width, gap);
          mosaic.fill(special);
          const auto [rows, columns] = size_of_result(named.method, height, width);
          const Encode encode = gap ? Encode::sqrt : Encode::none;
          const DType half = every_output ? DType::f16 : DType::f32;
          for (const OutputShape& shape : {OutputShape{DType::f32, 3, rows, columns}, {half, 1, rows, 3 * columns}})
            run_everywhere(label(named.name, height, width, gap), shape, [&](const Execution& run, const Output& out) {
              cpu::demosaic(run, mosaic.in(), pattern, named.method, encode, out);
            });
          if (!every_output) continue;
          for (const int64_t curve_size : {0, 2, 4096}) {
            const Curve curve(curve_size);
            for (const DType to : {DType::u8, DType::u16, DType::f32}) {
              if (to == DType::f32 && curve_size) continue;
              run_everywhere(label("develop", height, width, gap), {to, 1, rows, 3 * columns},
                             [&](const Execution& run, const Output& out) {
                               cpu::develop(run, mosaic.in(), pattern, levels, gap ? 1.0f : unbounded, named.method,
                                            encode, curve.tone, out);
                             });
            }
          }
        }
}

void test_constant_colour(const Named& named, const Pattern& pattern,
                          const std::vector<std::pair<int64_t, int64_t>>& sizes) {
  const float color[3] = {0.3f, 1.7f, 0.1f};
  const int n = pattern.period;
  for (const auto& [height, width] : sizes) {
    const auto [rows, columns] = size_of_result(named.method, height, width);
    Image mosaic(DType::f32, 1, height, width), rgb(DType::f32, 3, rows, columns);
    mosaic.for_each(
        [&](int64_t c, int64_t y, int64_t x) { mosaic.set(c, y, x, color[pattern.color[y % n * n + x % n]]); });
    cpu::demosaic({}, mosaic.in(), pattern, named.method, Encode::none, rgb.out());
    rgb.for_each([&](int64_t c, int64_t y, int64_t x) {
      CHECK(rgb.get(c, y, x) == color[c], "%s %dx%d at %d, %d, colour %d: %g, not %g", named.name,
            static_cast<int>(height), static_cast<int>(width), static_cast<int>(y), static_cast<int>(x),
            static_cast<int>(c), rgb.get(c, y, x), color[c]);
    });
  }
}

void test_bad_sample_stays_local(const Named& named, const Pattern& pattern) {
  constexpr int64_t kSize = 71, kAt = 35;
  const auto [rows, columns] = size_of_result(named.method, kSize, kSize);
  Image mosaic(DType::f32, 1, kSize, kSize), good(DType::f32, 3, rows, columns), bad(DType::f32, 3, rows, columns);
  const int64_t at = kAt * rows / kSize;
  mosaic.fill(false);
  cpu::demosaic({}, mosaic.in(), pattern, named.method, Encode::none, good.out());
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    mosaic.set(0, kAt, kAt, value);
    cpu::demosaic({}, mosaic.in(), pattern, named.method, Encode::none, bad.out());
    bad.for_each([&](int64_t c, int64_t y, int64_t x) {
      if (std::abs(y - at) > kReach || std::abs(x - at) > kReach)
        CHECK(bad.get(c, y, x) == good.get(c, y, x), "%s: %g at %d, %d reaches %d, %d", named.name, value,
              static_cast<int>(at), static_cast<int>(at), static_cast<int>(y), static_cast<int>(x));
    });
  }
}

void test_demosaic() {
  std::vector<std::pair<int64_t, int64_t>> small, large = {{7, 2053}, {70, 261}};
  for (int64_t h = 2; h < 10; ++h)
    for (const int64_t w : {2, 3, 4, 5, 7, 8, 16, 33}) small.push_back({h, w});
  for (const Named& named : kBayerMethods)
    for (const char* cells : {"RGGB", "BGGR", "GRBG", "GBRG"}) {
      const Pattern pattern = pattern_of(cells);
      test_method(named, pattern, {{2, 2}, {2, 3}, {3, 2}, {5, 7}, {9, 33}}, cells[0] == 'R');
      if (cells[0] == 'R' || cells[0] == 'G') test_method(named, pattern, large, cells[0] == 'R');
      test_constant_colour(named, pattern, small);
      test_bad_sample_stays_local(named, pattern);
    }
  small.clear();
  for (const int64_t h : {6, 7, 12, 13})
    for (const int64_t w : {6, 9, 11, 13, 35}) small.push_back({h, w});
  for (const Named& named : kXTransMethods)
    for (int phase = 0; phase < 18; ++phase) {  // the others repeat: the tile is itself again 3 down and 3 across
      const Pattern pattern = pattern_of(kXTrans, phase / 6, phase % 6);
      test_method(named, pattern, {{6, 6}, {7, 11}}, phase == 7);
      if (phase == 0) test_method(named, pattern, {{7, 1029}, {70, 97}}, false);
      test_constant_colour(named, pattern, small);
      if (phase % 7 == 0) test_bad_sample_stays_local(named, pattern);
    }
}

void test_render() {
  for (const auto& size : {std::pair<int64_t, int64_t>{1, 1}, {2, 7}, {5, 300}, {40, 257}})
    for (const int64_t gap : {0, 3}) {
      const auto [height, width] = size;
      Image rgb(DType::f32, 3, height, width, gap);
      rgb.fill(true);
      for (const int64_t curve_size : {0, 2, 4096}) {
        const Curve curve(curve_size);
        for (const DType to : {DType::u8, DType::u16, DType::f32}) {
          if (to == DType::f32 && curve_size) continue;
          run_everywhere(label("render", height, width, gap), {to, 1, height, 3 * width},
                         [&](const Execution& run, const Output& out) { cpu::render(run, rgb.in(), curve.tone, out); });
        }
      }
    }
}

// Results so large that they go past the caches.
void test_large() {
  const auto to_floats = [](const Output& out) { return static_cast<float*>(out.data); };
  const Levels levels = levels_of(100.0f, 1e-4f);
  const int plane_of[4] = {0, 1, 2, 3};
  const Noise noises[4] = {{0.01f, 0.02f, 0.1f}, {0.02f, 0.02f, 0.1f}, {0.01f, 0.01f, 0.1f}, {0.01f, 0.02f, 0.0f}};
  Image mosaic(DType::u16, 1, 4100, 2060), small(DType::u16, 1, 1183, 1187), x(DType::f32, 1, 1, (1 << 22) + 5);
  for (Image* image : {&mosaic, &small, &x}) image->fill(image == &x);
  for (const DType to : {DType::f32, DType::f16})
    for (const Noise* noise : {static_cast<const Noise*>(nullptr), noises})
      run_everywhere("large pack", {to, 4, 2050, 1030}, [&](const Execution& run, const Output& out) {
        cpu::pack(run, mosaic.in(), 2, levels, plane_of, noise, out);
      });
  const Channels channels{1, (1 << 22) + 5, noises};
  const OutputShape shape{DType::f32, 1, 1, channels.length};
  run_everywhere("large anscombe", shape, [&](const Execution& run, const Output& out) {
    cpu::anscombe(run, x.floats(), channels, to_floats(out));
  });
  run_everywhere("large inverse anscombe", shape, [&](const Execution& run, const Output& out) {
    cpu::inverse_anscombe(run, x.floats(), channels, Inverse::exact, to_floats(out));
  });
  const Pattern pattern = pattern_of("GRBG");
  for (const Encode encode : {Encode::none, Encode::sqrt})
    run_everywhere("large demosaic", {DType::f32, 3, 1183, 1187}, [&](const Execution& run, const Output& out) {
      cpu::demosaic(run, small.in(), pattern, Method::malvar, encode, out);
    });
}

}  // namespace

int main() {
  std::printf("bayer:");
  for (const Named& named : kBayerMethods) std::printf(" %s", named.name);
  std::printf("\nxtrans:");
  for (const Named& named : kXTransMethods) std::printf(" %s", named.name);
  std::printf("\n");
  test_packing();
  test_transforms();
  test_mosaic_ops();
  test_demosaic();
  test_render();
  test_large();
  std::printf("checksum: %016llx\n", static_cast<unsigned long long>(checksum));
}
