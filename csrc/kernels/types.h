// What the kernels take: plain pointers, sizes and strides. No Python, no torch.
#pragma once

#include <cstdint>

#if defined(__CUDACC__) && !defined(RAWZOO_HD)
#define RAWZOO_HD __host__ __device__
#elif !defined(RAWZOO_HD)
#define RAWZOO_HD
#endif

namespace rawzoo {

enum class DType { u8, u16, f16, bf16, f32 };

RAWZOO_HD constexpr int64_t size_of(DType type) { return type == DType::u8 ? 1 : type == DType::f32 ? 4 : 2; }

// A stack of planes of rows; a row's samples are adjacent, the other strides are free and count elements.
// An image of one plane has count 1. Interleaved RGB is one plane of rows of 3 * width samples.
template <class Pointer>
struct Planes {
  Pointer data;
  DType type;
  int64_t count, height, width;
  int64_t plane_stride, row_stride;
};
using Input = Planes<const void*>;
using Output = Planes<void*>;

// The repeating tile of a colour filter array: colour 0, 1, 2 = R, G, B of each cell in reading order.
struct Pattern {
  int period;  // 2 (Bayer) or 6 (X-Trans)
  uint8_t color[36];
};

// Per cell of the tile: balanced value = (value - black) * scale.
struct Levels {
  float black[36];
  float scale[36];
};

enum class Method { bilinear, malvar, superpixel, hamilton_adams, menon, rcd, gbtf, markesteijn, markesteijn_1 };
// What samples go through before demosaicing, and its result back: nothing, or sign(v) * sqrt(|v|).
enum class Encode { none, sqrt };
enum class Inverse { algebraic, asymptotic, exact };

// Parameters of the generalised Anscombe transform: value = gain * Poisson + N(offset, sigma^2).
struct Noise {
  float gain, sigma, offset;
};
// The same for each element.
struct NoiseMap {
  const float *gain, *sigma, *offset;
};

// Adjacent values of equal noise, `length` of them, and so on for `count` such runs, each with its own.
struct Channels {
  int64_t count, length;
  const Noise* noise;
};

// Linear RGB to picture: matrix, then (integers only) clamp to 0..1, curve, scale to the full integer range.
struct Tone {
  float matrix[9];     // row-major
  const float* curve;  // encoded value at i / (curve_size - 1); null: linear. On the device of the image
  int64_t curve_size;
};

// How a kernel runs.
struct Execution {
  int threads = 1;         // CPU
  int device = 0;          // CUDA
  void* stream = nullptr;  // CUDA: cudaStream_t
};

}  // namespace rawzoo
