// Edge-directed X-Trans demosaicing on the CPU, after Frank Markesteijn's method.
//
// An image is made in blocks of columns; in each, rows run through the stages of all passes, and each stage keeps in a
// ring only the rows that later ones still read. A row is split into its six column phases, in each of which all sites
// are alike, so that the inner loops have no cases.
#pragma once

#include "kernels/types.h"

namespace rawzoo {

constexpr int kXTransPasses = 3;
// Columns and rows that a pass reads beyond what it makes.
constexpr int kXTransFirstReach = 10, kXTransReach = 9;
constexpr int kXTransPeriods = 96;  // of six columns, in a block with its margins
constexpr int kXTransMargin = 5;    // periods on either side that are made only to be read
static_assert(6 * kXTransMargin >= kXTransFirstReach + (kXTransPasses - 1) * kXTransReach, "margins hold what is read");
constexpr int kXTransBlock = 6 * (kXTransPeriods - 2 * kXTransMargin);

struct XTransBlock {
  Input mosaic;
  Pattern pattern;
  Levels levels;
  float clip;
  bool root;               // works on square roots
  int passes;              // 1 ... kXTransPasses
  int64_t x, width;        // columns to make; x is a multiple of 6, width at most kXTransBlock
  int64_t y_begin, y_end;  // rows to make
  void* context;
  void (*take)(void* context, int64_t y, int64_t x, int64_t n, const float* const* rgb);
};

constexpr int kXTransRow = 6 * kXTransPeriods + 32;  // floats of a row, with something readable beyond both ends
constexpr int kXTransScratch = kXTransRow * (32 + kXTransPasses * (4 * (16 + 8 + 8 + 4) + 3 * 8) + 16);  // floats

using MarkesteijnBlock = void (*)(const XTransBlock&, float* scratch);

}  // namespace rawzoo
