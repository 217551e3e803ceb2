#include "kernels/rows.h"

#include <cstring>

#include "kernels/bayer_formulas.h"
#include "kernels/formulas.h"
#include "kernels/lanes.h"
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

// Samples 2k and 2k + 1. Those of 16 bits as the halves of a word, which vectorises without shuffles.
RAWZOO_INLINE void take_pair(const float* in, int64_t k, float* even, float* odd) {
  *even = in[2 * k];
  *odd = in[2 * k + 1];
}
RAWZOO_INLINE void take_pair(const uint16_t* in, int64_t k, float* even, float* odd) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint32_t word;
  memcpy(&word, in + 2 * k, 4);
  *even = static_cast<float>(static_cast<int32_t>(word & 0xffffu));
  *odd = static_cast<float>(static_cast<int32_t>(word >> 16));
#else
  *even = static_cast<float>(in[2 * k]);
  *odd = static_cast<float>(in[2 * k + 1]);
#endif
}

template <bool encoded, class T>
void split_row(const T* in, int64_t width, const float* black, const float* scale, float clip, float* even,
               float* odd) {
  const float black0 = black[0], black1 = black[1], scale0 = scale[0], scale1 = scale[1];
  const int64_t pairs = width / 2;
  const auto value = [=](float v, float low, float factor) {
    v = balance(v, low, factor, clip);
    return encoded ? encode_sqrt(v) : v;
  };
  int64_t begin = 0;
#if defined(RAWZOO_LANES)
  for (; begin + Lanes::n <= pairs; begin += Lanes::n) {
    Lanes v0, v1;
    Lanes::load_pairs(in + 2 * begin, &v0, &v1);
    v0 = ((v0 - Lanes::of(black0)) * Lanes::of(scale0)).at_most(Lanes::of(clip));
    v1 = ((v1 - Lanes::of(black1)) * Lanes::of(scale1)).at_most(Lanes::of(clip));
    if (encoded) {
      const Lanes pedestal = Lanes::of(kPedestal), root = Lanes::of(kPedestalRoot);
      v0 = ((v0.magnitude() + pedestal).root() - root).with_sign_of(v0);
      v1 = ((v1.magnitude() + pedestal).root() - root).with_sign_of(v1);
    }
    v0.store(even + begin);
    v1.store(odd + begin);
  }
#endif
  RAWZOO_INDEPENDENT
  for (int64_t k = begin; k < pairs; ++k) {
    float v0, v1;
    take_pair(in, k, &v0, &v1);
    even[k] = value(v0, black0, scale0);
    odd[k] = value(v1, black1, scale1);
  }
  if (width % 2) even[pairs] = value(static_cast<float>(in[width - 1]), black0, scale0);
}

