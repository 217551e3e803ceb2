// The ops on the GPU: one thread for each output pixel (or element), samples read where they are.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/bayer_regions.h"
#include "kernels/formulas.h"
#include "kernels/mosaic_formulas.h"
#include "kernels/ops.h"
#include "kernels/xtrans_stages.h"

namespace rawzoo::cuda {
namespace {

constexpr float kUnbounded = std::numeric_limits<float>::infinity();

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error) + ".");
}

// Makes a device current for a scope.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_));
    check(cudaSetDevice(device));
  }
  ~OnDevice() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

template <class Pixel>
__global__ void for_each_kernel(Pixel pixel, int64_t width, int64_t height) {
  const int64_t x = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (x >= width) return;
  for (int64_t y = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; y < height; y += int64_t{gridDim.y} * blockDim.y)
    pixel(x, y);
}

// Calls pixel(x, y) for every pixel.
template <class Pixel>
void for_each(const Execution& run, int64_t width, int64_t height, const Pixel& pixel) {
  const OnDevice on_device(run.device);
  const dim3 block = height == 1 ? dim3(256, 1) : dim3(64, 4);
  const dim3 grid(static_cast<unsigned>((width + block.x - 1) / block.x),
                  static_cast<unsigned>(std::min<int64_t>((height + block.y - 1) / block.y, 65535)));
  for_each_kernel<<<grid, block, 0, static_cast<cudaStream_t>(run.stream)>>>(pixel, width, height);
  check(cudaGetLastError());
}

__device__ float load(const Input& image, int64_t plane, int64_t y, int64_t x) {
  const int64_t i = plane * image.plane_stride + y * image.row_stride + x;
  switch (image.type) {
    case DType::u16:
      return static_cast<const uint16_t*>(image.data)[i];
    case DType::f16:
      return __half2float(static_cast<const __half*>(image.data)[i]);
    case DType::bf16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(image.data)[i]);
    default:
      return static_cast<const float*>(image.data)[i];
  }
}

__device__ void store(const Output& image, int64_t plane, int64_t y, int64_t x, float v) {
  const int64_t i = plane * image.plane_stride + y * image.row_stride + x;
  switch (image.type) {
    case DType::u16:
      static_cast<uint16_t*>(image.data)[i] = round_u16(v);
      break;
    case DType::f16:
      static_cast<__half*>(image.data)[i] = __float2half_rn(v);
      break;
    case DType::bf16:
      static_cast<__nv_bfloat16*>(image.data)[i] = __float2bfloat16_rn(v);
      break;
    default:
      static_cast<float*>(image.data)[i] = v;
  }
}

// The balanced mosaic, continued beyond its edges.
struct Samples {
  Input mosaic;
  Pattern pattern;
  Levels levels;
  float clip;
  Encode encode;

  __device__ int color(int64_t y, int64_t x) const {
    return pattern.color[y % pattern.period * pattern.period + x % pattern.period];
  }
  __device__ float operator()(int64_t y, int64_t x) const {
    y = pattern.period == 2 ? mirror(y, mosaic.height) : continue_by_period(y, mosaic.height);
    x = pattern.period == 2 ? mirror(x, mosaic.width) : continue_by_period(x, mosaic.width);
    const int64_t cell = y % pattern.period * pattern.period + x % pattern.period;
    const float value = balance(load(mosaic, 0, y, x), levels.black[cell], levels.scale[cell], clip);
    return encode == Encode::sqrt ? encode_sqrt(value) : value;
  }
};

