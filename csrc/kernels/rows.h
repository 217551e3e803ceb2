// Row functions: the inner loops, compiled once for each instruction set (rows.cpp) and chosen at run time (isa.cpp).
#pragma once

#include "kernels/bayer_tile.h"
#include "kernels/markesteijn.h"
#include "kernels/types.h"

namespace rawzoo {

// Levels along a row repeat with period 2 or 6; 48 is a multiple of both and of every vector length.
constexpr int kLevelRun = 48;

// Weighted mean of samples at the same index of several arrays, as base + sum of weight * (tap - base).
struct Taps {
  const float* base;
  int count;
  const float* tap[48];
  float weight[48];
};

// From linear input 0..1 to bytes: lines over segments that are equally long for each doubling of the input, counted
// from kByteOrigin below zero, so that there are few, and short ones where curves bend.
constexpr float kByteOrigin = 1.0f / 64;
constexpr uint32_t kByteOriginBits = 0x3c800000;             // of kByteOrigin as float
constexpr int kSegmentBits = 20, kByteSegments = 6 * 8 + 1;  // low bits within a segment; the last ends early, at 1
struct ByteCurve {
  // Of each segment its beginning, with half a code added, and its rise, in 1/256 code.
  uint16_t start[64], rise[64];
  // Where that is not close enough: by index i, rounded, the byte at input i / (kByteTableSize - 1). Else null.
  const uint8_t* table;
};
// 0.4 of a code apart where a curve rises 100 times as fast as a line.
constexpr int kByteTableSize = 65536 + 1;

// What packing does to both samples of a pair.
struct PairLevels {
  float black[2], scale[2];
  bool transformed;  // to sqrt((sample - black) * scale + shift), which is all of anscombe_value()
  float shift[2];
};

struct Rows {
  const char* isa;

  // u16|f32 -> f32: balance() with levels[x % 48].
  void (*balance)(const void* in, DType type, int64_t width, const float* black, const float* scale, float clip,
                  float* out);
  // The same with levels[x % 2], encoded, even and odd columns apart; odd gets one sample less where width is odd.
  void (*split)(const void* in, DType type, int64_t width, const float* black, const float* scale, float clip, Encode,
                float* even, float* odd);
  // The same of an even width to f32|f16, without a bound. Where streamed, past the caches, for what nobody reads soon.
  void (*pack)(const void* in, DType type, int64_t width, const PairLevels& levels, bool streamed, DType out_type,
               void* even, void* odd);
  // out[3k + i] = in[i][k].
  void (*interleave3)(const float* const* in, int64_t n, float* out);
  // In place.
  void (*encode_sqrt)(float* v, int64_t n);
  void (*decode_sqrt)(float* v, int64_t n);
  // A copy past the caches. out at a multiple of 4 bytes.
  void (*stream)(const float* in, int64_t n, float* out);
  // After the last that was streamed, before another thread reads it.
  void (*settle)();
  // out[2k + i] = in[i][k] * scale[i] + black[i].
  void (*merge)(const float* even, const float* odd, int64_t pairs, const float* black, const float* scale, float* out);
  void (*load)(const void* in, DType type, int64_t n, float* out);   // f16|bf16|f32 -> f32
  void (*store)(const float* in, DType type, int64_t n, void* out);  // f32 -> u16 (rounds, clips)|f16|bf16|f32

  // Bayer demosaicing.
#define RAWZOO_EACH(name) DemosaicTile name;
  RAWZOO_TILE_METHODS(RAWZOO_EACH)
#undef RAWZOO_EACH
  // out[6 * i] = the mean at index first + i.
  void (*weighted_mean)(const Taps& taps, int64_t first, int64_t n, float* out);

  // Planar linear RGB -> interleaved picture.
  void (*tone_u8)(const float* const* rgb, int64_t n, const float* matrix, const ByteCurve& curve, uint8_t* out);
  void (*tone_u16)(const float* const* rgb, int64_t n, const Tone& tone, uint16_t* out);
  void (*tone_f32)(const float* const* rgb, int64_t n, const float* matrix, float* out);

  MarkesteijnBlock markesteijn;

  // x and y apart.
  void (*anscombe)(const float* x, int64_t n, const Noise& noise, bool streamed, float* y);
  // Also in place.
  void (*inverse_anscombe)(const float* y, int64_t n, const Noise& noise, Inverse inverse, bool streamed, float* x);
  void (*anscombe_map)(const float* x, int64_t n, const float* gain, const float* sigma, const float* offset, float* y);
  void (*inverse_anscombe_map)(const float* y, int64_t n, const float* gain, const float* sigma, const float* offset,
                               Inverse inverse, float* x);

  // Every period-th sample from phase on: out[k] = in[period * k + phase].
  void (*every)(const float* in, int period, int phase, int64_t n, float* out);
  // hot[x] = 1 where in[0][x] is an outlier among in[1] ... in[count]; see is_outlier().
  void (*outliers)(const float* const* in, int count, int64_t n, const Noise& noise, float threshold, uint8_t* hot);
  // sum[x % 48] and count[x % 48] of the samples from low to high.
  void (*accumulate)(const float* in, int64_t n, float low, float high, float* sum, float* count);
  // sum[x] += weight[x % 48] * in[x].
  void (*add_weighted)(const float* in, int64_t n, const float* weight, float* sum);
};

// The fastest set this CPU runs, or the one that select_isa chose.
const Rows& rows();
// For tests: "baseline", "avx2", "avx512"; false where this build or CPU lacks it.
bool select_isa(const char* isa);

}  // namespace rawzoo