void split(const void* in, DType type, int64_t width, const float* black, const float* scale, float clip, Encode encode,
           float* even, float* odd) {
  const bool encoded = encode == Encode::sqrt;
  if (type == DType::u16)
    (encoded ? split_row<true, uint16_t> : split_row<false, uint16_t>)(static_cast<const uint16_t*>(in), width, black,
                                                                       scale, clip, even, odd);
  else
    (encoded ? split_row<true, float> : split_row<false, float>)(static_cast<const float*>(in), width, black, scale,
                                                                 clip, even, odd);
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

RAWZOO_INLINE void put(float v, float* to) { *to = v; }
RAWZOO_INLINE void put(float v, uint16_t* to) { *to = to_half(v); }

#if defined(RAWZOO_LANES)
constexpr int64_t kTwice = 2 * Lanes::n;

RAWZOO_INLINE Lanes anscombe_square(Lanes x, Lanes offset, Lanes inverse, Lanes shift) {
  return ((x - offset) * inverse + shift).at_least(Lanes::of(0.0f));
}

// In one loop, so that all is computed while memory is waited for. Returns how many pairs are done: all or none.
// stepped: half of the roots are taken by steps.
template <bool transformed, bool stepped, bool streamed, class T, class Out>
int64_t pack_lanes(const T* in, int64_t pairs, const PairLevels& p, Out* even, Out* odd) {
  if (pairs < Lanes::n) return 0;
  const Lanes black0 = Lanes::of(p.black[0]), black1 = Lanes::of(p.black[1]);
  const Lanes scale0 = Lanes::of(p.scale[0]), scale1 = Lanes::of(p.scale[1]);
  const Lanes shift0 = Lanes::of(p.shift[0]), shift1 = Lanes::of(p.shift[1]), zero = Lanes::of(0.0f);
  Lanes v0, v1;
  const auto make = [&](int64_t k) {
    Lanes::load_pairs(in + 2 * k, &v0, &v1);
    v0 = (v0 - black0) * scale0;
    v1 = (v1 - black1) * scale1;
    if (!transformed) return;
    v0 = (v0 + shift0).at_least(zero).root();
    v1 = (v1 + shift1).at_least(zero);
    v1 = stepped ? v1.root_by_steps() : v1.root();
  };
  // Of the pairs from k on, those from `first` to `last`. No vector reaches into a line that goes past the caches.
  const auto some = [&](int64_t k, int64_t first, int64_t last) {
    Out part0[Lanes::n], part1[Lanes::n];
    make(k);
    v0.store(part0);
    v1.store(part1);
    for (int64_t i = first; i < last; ++i) {
      even[i] = part0[i - k];
      odd[i] = part1[i - k];
    }
  };
  // Only whole cache lines go past the caches.
  constexpr int kLine = 64 / sizeof(Out) > Lanes::n ? 64 / sizeof(Out) : Lanes::n;
  const auto in_line = [](const Out* out) { return reinterpret_cast<uintptr_t>(out) % 64; };
  int64_t k = 0;
  if (streamed && pairs >= 2 * kLine && in_line(even) == in_line(odd)) {
    // The last lines are shared with what follows and so go through the caches; that they come must not be waited for.
    _mm_prefetch(reinterpret_cast<const char*>(even + pairs - 1), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(odd + pairs - 1), _MM_HINT_T0);
    const auto head = static_cast<int64_t>((64 - in_line(even)) % 64 / sizeof(Out));
    for (; k < head; k += Lanes::n) some(k, k, head - k < Lanes::n ? head : k + Lanes::n);
    for (k = head; k + kLine <= pairs; k += kLine)
      for (int64_t i = k; i < k + kLine; i += Lanes::n) {
        make(i);
        v0.stream(even + i);
        v1.stream(odd + i);
      }
  }
  for (; k + Lanes::n <= pairs; k += Lanes::n) {
    make(k);
    v0.store(even + k);
    v1.store(odd + k);
  }
  if (k < pairs) some(pairs - Lanes::n, k, pairs);
  return pairs;
}
#endif

template <bool transformed, bool streamed, class T, class Out>
void pack_row(const void* samples, int64_t width, const PairLevels& p, void* even_out, void* odd_out) {
  const auto* in = static_cast<const T*>(samples);
  auto *even = static_cast<Out*>(even_out), *odd = static_cast<Out*>(odd_out);
  const int64_t pairs = width / 2;
  int64_t done = 0;
#if defined(RAWZOO_LANES)
  const float furthest = 65536.0f + fabsf(p.black[1]);  // from black, that words can be
  const bool stepped = sizeof(T) == 2 && furthest * fabsf(p.scale[1]) + fabsf(p.shift[1]) < kLargestStepped;
  const auto lanes =
      stepped ? pack_lanes<transformed, true, streamed, T, Out> : pack_lanes<transformed, false, streamed, T, Out>;
  done = lanes(in, pairs, p, even, odd);
#endif
  const float black0 = p.black[0], black1 = p.black[1], scale0 = p.scale[0], scale1 = p.scale[1];
  const float shift0 = p.shift[0], shift1 = p.shift[1];
  const auto root = [](float v) { return sqrtf(v < 0.0f ? 0.0f : v); };
  RAWZOO_INDEPENDENT
  for (int64_t k = done; k < pairs; ++k) {
    float v0, v1;
    take_pair(in, k, &v0, &v1);
    v0 = (v0 - black0) * scale0;
    v1 = (v1 - black1) * scale1;
    put(transformed ? root(v0 + shift0) : v0, even + k);
    put(transformed ? root(v1 + shift1) : v1, odd + k);
  }
}

template <class T, class Out>
void pack_any(const void* in, int64_t width, const PairLevels& levels, bool streamed, void* even, void* odd) {
  const auto row = levels.transformed ? streamed ? pack_row<true, true, T, Out> : pack_row<true, false, T, Out>
                   : streamed         ? pack_row<false, true, T, Out>
                                      : pack_row<false, false, T, Out>;
  row(in, width, levels, even, odd);
}

void pack(const void* in, DType type, int64_t width, const PairLevels& levels, bool streamed, DType out_type,
          void* even, void* odd) {
  const bool words = type == DType::u16, halves = out_type == DType::f16;
  const auto any = words    ? halves ? pack_any<uint16_t, uint16_t> : pack_any<uint16_t, float>
                   : halves ? pack_any<float, uint16_t>
                            : pack_any<float, float>;
  any(in, width, levels, streamed, even, odd);
}

// Floats before the next cache line, and at most n.
RAWZOO_INLINE int64_t floats_before_line(const float* p, int64_t n) {
  const auto count = static_cast<int64_t>((64 - reinterpret_cast<uintptr_t>(p) % 64) % 64 / 4);
  return count < n ? count : n;
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

// From a clamped value with kByteOrigin added: where in its segment it is, in 1/65536 of it, and above that the number
// of the segment.
RAWZOO_INLINE uint32_t place_in_curve(float v) { return (bits_of(v) - kByteOriginBits) >> (kSegmentBits - 16); }

// n a multiple of 32.
void bytes_of(const float* v, int n, const ByteCurve& curve, uint8_t* out) {
#if defined(__AVX512BW__)
  __m512i start[2], rise[2];
  for (int i = 0; i < 2; ++i) {
    start[i] = _mm512_loadu_si512(curve.start + 32 * i);
    rise[i] = _mm512_loadu_si512(curve.rise + 32 * i);
  }
  alignas(64) uint16_t even[32];
  for (int i = 0; i < 32; ++i) even[i] = static_cast<uint16_t>(2 * i);
  const __m512i low = _mm512_load_si512(even), high = _mm512_add_epi16(low, _mm512_set1_epi16(1));
  for (int i = 0; i < n; i += 32) {
    const auto place = [=](const float* from) {
      const __m512i above = _mm512_sub_epi32(_mm512_loadu_si512(from), _mm512_set1_epi32(kByteOriginBits));
      return _mm512_srli_epi32(above, kSegmentBits - 16);
    };
    const __m512i a = place(v + i), b = place(v + i + 16);
    const __m512i at = _mm512_permutex2var_epi16(a, low, b), segment = _mm512_permutex2var_epi16(a, high, b);
    const __m512i from = _mm512_permutex2var_epi16(start[0], segment, start[1]);
    const __m512i by = _mm512_mulhi_epu16(_mm512_permutex2var_epi16(rise[0], segment, rise[1]), at);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i),
                        _mm512_cvtepi16_epi8(_mm512_srli_epi16(_mm512_add_epi16(from, by), 8)));
  }
#elif defined(__AVX2__)
  // A look-up in 16 bytes at a time; the segments beyond give zero.
  constexpr int kPieces = (kByteSegments + 15) / 16;
  __m256i tables[kPieces][4];  // low and high bytes of starts, then of rises
  for (int piece = 0; piece < kPieces; ++piece)
    for (int i = 0; i < 4; ++i) {
      alignas(16) uint8_t bytes[16];
      for (int j = 0; j < 16; ++j) {
        const uint16_t word = (i < 2 ? curve.start : curve.rise)[16 * piece + j];
        bytes[j] = static_cast<uint8_t>(i % 2 ? word >> 8 : word);
      }
      tables[piece][i] = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
    }
  const __m256i words = _mm256_set1_epi32(0xffff);
  for (int i = 0; i < n; i += 32) {
    __m256i place[4];
    for (int j = 0; j < 4; ++j) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(v + i + 8 * j));
      place[j] = _mm256_srli_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(kByteOriginBits)), kSegmentBits - 16);
    }
    // In the order that packing makes of it, until the end.
    const __m256i at0 = _mm256_packus_epi32(_mm256_and_si256(place[0], words), _mm256_and_si256(place[1], words));
    const __m256i at1 = _mm256_packus_epi32(_mm256_and_si256(place[2], words), _mm256_and_si256(place[3], words));
    const __m256i segment =
        _mm256_packus_epi16(_mm256_packus_epi32(_mm256_srli_epi32(place[0], 16), _mm256_srli_epi32(place[1], 16)),
                            _mm256_packus_epi32(_mm256_srli_epi32(place[2], 16), _mm256_srli_epi32(place[3], 16)));
    __m256i found[4] = {};
    for (int piece = 0; piece < kPieces; ++piece) {
      const __m256i in_piece = _mm256_adds_epu8(
          _mm256_sub_epi8(segment, _mm256_set1_epi8(static_cast<char>(16 * piece))), _mm256_set1_epi8(0x70));
      for (int j = 0; j < 4; ++j) found[j] = _mm256_or_si256(found[j], _mm256_shuffle_epi8(tables[piece][j], in_piece));
    }
    const __m256i by0 = _mm256_mulhi_epu16(_mm256_unpacklo_epi8(found[2], found[3]), at0);
    const __m256i by1 = _mm256_mulhi_epu16(_mm256_unpackhi_epi8(found[2], found[3]), at1);
    const __m256i sum0 = _mm256_add_epi16(_mm256_unpacklo_epi8(found[0], found[1]), by0);
    const __m256i sum1 = _mm256_add_epi16(_mm256_unpackhi_epi8(found[0], found[1]), by1);
    const __m256i bytes = _mm256_packus_epi16(_mm256_srli_epi16(sum0, 8), _mm256_srli_epi16(sum1, 8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i),
                        _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  }