__device__ void bayer_pixel(const Samples& at, Method method, int64_t y, int64_t x, float rgb[3]) {
  const int own = at.color(y, x);
  const float row = at(y, x - 1) + at(y, x + 1);
  const float column = at(y - 1, x) + at(y + 1, x);
  const float diagonal = (at(y - 1, x - 1) + at(y - 1, x + 1)) + (at(y + 1, x - 1) + at(y + 1, x + 1));
  float row2 = 0.0f, column2 = 0.0f;
  if (method == Method::malvar) {
    row2 = at(y, x - 2) + at(y, x + 2);
    column2 = at(y - 2, x) + at(y + 2, x);
  }
  const float value = at(y, x);
  rgb[own] = value;
  if (own != 1) {
    const float green = column + row;
    const float cross = column2 + row2;
    rgb[1] = method == Method::malvar ? malvar_green(value, cross, green) : 0.25f * green;
    rgb[2 - own] = method == Method::malvar ? malvar_opposite(value, cross, diagonal) : 0.25f * diagonal;
  } else {
    const int of_row = at.color(y, x + 1);
    rgb[of_row] = method == Method::malvar ? malvar_at_green(value, row, diagonal, row2, column2) : 0.5f * row;
    rgb[2 - of_row] =
        method == Method::malvar ? malvar_at_green(value, column, diagonal, column2, row2) : 0.5f * column;
  }
}

__device__ void xtrans_pixel(const Samples& at, int64_t y, int64_t x, float rgb[3]) {
  const int row = static_cast<int>(y % 6), column = static_cast<int>(x % 6);
  for (int color = 0; color < 3; ++color) {
    const int r = window_radius(at.pattern, row, column, color);
    int weights = 0;
    for (int dy = -r; dy <= r; ++dy)
      for (int dx = -r; dx <= r; ++dx)
        if (at.color(y + dy + 6, x + dx + 6) == color) weights += window_weight(r, dy, dx);
    bool first = true;
    float base = 0.0f, sum = 0.0f;
    for (int dy = -r; dy <= r; ++dy)
      for (int dx = -r; dx <= r; ++dx) {
        if (at.color(y + dy + 6, x + dx + 6) != color) continue;
        const float value = at(y + dy, x + dx);
        if (first)
          sum = base = value;
        else
          sum += static_cast<float>(window_weight(r, dy, dx)) / static_cast<float>(weights) * (value - base);
        first = false;
      }
    rgb[color] = sum;
  }
}

// One pixel for each 2x2 cell, at (y, x) of the half-size image.
__device__ void superpixel(const Samples& at, int64_t y, int64_t x, float rgb[3]) {
  float green[2];
  for (int row = 0; row < 2; ++row)
    for (int column = 0; column < 2; ++column) {
      const int color = at.color(row, column);
      const float value = at(2 * y + row, 2 * x + column);
      if (color == 1)
        green[row] = value;
      else
        rgb[color] = value;
    }
  rgb[1] = 0.5f * (green[0] + green[1]);
}

__device__ void demosaic_pixel(const Samples& at, Method method, int64_t y, int64_t x, float rgb[3]) {
  if (method == Method::superpixel)
    superpixel(at, y, x, rgb);
  else if (at.pattern.period == 2)
    bayer_pixel(at, method, y, x, rgb);
  else
    xtrans_pixel(at, y, x, rgb);
}

__device__ void write_tone(const Tone& tone, const Output& picture, int64_t y, int64_t x, const float rgb[3]) {
  for (int c = 0; c < 3; ++c) {
    const float* m = tone.matrix + 3 * c;
    const float linear = (m[0] * rgb[0] + m[1] * rgb[1]) + m[2] * rgb[2];
    const int64_t i = y * picture.row_stride + 3 * x + c;
    if (picture.type == DType::f32) {
      static_cast<float*>(picture.data)[i] = linear;
      continue;
    }
    const float v = tone.curve ? interpolate(tone.curve, tone.curve_size, linear) : clamp01(linear);
    if (picture.type == DType::u8)
      static_cast<uint8_t*>(picture.data)[i] = static_cast<uint8_t>(255.0f * clamp01(v) + 0.5f);
    else
      static_cast<uint16_t*>(picture.data)[i] = round_u16(65535.0f * v);
  }
}

struct CellNoise {
  bool any;
  Noise noise[36];
};
CellNoise cell_noise(const Noise* noise, int period) {
  CellNoise cells{noise != nullptr, {}};
  if (noise) std::copy_n(noise, period * period, cells.noise);
  return cells;
}
struct CellPlanes {
  int plane[36];
};
CellPlanes cell_planes(const int* plane_of, int period) {
  CellPlanes cells{};
  std::copy_n(plane_of, period * period, cells.plane);
  return cells;
}

