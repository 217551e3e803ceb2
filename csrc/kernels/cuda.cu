// The ops on the GPU: one thread for each output pixel (or element), samples read where they are.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

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

  __device__ int color(int64_t y, int64_t x) const {
    return pattern.color[y % pattern.period * pattern.period + x % pattern.period];
  }
  __device__ float operator()(int64_t y, int64_t x) const {
    y = pattern.period == 2 ? mirror(y, mosaic.height) : continue_by_period(y, mosaic.height);
    x = pattern.period == 2 ? mirror(x, mosaic.width) : continue_by_period(x, mosaic.width);
    const int64_t cell = y % pattern.period * pattern.period + x % pattern.period;
    return balance(load(mosaic, 0, y, x), levels.black[cell], levels.scale[cell], clip);
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

__device__ void demosaic_pixel(const Samples& at, Method method, int64_t y, int64_t x, float rgb[3]) {
  if (at.pattern.period == 2)
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

struct DemosaicPixel {
  Samples samples;
  Method method;
  Output planes;
  __device__ void operator()(int64_t x, int64_t y) const {
    float rgb[3];
    demosaic_pixel(samples, method, y, x, rgb);
    for (int c = 0; c < 3; ++c) store(planes, c, y, x, rgb[c]);
  }
};

struct DevelopPixel {
  Samples samples;
  Method method;
  Tone tone;
  Output picture;
  __device__ void operator()(int64_t x, int64_t y) const {
    float rgb[3];
    demosaic_pixel(samples, method, y, x, rgb);
    write_tone(tone, picture, y, x, rgb);
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

void demosaic(const Execution& run, const Input& mosaic, const Pattern& pattern, Method method, const Output& rgb) {
  Levels identity;
  std::fill_n(identity.black, 36, 0.0f);
  std::fill_n(identity.scale, 36, 1.0f);
  for_each(run, mosaic.width, mosaic.height, DemosaicPixel{{mosaic, pattern, identity, kUnbounded}, method, rgb});
}

void develop(const Execution& run, const Input& mosaic, const Pattern& pattern, const Levels& levels, float clip,
             Method method, const Tone& tone, const Output& picture) {
  for_each(run, mosaic.width, mosaic.height, DevelopPixel{{mosaic, pattern, levels, clip}, method, tone, picture});
}

void render(const Execution& run, const Input& rgb, const Tone& tone, const Output& picture) {
  for_each(run, rgb.width, rgb.height, RenderPixel{rgb, tone, picture});
}

}  // namespace rawzoo::cuda
