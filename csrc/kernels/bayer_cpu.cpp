#include "kernels/bayer_cpu.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "kernels/cpu_common.h"
#include "kernels/formulas.h"
#include "kernels/parallel.h"

#if defined(__GNUC__)
#define RAWZOO_PREFETCH(address) __builtin_prefetch(address)
#else
#define RAWZOO_PREFETCH(address) static_cast<void>(address)
#endif

namespace rawzoo::cpu {
namespace {

DemosaicTile tile_function(Method method) {
  switch (method) {
    case Method::hamilton_adams:
      return rows().hamilton_adams;
    case Method::menon:
      return rows().menon;
    case Method::rcd:
      return rows().rcd;
    case Method::gbtf:
      return rows().gbtf;
    case Method::malvar:
      return rows().malvar;
    default:
      return rows().bilinear;
  }
}

// One worker's tile: feeds it with rows of the mosaic and hands on what it makes.
struct TileWorker {
  const Input& mosaic;
  const Pattern& pattern;
  const Levels& levels;
  const float clip;
  const Encode encode;
  const TakeRow& take;
  const Output* const planes;
  int64_t x = 0, y = 0, width = 0;  // of the tile, in pixels
  float* buffer = nullptr;          // a row of each colour, where there are no planes

  static void load_row(void* context, int64_t row, float* x_sites, float* g_sites) {
    static_cast<TileWorker*>(context)->load(row, x_sites, g_sites);
  }
  static void place_row(void* context, int64_t row, float** out) { static_cast<TileWorker*>(context)->place(row, out); }
  static void take_row(void* context, int64_t row) {
    const auto* worker = static_cast<TileWorker*>(context);
    if (!worker->planes) worker->give(row);
  }

  // Column parity of the red and blue sites of row y of the image.
  int x_parity(int64_t row) const { return pattern.color[2 * (row & 1)] == 1 ? 1 : 0; }

  void load(int64_t row, float* x_sites, float* g_sites) const {
    row = mirror(y + row, mosaic.height);
    float* const columns[2] = {x_parity(row) ? g_sites : x_sites, x_parity(row) ? x_sites : g_sites};
    const int64_t begin = x - 2 * kHaloPairs, end = x + (width + 1) / 2 * 2 + 2 * kHaloPairs;
    const int64_t first = std::max<int64_t>(begin, 0), last = std::min(end, mosaic.width);
    float black[2], scale[2];
    for (int i = 0; i < 2; ++i) {
      black[i] = levels.black[2 * (row & 1) + i];
      scale[i] = levels.scale[2 * (row & 1) + i];
    }
    const char* in = static_cast<const char*>(mosaic.data) + (row * mosaic.row_stride + first) * size_of(mosaic.type);
    const int64_t offset = (first - x) / 2;
    rows().split(in, mosaic.type, last - first, black, scale, clip, encode, columns[0] + offset, columns[1] + offset);
    // A tile's rows are far apart; the next one must not be waited for.
    const char* next = in + (row + 1 < mosaic.height ? mosaic.row_stride * size_of(mosaic.type) : 0);
    for (int64_t i = 0; i < (last - first) * size_of(mosaic.type); i += 64) RAWZOO_PREFETCH(next + i);
    const auto at = [&](int64_t column) -> float& {
      const int64_t from_begin = column - begin;
      return columns[from_begin & 1][from_begin / 2 - kHaloPairs];
    };
    for (int64_t column = begin; column < first; ++column) at(column) = at(mirror(column, mosaic.width));
    for (int64_t column = last; column < end; ++column) at(column) = at(mirror(column, mosaic.width));
  }

  float* row_of_color(int color) const { return buffer + color * 2 * kTilePairs; }

  void place(int64_t row, float** out) const {
    const int own = pattern.color[2 * ((y + row) & 1) + x_parity(y + row)];
    const int colors[3] = {own, 1, 2 - own};
    for (int i = 0; i < 3; ++i)
      out[i] = planes ? static_cast<float*>(row_of(*planes, colors[i], y + row)) + x : row_of_color(colors[i]);
  }

  void give(int64_t row) const {
    const float* rgb[3] = {row_of_color(0), row_of_color(1), row_of_color(2)};
    take(y + row, x, width, rgb);
  }
};

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

}  // namespace

void demosaic_tiles(const Execution& run, const Input& mosaic, const Pattern& pattern, const Levels& levels, float clip,
                    Method method, Encode encode, const TakeRow& take, const Output* planes) {
  // Tiles alike in size, so that the last is not so small that what continues it lies in another.
  const int64_t across = divide_up(mosaic.width, 2 * kTilePairs);
  const int64_t width = divide_up(divide_up(mosaic.width, across), 2) * 2;
  const int64_t bands =
      std::max(divide_up(mosaic.height, kTileRows), std::min<int64_t>(2 * run.threads, divide_up(mosaic.height, 64)));
  const int64_t height = divide_up(divide_up(mosaic.height, bands), 2) * 2;
  const int64_t down = divide_up(mosaic.height, height);
  const DemosaicTile function = tile_function(method);
  parallel(across * down, 1, run.threads, [&](Strips& strips) {
    const Floats scratch = floats(kTileScratch), buffer = floats(3 * 2 * kTilePairs);
    TileWorker worker{mosaic, pattern, levels, clip, encode, take, planes};
    worker.buffer = buffer.get();
    for (int64_t i, end; strips.next(i, end);) {
      worker.x = i % across * width;
      worker.y = i / across * height;
      worker.width = std::min(width, mosaic.width - worker.x);
      BayerTile tile{};
      tile.rows = std::min(height, mosaic.height - worker.y);
      tile.width = worker.width;
      tile.pairs = (worker.width + 1) / 2;
      tile.x_parity = worker.x_parity(worker.y);
      tile.context = &worker;
      tile.load = TileWorker::load_row;
      tile.place = TileWorker::place_row;
      tile.take = TileWorker::take_row;
      tile.encoded = encode == Encode::sqrt;
      tile.streamed = planes && bytes_of(*planes) >= kStreamed;
      function(tile, scratch.get());
    }
    rows().settle();
  });
}

}  // namespace rawzoo::cpu