#else
  for (int i = 0; i < n; i += 32) {
    uint32_t place[32];
    for (int j = 0; j < 32; ++j) place[j] = place_in_curve(v[i + j]);
    for (int j = 0; j < 32; ++j) {
      const uint32_t segment = place[j] >> 16, at = place[j] & 0xffff;
      out[i + j] = static_cast<uint8_t>((curve.start[segment] + (curve.rise[segment] * at >> 16)) >> 8);
    }
  }
#endif
}

void interleave_bytes(const uint8_t* r, const uint8_t* g, const uint8_t* b, int n, uint8_t* out) {
  int i = 0;
#if defined(__SSSE3__)
  // Byte k of each third of 48 comes from channel (16 third + k) % 3.
  alignas(16) int8_t from[3][3][16];
  for (int third = 0; third < 3; ++third)
    for (int channel = 0; channel < 3; ++channel)
      for (int k = 0; k < 16; ++k) {
        const int at = 16 * third + k;
        from[third][channel][k] = static_cast<int8_t>(at % 3 == channel ? at / 3 : -1);
      }
  for (; i + 16 <= n; i += 16) {
    const uint8_t* const in[3] = {r + i, g + i, b + i};
    for (int third = 0; third < 3; ++third) {
      __m128i sum = _mm_setzero_si128();
      for (int channel = 0; channel < 3; ++channel)
        sum =
            _mm_or_si128(sum, _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in[channel])),
                                               _mm_load_si128(reinterpret_cast<const __m128i*>(from[third][channel]))));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 3 * i + 16 * third), sum);
    }
  }
