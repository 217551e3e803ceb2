#include "kernels/rows.h"

#include <cstring>

#include "kernels/bayer_formulas.h"
#include "kernels/formulas.h"
#include "kernels/mosaic_formulas.h"
#include "kernels/vector.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// Inside a loop of table look-ups: plain loads are faster than the gathers a compiler would make of them.
#if defined(__GNUC__)
#define RAWZOO_SCALAR __asm__ volatile("")
#else
#define RAWZOO_SCALAR
#endif

// This file is compiled several times with different instruction sets, so it must emit no function that the linker
// could share between them: everything is local, and nothing of the standard library is instantiated.
namespace rawzoo {

#define RAWZOO_EACH(name) void RAWZOO_CONCAT(name##_tile_, RAWZOO_ISA)(const BayerTile&, float* scratch);
RAWZOO_TILE_METHODS(RAWZOO_EACH)
#undef RAWZOO_EACH

namespace {

template <class T>
void balance_row(const T* in, int64_t width, const float* black, const float* scale, float clip, float* out) {
  int64_t x = 0;
  for (; x + kLevelRun <= width; x += kLevelRun) {
    RAWZOO_INDEPENDENT
    for (int i = 0; i < kLevelRun; ++i) out[x + i] = balance(static_cast<float>(in[x + i]), black[i], scale[i], clip);
  }
  for (int i = 0; x + i < width; ++i) out[x + i] = balance(static_cast<float>(in[x + i]), black[i], scale[i], clip);
}

void balance_any(const void* in, DType type, int64_t width, const float* black, const float* scale, float clip,
                 float* out) {
  if (type == DType::u16)
    balance_row(static_cast<const uint16_t*>(in), width, black, scale, clip, out);
  else
    balance_row(static_cast<const float*>(in), width, black, scale, clip, out);
}

template <class T>
void split_row(const T* in, int64_t width, const float* black, const float* scale, float clip, float* even,
               float* odd) {
  const float black0 = black[0], black1 = black[1], scale0 = scale[0], scale1 = scale[1];
  const int64_t pairs = width / 2;
  RAWZOO_INDEPENDENT
  for (int64_t k = 0; k < pairs; ++k) {
    even[k] = balance(static_cast<float>(in[2 * k]), black0, scale0, clip);
    odd[k] = balance(static_cast<float>(in[2 * k + 1]), black1, scale1, clip);
  }
  if (width % 2) even[pairs] = balance(static_cast<float>(in[width - 1]), black0, scale0, clip);
}

void split_any(const void* in, DType type, int64_t width, const float* black, const float* scale, float clip,
               float* even, float* odd) {
  if (type == DType::u16)
    split_row(static_cast<const uint16_t*>(in), width, black, scale, clip, even, odd);
  else
    split_row(static_cast<const float*>(in), width, black, scale, clip, even, odd);
}

void interleave(const float* even, const float* odd, int64_t pairs, float* out) {
  RAWZOO_INDEPENDENT
  for (int64_t k = 0; k < pairs; ++k) {
    out[2 * k] = even[k];
    out[2 * k + 1] = odd[k];
  }
}

void interleave3(const float* const* in, int64_t n, float* out) {
  const float *r = in[0], *g = in[1], *b = in[2];
  RAWZOO_INDEPENDENT
  for (int64_t k = 0; k < n; ++k) {
    out[3 * k] = r[k];
    out[3 * k + 1] = g[k];
    out[3 * k + 2] = b[k];
  }
}

void encode_row(float* v, int64_t n) {
  RAWZOO_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) v[i] = encode_sqrt(v[i]);
}

void decode_row(float* v, int64_t n) {
  RAWZOO_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) v[i] = decode_sqrt(v[i]);
}

void stream(const float* in, int64_t n, float* out) {
  int64_t i = 0;
#if defined(__SSE2__)
  for (; i < n && (reinterpret_cast<uintptr_t>(out + i) & 63); ++i) out[i] = in[i];
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16) _mm512_stream_ps(out + i, _mm512_loadu_ps(in + i));
#elif defined(__AVX__)
  for (; i + 16 <= n; i += 8) _mm256_stream_ps(out + i, _mm256_loadu_ps(in + i));
#else
  for (; i + 16 <= n; i += 4) _mm_stream_ps(out + i, _mm_loadu_ps(in + i));
#endif
#endif
  for (; i < n; ++i) out[i] = in[i];
}

void settle() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

