// A vector of floats, for the loops that compilers do not vectorise well: pairs of samples apart and together, half
// precision, stores past the caches. RAWZOO_LANES is defined where it does all of that; elsewhere it only loads,
// computes and merges. Local to the including file. Results are those of the same arithmetic on single floats.
#pragma once

#include <cstdint>

#if defined(__AVX2__) && defined(__F16C__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // in GCC 12's own header
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#define RAWZOO_LANES

namespace rawzoo {
namespace {

constexpr float kLargestStepped = 0x1p+110f;

#if defined(__AVX512BW__)
struct Lanes {
  static constexpr int n = 16;
  __m512 v;

  static Lanes of(float value) { return {_mm512_set1_ps(value)}; }
  friend Lanes operator*(float a, Lanes b) { return of(a) * b; }
  static Lanes load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static void load_pairs(const uint16_t* from, Lanes* even, Lanes* odd) {
    const __m512i words = _mm512_loadu_si512(from);
    even->v = _mm512_cvtepi32_ps(_mm512_and_si512(words, _mm512_set1_epi32(0xffff)));
    odd->v = _mm512_cvtepi32_ps(_mm512_srli_epi32(words, 16));
  }
  static void load_pairs(const float* from, Lanes* even, Lanes* odd) {
    const __m512 a = _mm512_loadu_ps(from), b = _mm512_loadu_ps(from + 16);
    const __m512i at = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    even->v = _mm512_permutex2var_ps(a, at, b);
    odd->v = _mm512_permutex2var_ps(a, _mm512_add_epi32(at, _mm512_set1_epi32(1)), b);
  }
  static void interleave(Lanes even, Lanes odd, Lanes* first, Lanes* second) {
    const __m512i at = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    first->v = _mm512_permutex2var_ps(even.v, at, odd.v);
    second->v = _mm512_permutex2var_ps(even.v, _mm512_add_epi32(at, _mm512_set1_epi32(8)), odd.v);
  }
  Lanes operator+(Lanes b) const { return {_mm512_add_ps(v, b.v)}; }
  Lanes operator-(Lanes b) const { return {_mm512_sub_ps(v, b.v)}; }
  Lanes operator*(Lanes b) const { return {_mm512_mul_ps(v, b.v)}; }
  Lanes root() const { return {_mm512_sqrt_ps(v)}; }
  // The same of 0 and of numbers from 2^-90 to kLargestStepped, by multiplication: for some of many, while the divider
  // has the others. Newton's steps from 14 bits, the last with the exact remainder, which gives the bits of division
  // for every significand.
  Lanes root_by_steps() const {
    const __m512 half = _mm512_set1_ps(0.5f);
    const __m512 inverse = _mm512_rsqrt14_ps(_mm512_max_ps(v, _mm512_set1_ps(0x1p-126f)));  // finite for 0
    __m512 root = _mm512_mul_ps(v, inverse), half_inverse = _mm512_mul_ps(inverse, half);
    const __m512 error = _mm512_fnmadd_ps(root, half_inverse, half);
    root = _mm512_fmadd_ps(root, error, root);
    half_inverse = _mm512_fmadd_ps(half_inverse, error, half_inverse);
    return {_mm512_fmadd_ps(_mm512_fnmadd_ps(root, root, v), half_inverse, root)};
  }
  Lanes magnitude() const { return {_mm512_abs_ps(v)}; }
  Lanes with_sign_of(Lanes b) const {
    const __m512i sign = _mm512_and_si512(_mm512_castps_si512(b.v), _mm512_set1_epi32(INT32_MIN));
    return {_mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude().v), sign))};
  }
  // this < b ? b : this, and b < this ? b : this
  Lanes at_least(Lanes b) const { return {_mm512_max_ps(b.v, v)}; }
  Lanes at_most(Lanes b) const { return {_mm512_min_ps(b.v, v)}; }
  bool any_above(float b) const { return _mm512_cmp_ps_mask(v, _mm512_set1_ps(b), _CMP_GT_OQ); }
  void store(float* to) const { _mm512_storeu_ps(to, v); }
  void stream(float* to) const { _mm512_stream_ps(to, v); }
  void store(uint16_t* to) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), half()); }
  void stream(uint16_t* to) const { _mm256_stream_si256(reinterpret_cast<__m256i*>(to), half()); }
  Lanes operator/(Lanes b) const { return {_mm512_div_ps(v, b.v)}; }
  __m256i half() const { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
};
#else
struct Lanes {
  static constexpr int n = 8;
  __m256 v;