#endif
  for (; i < n; ++i) {
    out[3 * i] = r[i];
    out[3 * i + 1] = g[i];
    out[3 * i + 2] = b[i];
  }
}

// out[c][i] = row c of the matrix times the colour, clamped, and kByteOrigin.
void levels_of(const float* r, const float* g, const float* b, int n, const float* matrix, float* const* out) {
  int i = 0;
#if defined(RAWZOO_LANES)
  Lanes factor[9];
  for (int j = 0; j < 9; ++j) factor[j] = Lanes::of(matrix[j]);
  for (; i + Lanes::n <= n; i += Lanes::n) {
    const Lanes red = Lanes::load(r + i), green = Lanes::load(g + i), blue = Lanes::load(b + i);
    for (int c = 0; c < 3; ++c) {
      const Lanes v = (factor[3 * c] * red + factor[3 * c + 1] * green) + factor[3 * c + 2] * blue;
      const Lanes clamped = Lanes::of(0.0f).at_least(v).at_most(Lanes::of(1.0f));  // NaN becomes 0
      (clamped + Lanes::of(kByteOrigin)).store(out[c] + i);
    }
  }
#endif
  for (int c = 0; c < 3; ++c) {
    const float row[3] = {matrix[3 * c], matrix[3 * c + 1], matrix[3 * c + 2]};
    float* const levels = out[c];
    RAWZOO_INDEPENDENT
    for (int j = i; j < n; ++j) levels[j] = clamp01(dot(row, r[j], g[j], b[j])) + kByteOrigin;
  }
}