void merge_row(const float* even, const float* odd, int64_t pairs, const float* black, const float* scale, float* out) {
  const float black0 = black[0], black1 = black[1], scale0 = scale[0], scale1 = scale[1];
  RAWZOO_INDEPENDENT
  for (int64_t k = 0; k < pairs; ++k) {
    out[2 * k] = even[k] * scale0 + black0;
    out[2 * k + 1] = odd[k] * scale1 + black1;
  }
}

// IEEE binary16 and bfloat16, round to nearest even, in integer arithmetic that vectorises anywhere.

RAWZOO_INLINE uint32_t bits_of(float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  return u;
}
RAWZOO_INLINE float float_of(uint32_t u) {
  float v;
  memcpy(&v, &u, 4);
  return v;
}

RAWZOO_INLINE uint16_t to_half(float v) {
  const uint32_t sign = bits_of(v) >> 16 & 0x8000u;
  const uint32_t u = bits_of(v) & 0x7fffffffu;
  const uint32_t normal = (u + 0xfffu + (u >> 13 & 1u) - 0x38000000u) >> 13;
  // Adding 0.5 leaves a subnormal half in the low bits, rounded by the floating-point unit.
  const uint32_t subnormal = bits_of(float_of(u) + 0.5f) - 0x3f000000u;
  uint32_t half = u < 0x38800000u ? subnormal : normal;
  half = u >= 0x477ff000u ? 0x7c00u : half;  // rounds to 65536: infinity
  half = u > 0x7f800000u ? 0x7e00u : half;
  return static_cast<uint16_t>(sign | half);
}

RAWZOO_INLINE float from_half(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t u = h & 0x7fffu;
  const uint32_t finite = u < 0x400u ? bits_of(static_cast<float>(static_cast<int32_t>(u)) * 5.9604644775390625e-8f)
                                     : (u << 13) + 0x38000000u;
  return float_of(sign | (u >= 0x7c00u ? (u << 13) + 0x70000000u : finite));
}

RAWZOO_INLINE uint16_t to_bfloat(float v) {
  const uint32_t u = bits_of(v);
  const uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16 | 0x40u) : rounded);
}

void store_half(const float* in, int64_t n, uint16_t* out) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
  RAWZOO_INDEPENDENT
  for (int64_t j = i; j < n; ++j) out[j] = to_half(in[j]);
}

void load_half(const uint16_t* in, int64_t n, float* out) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
#endif
  RAWZOO_INDEPENDENT
  for (int64_t j = i; j < n; ++j) out[j] = from_half(in[j]);
}

void store_any(const float* in, DType type, int64_t n, void* out) {
  auto* words = static_cast<uint16_t*>(out);
  if (type == DType::f32) {
    memcpy(out, in, static_cast<size_t>(n) * 4);
  } else if (type == DType::f16) {
    store_half(in, n, words);
  } else if (type == DType::bf16) {
    RAWZOO_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) words[i] = to_bfloat(in[i]);
  } else {
    RAWZOO_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) words[i] = round_u16(in[i]);
  }
}

void load_any(const void* in, DType type, int64_t n, float* out) {
  auto* words = static_cast<const uint16_t*>(in);
  if (type == DType::f32) {
    memcpy(out, in, static_cast<size_t>(n) * 4);
  } else if (type == DType::f16) {
    load_half(words, n, out);
  } else {
    RAWZOO_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) out[i] = float_of(static_cast<uint32_t>(words[i]) << 16);
  }
}

void weighted_mean(const Taps& taps, int64_t first, int64_t n, float* out) {
  constexpr int kBlock = 64;
  float sum[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int m = n - i < kBlock ? static_cast<int>(n - i) : kBlock;
    const float* base = taps.base + first + i;
    for (int j = 0; j < m; ++j) sum[j] = base[j];
    for (int t = 0; t < taps.count; ++t) {
      const float* tap = taps.tap[t] + first + i;
      const float weight = taps.weight[t];
      RAWZOO_INDEPENDENT
      for (int j = 0; j < m; ++j) sum[j] += weight * (tap[j] - base[j]);
    }
    for (int j = 0; j < m; ++j) out[6 * (i + j)] = sum[j];
  }
}

RAWZOO_INLINE float dot(const float* matrix, float r, float g, float b) {
  return (matrix[0] * r + matrix[1] * g) + matrix[2] * b;
}