  static Lanes of(float value) { return {_mm256_set1_ps(value)}; }
  friend Lanes operator*(float a, Lanes b) { return of(a) * b; }
  static Lanes load(const float* from) { return {_mm256_loadu_ps(from)}; }
  static void load_pairs(const uint16_t* from, Lanes* even, Lanes* odd) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    even->v = _mm256_cvtepi32_ps(_mm256_and_si256(words, _mm256_set1_epi32(0xffff)));
    odd->v = _mm256_cvtepi32_ps(_mm256_srli_epi32(words, 16));
  }
  static void load_pairs(const float* from, Lanes* even, Lanes* odd) {
    const __m256 a = _mm256_loadu_ps(from), b = _mm256_loadu_ps(from + 8);
    const __m256 low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
    even->v = _mm256_shuffle_ps(low, high, 0x88);
    odd->v = _mm256_shuffle_ps(low, high, 0xdd);
  }
  static void interleave(Lanes even, Lanes odd, Lanes* first, Lanes* second) {
    const __m256 low = _mm256_unpacklo_ps(even.v, odd.v), high = _mm256_unpackhi_ps(even.v, odd.v);
    first->v = _mm256_permute2f128_ps(low, high, 0x20);
    second->v = _mm256_permute2f128_ps(low, high, 0x31);
  }
  Lanes operator+(Lanes b) const { return {_mm256_add_ps(v, b.v)}; }
  Lanes operator-(Lanes b) const { return {_mm256_sub_ps(v, b.v)}; }
  Lanes operator*(Lanes b) const { return {_mm256_mul_ps(v, b.v)}; }
  Lanes root() const { return {_mm256_sqrt_ps(v)}; }
  Lanes root_by_steps() const { return root(); }
  Lanes magnitude() const { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), v)}; }
  Lanes with_sign_of(Lanes b) const { return {_mm256_or_ps(magnitude().v, _mm256_and_ps(_mm256_set1_ps(-0.0f), b.v))}; }
  Lanes at_least(Lanes b) const { return {_mm256_max_ps(b.v, v)}; }
  Lanes at_most(Lanes b) const { return {_mm256_min_ps(b.v, v)}; }
  bool any_above(float b) const { return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(b), _CMP_GT_OQ)); }
  void store(float* to) const { _mm256_storeu_ps(to, v); }
  void stream(float* to) const { _mm256_stream_ps(to, v); }
  void store(uint16_t* to) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), half()); }
  void stream(uint16_t* to) const { _mm_stream_si128(reinterpret_cast<__m128i*>(to), half()); }
  Lanes operator/(Lanes b) const { return {_mm256_div_ps(v, b.v)}; }
  __m128i half() const { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
};
#endif

}  // namespace
}  // namespace rawzoo
#else
#include <cmath>
#include <cstring>

namespace rawzoo {
namespace {

#if defined(__GNUC__)
struct Lanes {
  static constexpr int n = 4;
  using Vector = float __attribute__((vector_size(16)));
  using Bits = int32_t __attribute__((vector_size(16)));
  Vector v;

  static Lanes of(float value) { return {Vector{value, value, value, value}}; }
  static Lanes load(const float* from) {
    Lanes lanes;
    memcpy(&lanes.v, from, 16);
    return lanes;
  }
  static void interleave(Lanes even, Lanes odd, Lanes* first, Lanes* second) {
#if defined(__clang__)
    first->v = __builtin_shufflevector(even.v, odd.v, 0, 4, 1, 5);
    second->v = __builtin_shufflevector(even.v, odd.v, 2, 6, 3, 7);
#else
    first->v = __builtin_shuffle(even.v, odd.v, Bits{0, 4, 1, 5});
    second->v = __builtin_shuffle(even.v, odd.v, Bits{2, 6, 3, 7});
#endif
  }
  Lanes magnitude() const {
    const Bits rest = {INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX};
    return {reinterpret_cast<Vector>(reinterpret_cast<Bits>(v) & rest)};
  }
  void store(float* to) const { memcpy(to, &v, 16); }
#else
struct Lanes {
  static constexpr int n = 1;
  float v;

  static Lanes of(float value) { return {value}; }
  static Lanes load(const float* from) { return {*from}; }
  static void interleave(Lanes even, Lanes odd, Lanes* first, Lanes* second) {
    *first = even;
    *second = odd;
  }
  Lanes magnitude() const { return {fabsf(v)}; }
  void store(float* to) const { *to = v; }
#endif
  void stream(float* to) const { store(to); }
  friend Lanes operator*(float a, Lanes b) { return of(a) * b; }
  Lanes operator+(Lanes b) const { return {v + b.v}; }
  Lanes operator-(Lanes b) const { return {v - b.v}; }
  Lanes operator*(Lanes b) const { return {v * b.v}; }
};

}  // namespace
}  // namespace rawzoo
#endif