__device__ float transform(float x, const Noise& noise) {
  const float ratio = noise.sigma / noise.gain;
  return anscombe_value(x, noise.offset, 1.0f / noise.gain, 0.375f + ratio * ratio);
}
__device__ float transform_back(float y, const Noise& noise, Inverse inverse) {
  const float ratio = noise.sigma / noise.gain, variance = ratio * ratio;
  const float square = inverse == Inverse::exact
                           ? exact_unbiased(y) - variance
                           : 0.25f * y * y - ((inverse == Inverse::algebraic ? 0.375f : 0.125f) + variance);
  return square * noise.gain + noise.offset;
}

struct PackPixel {
  Input mosaic;
  int period;
  Levels levels;
  CellPlanes planes_of;
  CellNoise noise;
  Output planes;
  __device__ void operator()(int64_t x, int64_t y) const {
    const int cell = static_cast<int>(y % period * period + x % period);
    const float v = (load(mosaic, 0, y, x) - levels.black[cell]) * levels.scale[cell];
    store(planes, planes_of.plane[cell], y / period, x / period, noise.any ? transform(v, noise.noise[cell]) : v);
  }
};

struct UnpackPixel {
  Input planes;
  int period;
  Levels inverse_levels;
  CellPlanes planes_of;
  CellNoise noise;
  Inverse inverse;
  Output mosaic;
  __device__ void operator()(int64_t x, int64_t y) const {
    const int cell = static_cast<int>(y % period * period + x % period);
    float v = load(planes, planes_of.plane[cell], y / period, x / period);
    if (noise.any) v = transform_back(v, noise.noise[cell], inverse);
    store(mosaic, 0, y, x, v * inverse_levels.scale[cell] + inverse_levels.black[cell]);
  }
};

struct BalancePixel {
  Input mosaic;
  int period;
  Levels levels;
  float clip;
  Output balanced;
  __device__ void operator()(int64_t x, int64_t y) const {
    const int64_t cell = y % period * period + x % period;
    store(balanced, 0, y, x, balance(load(mosaic, 0, y, x), levels.black[cell], levels.scale[cell], clip));
  }
};

struct AnscombeElement {
  const float* x;
  Noise noise;
  float* y;
  __device__ void operator()(int64_t i, int64_t) const { y[i] = transform(x[i], noise); }
};

struct InverseAnscombeElement {
  const float* y;
  Noise noise;
  Inverse inverse;
  float* x;
  __device__ void operator()(int64_t i, int64_t) const { x[i] = transform_back(y[i], noise, inverse); }
};

struct AnscombeMapElement {
  const float* x;
  NoiseMap map;
  float* y;
  __device__ void operator()(int64_t i, int64_t) const {
    y[i] = transform(x[i], {map.gain[i], map.sigma[i], map.offset[i]});
  }
};

struct InverseAnscombeMapElement {
  const float* y;
  NoiseMap map;
  Inverse inverse;
  float* x;
  __device__ void operator()(int64_t i, int64_t) const {
    x[i] = transform_back(y[i], {map.gain[i], map.sigma[i], map.offset[i]}, inverse);
  }
};

struct MendPixel {
  Input mosaic;
  int period;
  Neighbours neighbours;
  Noise noise;
  float threshold;
  Output repaired;
  __device__ void operator()(int64_t x, int64_t y) const {
    const int cell = static_cast<int>(y % period * period + x % period);
    const int count = neighbours.count[cell];
    float v = load(mosaic, 0, y, x), sum = 0.0f, low = 0.0f, high = 0.0f;
    for (int i = 0; i < count; ++i) {
      const float near = load(mosaic, 0, continued(y + neighbours.dy[cell][i], mosaic.height, period),
                              continued(x + neighbours.dx[cell][i], mosaic.width, period));
      sum += near;
      low = i == 0 || near < low ? near : low;
      high = i == 0 || near > high ? near : high;
    }
    if (count >= 3 && is_outlier(v, low, high, noise, threshold))
      v = ((sum - low) - high) / static_cast<float>(count - 2);
    store(repaired, 0, y, x, v);
  }
};

