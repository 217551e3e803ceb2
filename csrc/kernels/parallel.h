// Work on strips of rows by several threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace rawzoo {

// Hands out strips [begin, end) of 0..n, each to one worker.
class Strips {
 public:
  Strips(int64_t n, int64_t strip) : n_(n), strip_(strip) {}
  bool next(int64_t& begin, int64_t& end);
  int64_t count() const { return (n_ + strip_ - 1) / strip_; }

 private:
  const int64_t n_, strip_;
  std::atomic<int64_t> next_{0};
};

// Calls work once in each of at most `threads` workers, this thread being one; each takes strips until none is left, so
// that it can keep its buffers from strip to strip. What a worker throws is thrown here after all have ended.
void parallel(int64_t n, int64_t strip, int threads, const std::function<void(Strips&)>& work);

// Rows in a strip: enough pixels to be worth a thread.
int64_t strip_rows(int64_t width);

}  // namespace rawzoo
