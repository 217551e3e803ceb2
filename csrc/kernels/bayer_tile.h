// Bayer demosaicing on the CPU. An image is made in tiles; in each, rows run through the stages of the
// method, and each stage keeps in a ring only the rows that later ones still read, so that all stays in the L2 cache.
//
// A row is split by colour: `x` holds the sites with red or blue, `g` those with green, each with index k for the pair
// of pixels 2k, 2k + 1. Beyond the image its mirror image continues; nothing past this header knows about edges.
#pragma once

#include "kernels/types.h"

namespace rawzoo {

constexpr int kTilePairs = 1024;  // half the width of a tile
constexpr int kTileRows = 384;
constexpr int kHaloPairs = 16;  // readable pairs beyond both ends of a row
constexpr int kTilePitch = kTilePairs + 4 * kHaloPairs;

struct BayerTile {
  int64_t rows, width, pairs;  // size of the tile in pixels; pairs = ceil(width / 2) <= kTilePairs
  int x_parity;                // column parity of the red and blue sites in row 0; the other in odd rows
  void* context;
  // Fills pairs [-kHaloPairs, pairs + kHaloPairs) of row y, which may lie outside too.
  void (*load)(void* context, int64_t y, float* x, float* g);
  // Where row y of the result goes: the colour of the row's x sites, green, the opposite colour.
  void (*place)(void* context, int64_t y, float** out);
  // When it is there.
  void (*take)(void* context, int64_t y);
  bool encoded;   // the result is to be decoded
  bool streamed;  // it goes past the caches
};

// Floats of memory that any of the functions below needs, 64-byte aligned.
constexpr int kTileScratch = 128 * kTilePitch;
using DemosaicTile = void (*)(const BayerTile&, float* scratch);

#define RAWZOO_TILE_METHODS(each) each(bilinear) each(malvar) each(gbtf) each(hamilton_adams) each(menon) each(rcd)

}  // namespace rawzoo