struct CellChannels {
  int channel[36];
};
CellChannels cell_channels(const int* channel_of, int period) {
  CellChannels cells{};
  std::copy_n(channel_of, period * period, cells.channel);
  return cells;
}

// A block of threads for each cell of the grid and channel; partial sums in double, so that their order does not matter
// at the precision of the result.
constexpr int kStatsThreads = 128;
__global__ void stats_kernel(Input mosaic, int period, Levels levels, CellChannels channels, float low, float high,
                             Output means, Output numbers) {
  const int64_t i = blockIdx.y, j = blockIdx.x;
  const int channel = static_cast<int>(blockIdx.z);
  const int64_t top = grid_start(i, means.height, mosaic.height),
                bottom = grid_start(i + 1, means.height, mosaic.height);
  const int64_t left = grid_start(j, means.width, mosaic.width), right = grid_start(j + 1, means.width, mosaic.width);
  double sum = 0.0, count = 0.0;
  for (int64_t y = top; y < bottom; ++y)
    for (int64_t x = left + threadIdx.x; x < right; x += kStatsThreads) {
      const int cell = static_cast<int>(y % period * period + x % period);
      if (channels.channel[cell] != channel) continue;
      const float v = (load(mosaic, 0, y, x) - levels.black[cell]) * levels.scale[cell];
      if (!(v >= low && v <= high)) continue;
      sum += v;
      count += 1.0;
    }
  __shared__ double sums[kStatsThreads], counts[kStatsThreads];
  sums[threadIdx.x] = sum;
  counts[threadIdx.x] = count;
  for (unsigned half = kStatsThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      sums[threadIdx.x] += sums[threadIdx.x + half];
      counts[threadIdx.x] += counts[threadIdx.x + half];
    }
  }
  if (threadIdx.x) return;
  store(means, channel, i, j, static_cast<float>(counts[0] > 0 ? sums[0] / counts[0] : 0.0));
  store(numbers, channel, i, j, static_cast<float>(counts[0]));
}

struct DownscalePixel {
  Input mosaic;
  int period;
  CellChannels channels;
  int factor;
  Tent tent;
  Output smaller;
  __device__ void operator()(int64_t j, int64_t i) const {
    const int c = channels.channel[i % period * period + j % period], reach = tent.reach[c];
    const int64_t twice_y = twice_place(i, factor), twice_x = twice_place(j, factor);
    float sum = 0.0f;
    for (int64_t y = twice_y / 2 - reach + 1; y <= twice_y / 2 + reach; ++y) {
      const int64_t row = continued(y, mosaic.height, period);
      float in_row = 0.0f;
      for (int64_t x = twice_x / 2 - reach + 1; x <= twice_x / 2 + reach; ++x) {
        const int64_t column = continued(x, mosaic.width, period);
        if (channels.channel[row % period * period + column % period] == c)
          in_row += tent_weight(2 * x - twice_x, reach) * load(mosaic, 0, row, column);
      }
      sum += tent_weight(2 * y - twice_y, reach) * in_row;
    }
    store(smaller, 0, i, j, sum * tent.scale[c]);
  }
};

struct WriteRgb {
  Output rgb;  // planes, or one plane of interleaved rows
  __device__ void operator()(int64_t x, int64_t y, const float pixel[3]) const {
    for (int c = 0; c < 3; ++c)
      if (rgb.count == 3)
        store(rgb, c, y, x, pixel[c]);
      else
        store(rgb, 0, y, 3 * x + c, pixel[c]);
  }
};

struct WriteTone {
  Tone tone;
  Output picture;
  __device__ void operator()(int64_t x, int64_t y, const float pixel[3]) const {
    write_tone(tone, picture, y, x, pixel);
  }
};

__device__ void decode(Encode encode, float rgb[3]) {
  if (encode == Encode::sqrt)
    for (int c = 0; c < 3; ++c) rgb[c] = decode_sqrt(rgb[c]);
}

template <class Write>
struct DemosaicPixel {
  Samples samples;
  Method method;
  Write write;
  __device__ void operator()(int64_t x, int64_t y) const {
    float rgb[3];
    demosaic_pixel(samples, method, y, x, rgb);
    decode(samples.encode, rgb);
    write(x, y, rgb);
  }
};