void tone_u8(const float* const* rgb, int64_t n, const float* matrix, const uint8_t* table, uint8_t* out) {
  constexpr int kBlock = 256;
  constexpr float kLast = kByteTableSize - 1;
  int32_t index[3][kBlock];
  for (int64_t x = 0; x < n; x += kBlock) {
    const int m = n - x < kBlock ? static_cast<int>(n - x) : kBlock;
    const float *r = rgb[0] + x, *g = rgb[1] + x, *b = rgb[2] + x;
    RAWZOO_INDEPENDENT
    for (int i = 0; i < m; ++i) {
      index[0][i] = static_cast<int32_t>(clamp01(dot(matrix, r[i], g[i], b[i])) * kLast + 0.5f);
      index[1][i] = static_cast<int32_t>(clamp01(dot(matrix + 3, r[i], g[i], b[i])) * kLast + 0.5f);
      index[2][i] = static_cast<int32_t>(clamp01(dot(matrix + 6, r[i], g[i], b[i])) * kLast + 0.5f);
    }
    uint8_t* pixel = out + 3 * x;
    for (int i = 0; i < m; ++i)
      for (int c = 0; c < 3; ++c) pixel[3 * i + c] = table[index[c][i]];
  }
}

template <bool curved>
void tone_words(const float* const* rgb, int64_t n, const Tone& tone, uint16_t* out) {
  constexpr int kBlock = 256;
  float low[kBlock], high[kBlock], fraction[kBlock];
  int32_t index[kBlock], code[3][kBlock];
  const float* curve = tone.curve;
  const float last = static_cast<float>(tone.curve_size - 1);
  const auto last_interval = static_cast<int32_t>(tone.curve_size - 2);
  for (int64_t x = 0; x < n; x += kBlock) {
    const int m = n - x < kBlock ? static_cast<int>(n - x) : kBlock;
    const float *r = rgb[0] + x, *g = rgb[1] + x, *b = rgb[2] + x;
    for (int c = 0; c < 3; ++c) {
      const float* matrix = tone.matrix + 3 * c;
      RAWZOO_INDEPENDENT
      for (int i = 0; i < m; ++i) {
        const float v = clamp01(dot(matrix, r[i], g[i], b[i]));
        if (curved) {
          const float at = v * last;
          const auto k = static_cast<int32_t>(at);
          index[i] = k < last_interval ? k : last_interval;
          fraction[i] = at - static_cast<float>(index[i]);
        } else {
          code[c][i] = round_u16(65535.0f * v);
        }
      }
      if (!curved) continue;
      for (int i = 0; i < m; ++i) {
        low[i] = curve[index[i]];
        high[i] = curve[index[i] + 1];
        RAWZOO_SCALAR;
      }
      RAWZOO_INDEPENDENT
      for (int i = 0; i < m; ++i) code[c][i] = round_u16(65535.0f * (low[i] + fraction[i] * (high[i] - low[i])));
    }
    uint16_t* pixel = out + 3 * x;
    for (int i = 0; i < m; ++i)
      for (int c = 0; c < 3; ++c) pixel[3 * i + c] = static_cast<uint16_t>(code[c][i]);
  }
}

void tone_u16(const float* const* rgb, int64_t n, const Tone& tone, uint16_t* out) {
  (tone.curve ? tone_words<true> : tone_words<false>)(rgb, n, tone, out);
}

void tone_f32(const float* const* rgb, int64_t n, const float* matrix, float* out) {
  const float *r = rgb[0], *g = rgb[1], *b = rgb[2];
  RAWZOO_INDEPENDENT
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c) out[3 * i + c] = dot(matrix + 3 * c, r[i], g[i], b[i]);
}

void anscombe_row(const float* x, int64_t n, const Noise& noise, float* y) {
  const float offset = noise.offset, scale = 1.0f / noise.gain, ratio = noise.sigma / noise.gain;
  const float shift = 0.375f + ratio * ratio;
  RAWZOO_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = anscombe_value(x[i], offset, scale, shift);
}

void inverse_anscombe_row(const float* y, int64_t n, const Noise& noise, Inverse inverse, float* x) {
  const float offset = noise.offset, gain = noise.gain, ratio = noise.sigma / noise.gain;
  const float variance = ratio * ratio;
  if (inverse == Inverse::exact) {
    RAWZOO_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) x[i] = (exact_unbiased(y[i]) - variance) * gain + offset;
  } else {
    const float shift = (inverse == Inverse::algebraic ? 0.375f : 0.125f) + variance;
    RAWZOO_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) x[i] = (0.25f * y[i] * y[i] - shift) * gain + offset;
  }
}