void tone_u8(const float* const* rgb, int64_t n, const float* matrix, const ByteCurve& curve, uint8_t* out) {
  constexpr int kBlock = 512;
  constexpr float kLast = kByteTableSize - 1;
  int32_t place[kBlock];
  alignas(64) float level[3][kBlock];
  float* const levels[3] = {level[0], level[1], level[2]};
  uint8_t bytes[3][kBlock];
  const uint8_t* const table = curve.table;
  for (int64_t x = 0; x < n; x += kBlock) {
    const int m = n - x < kBlock ? static_cast<int>(n - x) : kBlock, whole = (m + 31) / 32 * 32;
    const float *r = rgb[0] + x, *g = rgb[1] + x, *b = rgb[2] + x;
    if (!table) levels_of(r, g, b, m, matrix, levels);
    for (int c = 0; c < 3; ++c) {
      if (table) {
        const float* row = matrix + 3 * c;
        RAWZOO_INDEPENDENT
        for (int i = 0; i < m; ++i) place[i] = static_cast<int32_t>(clamp01(dot(row, r[i], g[i], b[i])) * kLast + 0.5f);
        for (int i = 0; i < m; ++i) bytes[c][i] = table[place[i]];
      } else {
        for (int i = m; i < whole; ++i) level[c][i] = kByteOrigin;
        bytes_of(level[c], whole, curve, bytes[c]);
      }
    }
    interleave_bytes(bytes[0], bytes[1], bytes[2], m, out + 3 * x);
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

#if defined(RAWZOO_LANES)
// y[i] = f(x[i]) of whole pairs of vectors, y at a cache line where streamed. Returns how many are done.
template <bool streamed, class Function>
int64_t map_lanes(const float* x, int64_t n, float* y, const Function& f) {
  int64_t i = 0;
  for (; i + kTwice <= n; i += kTwice) {
    Lanes a = Lanes::load(x + i), b = Lanes::load(x + i + Lanes::n);
    f(&a, &b);
    if (streamed) {
      a.stream(y + i);
      b.stream(y + i + Lanes::n);
    } else {
      a.store(y + i);
      b.store(y + i + Lanes::n);
    }
  }
  return i;
}
#endif

void anscombe_row(const float* x, int64_t n, const Noise& noise, bool streamed, float* y) {
  const float offset = noise.offset, scale = 1.0f / noise.gain, ratio = noise.sigma / noise.gain;
  const float shift = 0.375f + ratio * ratio;
  int64_t begin = streamed ? floats_before_line(y, n) : 0;
  for (int64_t i = 0; i < begin; ++i) y[i] = anscombe_value(x[i], offset, scale, shift);
#if defined(RAWZOO_LANES)
  const Lanes offsets = Lanes::of(offset), scales = Lanes::of(scale), shifts = Lanes::of(shift);
  Lanes largest = Lanes::of(0.0f);
  const auto map = [&](const auto& root) {
    const auto f = [&](Lanes* a, Lanes* b) {
      *a = Lanes::of(2.0f) * anscombe_square(*a, offsets, scales, shifts).root();
      *b = anscombe_square(*b, offsets, scales, shifts);
      largest = largest.at_least(*b);
      *b = Lanes::of(2.0f) * root(*b);
    };
    return streamed ? map_lanes<true>(x + begin, n - begin, y + begin, f)
                    : map_lanes<false>(x + begin, n - begin, y + begin, f);
  };
  int64_t done = map([](Lanes v) { return v.root_by_steps(); });
  if (largest.any_above(kLargestStepped)) done = map([](Lanes v) { return v.root(); });
  begin += done;
#endif
  RAWZOO_INDEPENDENT
  for (int64_t i = begin; i < n; ++i) y[i] = anscombe_value(x[i], offset, scale, shift);
}

// Formulas for single floats and for Lanes alike.
RAWZOO_INLINE float constant(float value, float) { return value; }
#if defined(RAWZOO_LANES)
using rawzoo::exact_unbiased;
RAWZOO_INLINE Lanes exact_unbiased(Lanes d) {
  d = d.at_least(Lanes::of(2.0f * 0.6123724356957945f));
  const Lanes q = Lanes::of(1.0f) / d;
  const Lanes series = q * (Lanes::of(-1.375f) + q * Lanes::of(0.625f * kSqrt3Over2));
  return Lanes::of(0.25f) * d * d + q * (Lanes::of(0.25f * kSqrt3Over2) + series) - Lanes::of(0.125f);
}
RAWZOO_INLINE Lanes constant(float value, Lanes) { return Lanes::of(value); }
#endif

template <class Function>
void inverse_anscombe_any(const float* y, int64_t n, bool streamed, float* x, const Function& f) {
  int64_t begin = streamed ? floats_before_line(x, n) : 0;
  for (int64_t i = 0; i < begin; ++i) x[i] = f(y[i]);
#if defined(RAWZOO_LANES)
  const auto both = [&](Lanes* a, Lanes* b) {
    *a = f(*a);
    *b = f(*b);
  };
  begin += streamed ? map_lanes<true>(y + begin, n - begin, x + begin, both)
                    : map_lanes<false>(y + begin, n - begin, x + begin, both);
#endif
  RAWZOO_INDEPENDENT
  for (int64_t i = begin; i < n; ++i) x[i] = f(y[i]);
}

void inverse_anscombe_row(const float* y, int64_t n, const Noise& noise, Inverse inverse, bool streamed, float* x) {
  const float offset = noise.offset, gain = noise.gain, ratio = noise.sigma / noise.gain;
  const float variance = ratio * ratio, shift = (inverse == Inverse::algebraic ? 0.375f : 0.125f) + variance;
  if (inverse == Inverse::exact)
    inverse_anscombe_any(y, n, streamed, x, [=](auto v) {
      return (exact_unbiased(v) - constant(variance, v)) * constant(gain, v) + constant(offset, v);
    });
  else
    inverse_anscombe_any(y, n, streamed, x, [=](auto v) {
      return (constant(0.25f, v) * v * v - constant(shift, v)) * constant(gain, v) + constant(offset, v);
    });
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
    split,
    pack,
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