struct RenderPixel {
  Input planes;
  Tone tone;
  Output picture;
  __device__ void operator()(int64_t x, int64_t y) const {
    const float rgb[3] = {load(planes, 0, y, x), load(planes, 1, y, x), load(planes, 2, y, x)};
    write_tone(tone, picture, y, x, rgb);
  }
};

template <class Region, class Write>
__global__ void region_kernel(Samples samples, Write write) {
  extern __shared__ float memory[];
  constexpr int halo = Region::Of::halo;
  const int64_t left = int64_t{blockIdx.x} * kRegionWidth, width = samples.mosaic.width, height = samples.mosaic.height;
  for (int64_t top = int64_t{blockIdx.y} * kRegionHeight; top < height; top += int64_t{gridDim.y} * kRegionHeight) {
    Region region;
    region.memory = memory;
    region.green_cell = static_cast<int>((samples.color(0, 0) == 1 ? 0 : 1) + top + left) & 1;
    const auto stage = [](int margin, const auto& work) {
      const int across = Region::pitch - 2 * margin, count = across * (Region::rows - 2 * margin);
      for (int j = static_cast<int>(threadIdx.x); j < count; j += static_cast<int>(blockDim.x))
        work((margin + j / across) * Region::pitch + margin + j % across);
      __syncthreads();
    };
    stage(0, [&](int i) { memory[i] = samples(top + i / Region::pitch - halo, left + i % Region::pitch - halo); });
    region.run(stage);
    stage(halo, [&](int i) {
      const int64_t y = top + i / Region::pitch - halo, x = left + i % Region::pitch - halo;
      if (y >= height || x >= width) return;
      const auto pixel = region.pixel(i);
      const int own = samples.color(y, x) == 1 ? samples.color(y, x + 1) : samples.color(y, x);
      float rgb[3];
      rgb[own] = pixel.row;
      rgb[1] = pixel.green;
      rgb[2 - own] = pixel.opposite;
      decode(samples.encode, rgb);
      write(x, y, rgb);
    });
  }
}

template <class Region, class Write>
void for_each_region(const Execution& run, const Samples& samples, const Write& write) {
  const OnDevice on_device(run.device);
  const auto kernel = region_kernel<Region, Write>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Region::bytes));
  const dim3 grid(
      static_cast<unsigned>((samples.mosaic.width + kRegionWidth - 1) / kRegionWidth),
      static_cast<unsigned>(std::min<int64_t>((samples.mosaic.height + kRegionHeight - 1) / kRegionHeight, 65535)));
  kernel<<<grid, 384, Region::bytes, static_cast<cudaStream_t>(run.stream)>>>(samples, write);
  check(cudaGetLastError());
}

struct LoadXTrans {
  Samples samples;
  XTransRegion region;
  __device__ void operator()(int64_t x, int64_t y) const {
    region.samples()[y * region.width + x] = samples(y + region.top, x + region.left);
  }
};

enum class XTransStage { first_green, green_again, at_solitary_greens, at_red_and_blue, in_green_blocks, bends, merge };

template <XTransStage stage>
struct RunXTrans {
  XTransRegion region;
  __device__ void operator()(int64_t x, int64_t y) const {
    x += kXTransStageReach;
    y += kXTransStageReach;
    const int64_t i = y * region.width + x;
    if constexpr (stage == XTransStage::first_green) region.first_green(i, y, x);
    if constexpr (stage == XTransStage::green_again) region.green_again(i, y, x);
    if constexpr (stage == XTransStage::at_solitary_greens) region.at_solitary_greens(i, y, x);
    if constexpr (stage == XTransStage::at_red_and_blue) region.at_red_and_blue(i, y, x);
    if constexpr (stage == XTransStage::in_green_blocks) region.in_green_blocks(i, y, x);
    if constexpr (stage == XTransStage::bends) region.bend_here(i);
    if constexpr (stage == XTransStage::merge) {
      float rgb[3];
      region.merge(i, rgb);
    }
  }
};