void anscombe_map(const float* x, int64_t n, const float* gain, const float* sigma, const float* offset, float* y) {
  RAWZOO_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    const float ratio = sigma[i] / gain[i];
    y[i] = anscombe_value(x[i], offset[i], 1.0f / gain[i], 0.375f + ratio * ratio);
  }
}

void inverse_anscombe_map(const float* y, int64_t n, const float* gain, const float* sigma, const float* offset,
                          Inverse inverse, float* x) {
  const float constant = inverse == Inverse::algebraic ? 0.375f : 0.125f;
  if (inverse == Inverse::exact) {
    RAWZOO_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) x[i] = (exact_unbiased(y[i]) - square(sigma[i] / gain[i])) * gain[i] + offset[i];
  } else {
    RAWZOO_INDEPENDENT
    for (int64_t i = 0; i < n; ++i)
      x[i] = (0.25f * y[i] * y[i] - (constant + square(sigma[i] / gain[i]))) * gain[i] + offset[i];
  }
}

void every(const float* in, int period, int phase, int64_t n, float* out) {
  in += phase;
  if (period == 2) {
    RAWZOO_INDEPENDENT
    for (int64_t k = 0; k < n; ++k) out[k] = in[2 * k];
  } else {
    RAWZOO_INDEPENDENT
    for (int64_t k = 0; k < n; ++k) out[k] = in[6 * k];
  }
}

void outliers(const float* const* in, int count, int64_t n, const Noise& noise, float threshold, uint8_t* hot) {
  constexpr int kBlock = 64;
  const Noise same = noise;
  float low[kBlock], high[kBlock];
  int32_t is[kBlock];
  for (int64_t x = 0; x < n; x += kBlock) {
    const int m = n - x < kBlock ? static_cast<int>(n - x) : kBlock;
    for (int j = 0; j < m; ++j) low[j] = high[j] = in[1][x + j];
    for (int i = 2; i <= count; ++i) {
      const float* v = in[i] + x;
      RAWZOO_INDEPENDENT
      for (int j = 0; j < m; ++j) {
        low[j] = v[j] < low[j] ? v[j] : low[j];
        high[j] = v[j] > high[j] ? v[j] : high[j];
      }
    }
    const float* v = in[0] + x;
    RAWZOO_INDEPENDENT
    for (int j = 0; j < m; ++j) is[j] = is_outlier(v[j], low[j], high[j], same, threshold);
    for (int j = 0; j < m; ++j) hot[x + j] = static_cast<uint8_t>(is[j]);
  }
}

void accumulate(const float* in, int64_t n, float low, float high, float* sum, float* count) {
  for (int64_t x = 0; x < n; x += kLevelRun) {
    const int m = n - x < kLevelRun ? static_cast<int>(n - x) : kLevelRun;
    RAWZOO_INDEPENDENT
    for (int i = 0; i < m; ++i) {
      const float v = in[x + i];
      const bool within = v >= low && v <= high;
      sum[i] += within ? v : 0.0f;
      count[i] += within ? 1.0f : 0.0f;
    }
  }
}

void add_weighted(const float* in, int64_t n, const float* weight, float* sum) {
  for (int64_t x = 0; x < n; x += kLevelRun) {
    const int m = n - x < kLevelRun ? static_cast<int>(n - x) : kLevelRun;
    RAWZOO_INDEPENDENT
    for (int i = 0; i < m; ++i) {
      const float term = weight[i] * in[x + i];
      sum[x + i] += weight[i] > 0.0f ? term : 0.0f;  // a NaN stays with its own colour
    }
  }
}

}  // namespace

void RAWZOO_FOR_ISA(markesteijn_block)(const XTransBlock&, float* scratch);
extern const Rows RAWZOO_FOR_ISA(rows);
const Rows RAWZOO_FOR_ISA(rows) = {
    RAWZOO_STRING(RAWZOO_ISA),
    balance_any,
    split_any,
    interleave,
    interleave3,
    encode_row,
    decode_row,
    stream,
    settle,
    merge_row,
    load_any,
    store_any,
#define RAWZOO_EACH(name) RAWZOO_CONCAT(name##_tile_, RAWZOO_ISA),
    RAWZOO_TILE_METHODS(RAWZOO_EACH)
#undef RAWZOO_EACH
    weighted_mean,
    tone_u8,
    tone_u16,
    tone_f32,
    RAWZOO_FOR_ISA(markesteijn_block),
    anscombe_row,
    inverse_anscombe_row,
    anscombe_map,
    inverse_anscombe_map,
    every,
    outliers,
    accumulate,
    add_weighted,
};

}  // namespace rawzoo
