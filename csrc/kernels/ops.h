// The ops, the same for each device. Callers have checked shapes, dtypes, strides and overlap; nothing here does.
#pragma once

#include "kernels/types.h"

namespace rawzoo {

#define RAWZOO_OPS                                                                                                \
  /* mosaic [H,W] u16|f32 -> planes [4,H/2,W/2] f32|f16|bf16; cell i of the tile goes to plane plane_of[i] */     \
  void pack(const Execution&, const Input& mosaic, const Levels&, const int plane_of[4], const Output& planes);   \
  /* planes [4,h,w] f32|f16|bf16 -> mosaic [2h,2w] u16|f32 = plane / scale + black; u16 rounds and clips */       \
  void unpack(const Execution&, const Input& planes, const Levels&, const int plane_of[4], const Output& mosaic); \
  /* mosaic [H,W] u16|f32 -> [H,W] f32, at most clip (infinity: no bound) */                                      \
  void white_balance(const Execution&, const Input& mosaic, int period, const Levels&, float clip,                \
                     const Output& balanced);                                                                     \
  /* n adjacent f32 values */                                                                                     \
  void anscombe(const Execution&, const float* x, int64_t n, const Noise&, float* y);                             \
  void inverse_anscombe(const Execution&, const float* y, int64_t n, const Noise&, Inverse, float* x);            \
  /* mosaic [H,W] u16|f32 -> planes [3,H,W] or interleaved [H,3*W], f32|f16; superpixel: [H/2,W/2] */             \
  void demosaic(const Execution&, const Input& mosaic, const Pattern&, Method, Encode, const Output& rgb);        \
  /* mosaic [H,W] u16|f32 -> interleaved [H,3*W] u8|u16|f32; superpixel: [H/2,3*(W/2)] */                         \
  void develop(const Execution&, const Input& mosaic, const Pattern&, const Levels&, float clip, Method, Encode,  \
               const Tone&, const Output& picture);                                                               \
  /* planes [3,H,W] f32 -> interleaved [H,3*W] u8|u16|f32 */                                                      \
  void render(const Execution&, const Input& rgb, const Tone&, const Output& picture);

namespace cpu {
RAWZOO_OPS
}
namespace cuda {
RAWZOO_OPS
}
#undef RAWZOO_OPS

}  // namespace rawzoo