template <class Write>
struct FinishXTrans {
  XTransRegion region;
  Encode encode;
  Write write;
  __device__ void operator()(int64_t x, int64_t y) const {
    float rgb[3];
    region.merge((y + kXTransMarginColumns) * region.width + x + kXTransMarginColumns, rgb);
    decode(encode, rgb);
    write(x, y + region.top + kXTransMarginColumns, rgb);
  }
};

// Memory of the device for as long as a stream needs it.
class Scratch {
 public:
  Scratch(size_t bytes, void* stream) : stream_(static_cast<cudaStream_t>(stream)) {
    check(cudaMallocAsync(&data_, bytes, stream_));
  }
  ~Scratch() { cudaFreeAsync(data_, stream_); }
  float* floats() const { return static_cast<float*>(data_); }

 private:
  void* data_ = nullptr;
  cudaStream_t stream_;
};

// Edge-directed X-Trans demosaicing in bands of rows, whose planes take about 1 GiB.
template <class Write>
void markesteijn(const Execution& run, const Samples& samples, int passes, const Write& write) {
  const OnDevice on_device(run.device);
  XTransRegion region{};
  region.pattern = samples.pattern;
  find_solitary(samples.pattern, &region.solitary_row, &region.solitary_column);
  region.left = -kXTransMarginColumns;
  region.width = samples.mosaic.width + 2 * kXTransMarginColumns;
  const int64_t affordable = (int64_t{1} << 30) / (XTransRegion::kPlanes * 4 * region.width);
  const int64_t band = std::min(samples.mosaic.height, std::max<int64_t>(affordable - 2 * kXTransMarginColumns, 64));
  const int64_t largest = (band + 2 * kXTransMarginColumns) * region.width;
  const Scratch scratch(static_cast<size_t>(largest) * XTransRegion::kPlanes * 4, run.stream);
  region.memory = scratch.floats();
  for (int64_t y = 0; y < samples.mosaic.height; y += band) {
    const int64_t rows = std::min(band, samples.mosaic.height - y);
    region.top = y - kXTransMarginColumns;
    region.height = rows + 2 * kXTransMarginColumns;
    const int64_t inner_width = region.width - 2 * kXTransStageReach;
    const int64_t inner_height = region.height - 2 * kXTransStageReach;
    const auto stage = [&](const auto& work) { for_each(run, inner_width, inner_height, work); };
    for_each(run, region.width, region.height, LoadXTrans{samples, region});
    for (int pass = 0; pass < passes; ++pass) {
      if (pass == 0) {
        stage(RunXTrans<XTransStage::first_green>{region});
      } else {
        stage(RunXTrans<XTransStage::merge>{region});
        stage(RunXTrans<XTransStage::green_again>{region});
      }
      stage(RunXTrans<XTransStage::at_solitary_greens>{region});
      stage(RunXTrans<XTransStage::at_red_and_blue>{region});
      stage(RunXTrans<XTransStage::in_green_blocks>{region});
      stage(RunXTrans<XTransStage::bends>{region});
    }
    for_each(run, samples.mosaic.width, rows, FinishXTrans<Write>{region, samples.encode, write});
  }
}

template <class Write>
void demosaic_to(const Execution& run, const Samples& samples, Method method, const Write& write) {
  switch (method) {
    case Method::hamilton_adams:
      return for_each_region<RegionHamiltonAdams>(run, samples, write);
    case Method::menon:
      return for_each_region<RegionMenon>(run, samples, write);
    case Method::rcd:
      return for_each_region<RegionRcd>(run, samples, write);
    case Method::gbtf:
      return for_each_region<RegionGbtf>(run, samples, write);
    case Method::markesteijn:
      return markesteijn(run, samples, 3, write);
    case Method::markesteijn_1:
      return markesteijn(run, samples, 1, write);
    default:
      const int64_t step = method == Method::superpixel ? 2 : 1;
      for_each(run, samples.mosaic.width / step, samples.mosaic.height / step,
               DemosaicPixel<Write>{samples, method, write});
  }
}

}  // namespace

void pack(const Execution& run, const Input& mosaic, int period, const Levels& levels, const int* plane_of,
          const Noise* noise, const Output& planes) {
  for_each(run, mosaic.width, mosaic.height,
           PackPixel{mosaic, period, levels, cell_planes(plane_of, period), cell_noise(noise, period), planes});
}

