// The yardstick of the tables: copying with non-temporal stores, which leave the cache alone and so spare the reading of
// what is overwritten. Built by benchmarks/peers.py.
#include <immintrin.h>

#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

namespace {

void copy(const char* from, char* to, size_t n) {
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (size_t j = 0; j < 64; j += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i + j),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i + j)));
  }
  std::memcpy(to + i, from + i, n - i);
  _mm_sfence();
}

}  // namespace

// Both 64-byte aligned; each of `threads` copies one piece.
extern "C" void copy_non_temporal(const char* from, char* to, size_t n, int threads) {
  const size_t piece = (n / static_cast<size_t>(threads) + 63) / 64 * 64;
  std::vector<std::thread> others;
  for (size_t begin = piece; begin < n; begin += piece)
    others.emplace_back(copy, from + begin, to + begin, begin + piece < n ? piece : n - begin);
  copy(from, to, piece < n ? piece : n);
  for (std::thread& other : others) other.join();
}
