#include <atomic>
#include <cstring>
#include <initializer_list>

#include "kernels/rows.h"

namespace rawzoo {

extern const Rows rows_baseline;
#if defined(RAWZOO_HAS_AVX2)
extern const Rows rows_avx2;
#endif
#if defined(RAWZOO_HAS_AVX512)
extern const Rows rows_avx512;
#endif

namespace {

const Rows* supported(const char* isa) {
#if defined(RAWZOO_HAS_AVX512)
  if (!std::strcmp(isa, "avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      supported("avx2"))
    return &rows_avx512;
#endif
#if defined(RAWZOO_HAS_AVX2)
  // x86-64-v3 also asks for F16C, LZCNT and MOVBE, which every CPU with AVX2, FMA and BMI2 has.
  if (!std::strcmp(isa, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
    return &rows_avx2;
#endif
  return std::strcmp(isa, "baseline") ? nullptr : &rows_baseline;
}

const Rows* fastest() {
  for (const char* isa : {"avx512", "avx2"})
    if (const Rows* found = supported(isa)) return found;
  return &rows_baseline;
}

std::atomic<const Rows*>& selected() {
  static std::atomic<const Rows*> rows{fastest()};
  return rows;
}

}  // namespace

const Rows& rows() { return *selected().load(std::memory_order_relaxed); }

bool select_isa(const char* isa) {
  const Rows* found = supported(isa);
  if (found) selected() = found;
  return found != nullptr;
}

}  // namespace rawzoo