void unpack(const Execution& run, const Input& planes, int period, const Levels& levels, const int* plane_of,
            const Noise* noise, Inverse inverse, const Output& mosaic) {
  Levels back = levels;
  for (float& scale : back.scale) scale = 1.0f / scale;
  for_each(
      run, mosaic.width, mosaic.height,
      UnpackPixel{planes, period, back, cell_planes(plane_of, period), cell_noise(noise, period), inverse, mosaic});
}

void white_balance(const Execution& run, const Input& mosaic, int period, const Levels& levels, float clip,
                   const Output& balanced) {
  for_each(run, mosaic.width, mosaic.height, BalancePixel{mosaic, period, levels, clip, balanced});
}

void anscombe(const Execution& run, const float* x, const Channels& channels, float* y) {
  for (int64_t c = 0; c < channels.count; ++c) {
    const int64_t start = c * channels.length;
    for_each(run, channels.length, 1, AnscombeElement{x + start, channels.noise[c], y + start});
  }
}

void inverse_anscombe(const Execution& run, const float* y, const Channels& channels, Inverse inverse, float* x) {
  for (int64_t c = 0; c < channels.count; ++c) {
    const int64_t start = c * channels.length;
    for_each(run, channels.length, 1, InverseAnscombeElement{y + start, channels.noise[c], inverse, x + start});
  }
}

void anscombe_map(const Execution& run, const float* x, int64_t n, const NoiseMap& map, float* y) {
  for_each(run, n, 1, AnscombeMapElement{x, map, y});
}

void inverse_anscombe_map(const Execution& run, const float* y, int64_t n, const NoiseMap& map, Inverse inverse,
                          float* x) {
  for_each(run, n, 1, InverseAnscombeMapElement{y, map, inverse, x});
}

void hot_pixels(const Execution& run, const Input& mosaic, const Pattern& pattern, const Noise& noise, float threshold,
                const Output& repaired) {
  for_each(run, mosaic.width, mosaic.height,
           MendPixel{mosaic, pattern.period, neighbours_of(pattern), noise, threshold, repaired});
}

void bin_stats(const Execution& run, const Input& mosaic, int period, const Levels& levels, const int* channel_of,
               float low, float high, const Output& means, const Output& numbers) {
  const OnDevice on_device(run.device);
  if (means.height > 65535) throw std::runtime_error("CUDA: a grid has at most 65535 rows.");
  const dim3 grid(static_cast<unsigned>(means.width), static_cast<unsigned>(means.height),
                  static_cast<unsigned>(means.count));
  stats_kernel<<<grid, kStatsThreads, 0, static_cast<cudaStream_t>(run.stream)>>>(
      mosaic, period, levels, cell_channels(channel_of, period), low, high, means, numbers);
  check(cudaGetLastError());
}

void downscale_mosaic(const Execution& run, const Input& mosaic, int period, const int* channel_of, int factor,
                      const Output& smaller) {
  for_each(run, smaller.width, smaller.height,
           DownscalePixel{mosaic, period, cell_channels(channel_of, period), factor,
                          tent_of(period, channel_of, factor), smaller});
}

void demosaic(const Execution& run, const Input& mosaic, const Pattern& pattern, Method method, Encode encode,
              const Output& rgb) {
  Levels identity;
  std::fill_n(identity.black, 36, 0.0f);
  std::fill_n(identity.scale, 36, 1.0f);
  demosaic_to(run, {mosaic, pattern, identity, kUnbounded, encode}, method, WriteRgb{rgb});
}

void develop(const Execution& run, const Input& mosaic, const Pattern& pattern, const Levels& levels, float clip,
             Method method, Encode encode, const Tone& tone, const Output& picture) {
  demosaic_to(run, {mosaic, pattern, levels, clip, encode}, method, WriteTone{tone, picture});
}

void render(const Execution& run, const Input& rgb, const Tone& tone, const Output& picture) {
  for_each(run, rgb.width, rgb.height, RenderPixel{rgb, tone, picture});
}

}  // namespace rawzoo::cuda
