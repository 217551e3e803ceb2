// The ops on the GPU: one thread for each output pixel (or element), samples read where they are.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/bayer_regions.h"
#include "kernels/formulas.h"
#include "kernels/ops.h"

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

struct PackPixel {
  Input mosaic;
  Levels levels;
  int plane_of[4];
  Output planes;
  __device__ void operator()(int64_t x, int64_t y) const {
    const int cell = static_cast<int>(y % 2 * 2 + x % 2);
    store(planes, plane_of[cell], y / 2, x / 2, (load(mosaic, 0, y, x) - levels.black[cell]) * levels.scale[cell]);
  }
};

struct UnpackPixel {
  Input planes;
  Levels inverse;
  int plane_of[4];
  Output mosaic;
  __device__ void operator()(int64_t x, int64_t y) const {
    const int cell = static_cast<int>(y % 2 * 2 + x % 2);
    store(mosaic, 0, y, x, load(planes, plane_of[cell], y / 2, x / 2) * inverse.scale[cell] + inverse.black[cell]);
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
  float offset, scale, shift;
  float* y;
  __device__ void operator()(int64_t i, int64_t) const { y[i] = anscombe_value(x[i], offset, scale, shift); }
};

struct InverseAnscombeElement {
  const float* y;
  float offset, gain, shift;
  bool exact;
  float* x;
  __device__ void operator()(int64_t i, int64_t) const {
    x[i] = ((exact ? exact_unbiased(y[i]) : 0.25f * y[i] * y[i]) - shift) * gain + offset;
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
    default:
      const int64_t step = method == Method::superpixel ? 2 : 1;
      for_each(run, samples.mosaic.width / step, samples.mosaic.height / step,
               DemosaicPixel<Write>{samples, method, write});
  }
}

}  // namespace

void pack(const Execution& run, const Input& mosaic, const Levels& levels, const int plane_of[4],
          const Output& planes) {
  for_each(run, mosaic.width, mosaic.height,
           PackPixel{mosaic, levels, {plane_of[0], plane_of[1], plane_of[2], plane_of[3]}, planes});
}

void unpack(const Execution& run, const Input& planes, const Levels& levels, const int plane_of[4],
            const Output& mosaic) {
  Levels inverse = levels;
  for (float& scale : inverse.scale) scale = 1.0f / scale;
  for_each(run, mosaic.width, mosaic.height,
           UnpackPixel{planes, inverse, {plane_of[0], plane_of[1], plane_of[2], plane_of[3]}, mosaic});
}

void white_balance(const Execution& run, const Input& mosaic, int period, const Levels& levels, float clip,
                   const Output& balanced) {
  for_each(run, mosaic.width, mosaic.height, BalancePixel{mosaic, period, levels, clip, balanced});
}

void anscombe(const Execution& run, const float* x, int64_t n, const Noise& noise, float* y) {
  const float ratio = noise.sigma / noise.gain;
  for_each(run, n, 1, AnscombeElement{x, noise.offset, 1.0f / noise.gain, 0.375f + ratio * ratio, y});
}

void inverse_anscombe(const Execution& run, const float* y, int64_t n, const Noise& noise, Inverse inverse, float* x) {
  const float ratio = noise.sigma / noise.gain;
  const float constant = inverse == Inverse::exact ? 0.0f : inverse == Inverse::algebraic ? 0.375f : 0.125f;
  for_each(run, n, 1,
           InverseAnscombeElement{y, noise.offset, noise.gain, constant + ratio * ratio, inverse == Inverse::exact, x});
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
