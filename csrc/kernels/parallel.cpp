#include "kernels/parallel.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace rawzoo {

bool Strips::next(int64_t& begin, int64_t& end) {
  begin = next_.fetch_add(strip_, std::memory_order_relaxed);
  end = std::min(begin + strip_, n_);
  return begin < n_;
}

void parallel(int64_t n, int64_t strip, int threads, const std::function<void(Strips&)>& work) {
  Strips strips(n, strip);
  std::exception_ptr failure;
  std::mutex mutex;
  const auto guarded = [&] {
    try {
      work(strips);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  const int64_t workers = std::min<int64_t>(threads, strips.count());
  try {
    for (int64_t i = 1; i < workers; ++i) others.emplace_back(guarded);
  } catch (const std::system_error&) {
    // No more threads to be had: those that run do all the work.
  }
  guarded();
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

int64_t strip_rows(int64_t width) { return std::max<int64_t>(32, 65536 / std::max<int64_t>(width, 1)); }

}  // namespace rawzoo
