// The ops, the same for each device. Callers have checked shapes, dtypes, strides and overlap; nothing here does.
#pragma once

#include "kernels/types.h"

namespace rawzoo {

#define RAWZOO_OPS                                                                                                     \
  /* mosaic [H,W] u16|f32 -> planes [P*P,H/P,W/P] f32|f16|bf16, P the period; cell i of the tile goes to plane         \
     plane_of[i], through the Anscombe transform with noise[i] where noise is not null */                              \
  void pack(const Execution&, const Input& mosaic, int period, const Levels&, const int* plane_of, const Noise* noise, \
            const Output& planes);                                                                                     \
  /* planes [P*P,h,w] f32|f16|bf16 -> mosaic [P*h,P*w] u16|f32 = plane / scale + black; u16 rounds and clips */        \
  void unpack(const Execution&, const Input& planes, int period, const Levels&, const int* plane_of,                   \
              const Noise* noise, Inverse, const Output& mosaic);                                                      \
  /* mosaic [H,W] u16|f32 -> [H,W] f32, at most clip (infinity: no bound) */                                           \
  void white_balance(const Execution&, const Input& mosaic, int period, const Levels&, float clip,                     \
                     const Output& balanced);                                                                          \
  /* adjacent f32 values */                                                                                            \
  void anscombe(const Execution&, const float* x, const Channels&, float* y);                                          \
  void inverse_anscombe(const Execution&, const float* y, const Channels&, Inverse, float* x);                         \
  void anscombe_map(const Execution&, const float* x, int64_t n, const NoiseMap&, float* y);                           \
  void inverse_anscombe_map(const Execution&, const float* y, int64_t n, const NoiseMap&, Inverse, float* x);          \
  /* mosaic [H,W] u16|f32 -> the same dtype, outliers replaced */                                                      \
  void hot_pixels(const Execution&, const Input& mosaic, const Pattern&, const Noise&, float threshold,                \
                  const Output& repaired);                                                                             \
  /* mosaic [H,W] u16|f32 -> [channels, rows, columns] f32 each: of each cell of the grid the mean of the samples from \
     low to high, and how many these are */                                                                            \
  void bin_stats(const Execution&, const Input& mosaic, int period, const Levels&, const int* channel_of, float low,   \
                 float high, const Output& means, const Output& numbers);                                              \
  /* mosaic [H,W] u16|f32 -> the same dtype and pattern, [H/factor,W/factor] */                                        \
  void downscale_mosaic(const Execution&, const Input& mosaic, int period, const int* channel_of, int factor,          \
                        const Output& smaller);                                                                        \
  /* mosaic [H,W] u16|f32 -> planes [3,H,W] or interleaved [H,3*W], f32|f16; superpixel: [H/2,W/2] */                  \
  void demosaic(const Execution&, const Input& mosaic, const Pattern&, Method, Encode, const Output& rgb);             \
  /* mosaic [H,W] u16|f32 -> interleaved [H,3*W] u8|u16|f32; superpixel: [H/2,3*(W/2)] */                              \
  void develop(const Execution&, const Input& mosaic, const Pattern&, const Levels&, float clip, Method, Encode,       \
               const Tone&, const Output& picture);                                                                    \
  /* planes [3,H,W] f32 -> interleaved [H,3*W] u8|u16|f32 */                                                           \
  void render(const Execution&, const Input& rgb, const Tone&, const Output& picture);

namespace cpu {
RAWZOO_OPS
}
namespace cuda {
RAWZOO_OPS
}
#undef RAWZOO_OPS

}  // namespace rawzoo
