// The arithmetic of the edge-directed Bayer methods, one sample at a time, shared by CPU and CUDA.
//
// As in formulas.h, an estimate is always a mean of samples of its own colour plus differences that are exactly zero
// where the colour is constant, so that a constant colour comes back exactly.
#pragma once

#include "kernels/formulas.h"

namespace rawzoo {

// The signed square root that noise and edges are more uniform in, and its inverse. The pedestal keeps the slope at
// zero finite: without it, noise around black becomes a pattern of two values.
constexpr float kPedestal = 1.0f / 512, kPedestalRoot = 0.04419417382415922f;
RAWZOO_INLINE float encode_sqrt(float v) { return copysignf(sqrtf(fabsf(v) + kPedestal) - kPedestalRoot, v); }
RAWZOO_INLINE float decode_sqrt(float v) { return v * (fabsf(v) + 2 * kPedestalRoot); }

RAWZOO_INLINE float square(float v) { return v * v; }
// b where w is 0, a where w is 1; exact where both are equal.
template <class V>
RAWZOO_INLINE V blend(V w, V a, V b) {
  return b + w * (a - b);
}

// Along a line: the mean of two samples of the wanted colour, plus the second difference of the colour `c` at the site.
RAWZOO_INLINE float hamilton_adams(float near, float c, float far) { return 0.5f * near + 0.25f * (2.0f * c - far); }

// Weight of the horizontal estimate by Hamilton and Adams' classifiers, which measure how much each direction changes.
RAWZOO_INLINE float hamilton_adams_change(float before, float after, float c, float far) {
  return fabsf(before - after) + fabsf(2.0f * c - far);
}
RAWZOO_INLINE float weight_of(float change, float other_change) {
  return other_change / ((change + other_change) + 1e-20f);
}

// Gradient-based threshold-free interpolation (Pekkucuksen and Altunbasak 2010). Four times the difference between the
// sample at a site and the other colour, interpolated along a line: `near` and `far` are sums over both sides.
RAWZOO_INLINE float gbtf_difference(float c, float near, float far) { return far + 2.0f * (c - near); }
// Weight of the horizontal direction from both sums of changes of that difference over the neighbourhood.
RAWZOO_INLINE float gbtf_weight(float h, float v) {
  const float hh = h * h + 1e-8f, vv = v * v + 1e-8f;
  return vv / (hh + vv);
}
// Green along a line at a red or blue site: the differences at the site and beside it, smoothed with [1 2 1] / 4, give
// this filter. Sums over both sides at distance 1, 2, 3.
RAWZOO_INLINE float gbtf_green(float c, float near, float far, float third) {
  return (0.5f * near + 0.0625f * (third - near)) + 0.25f * (2.0f * c - far);
}
// The opposite colour at a red or blue site: sums over the four diagonal neighbours of that colour, of green there, and
// of green minus colour; and of the latter over the eight sites a knight's long move (1, 3) away.
RAWZOO_INLINE float gbtf_opposite(float green, float opposite4, float green4, float difference4, float difference8) {
  return 0.25f * opposite4 + ((green - 0.25f * green4) - 0.03125f * (2.0f * difference4 - difference8));
}
// A colour at a green site along a line, from sums over both sides.
template <class V>
RAWZOO_INLINE V along(V green, V colors, V greens) {
  return 0.5f * colors + 0.5f * (2.0f * green - greens);
}

// Menon, Andriani and Calvagno 2007 (DDFAPD). Means of three along the chosen direction, at a red or blue site: green,
// where `beside` is the sum over both sides of its colour minus green;
RAWZOO_INLINE float menon_green(float own, float green, float beside) {
  return green + (2.0f * (own - green) - beside) / 3.0f;
}
// the opposite colour, where `beside` is the sum over both sides of that colour minus the site's.
RAWZOO_INLINE float menon_opposite(float own, float opposite, float beside) {
  return opposite + (beside - 2.0f * (opposite - own)) / 3.0f;
}

// Ratio corrected demosaicing (Sanz Rodriguez 2017).
constexpr float kRcdEpsilon = 1e-5f;
// Squared high-pass along a line: sums over both sides at distance 1, 2, 3.
RAWZOO_INLINE float rcd_square(float c, float near, float far, float third) {
  return square((third - 3.0f * far - near) + 6.0f * c);
}
// Share of the first of two directional energies.
RAWZOO_INLINE float rcd_share(float first, float second) {
  first = first < 1e-10f ? 1e-10f : first;
  second = second < 1e-10f ? 1e-10f : second;
  return first / (first + second);
}
// A share or the sum of its four diagonal neighbours, whichever decides more.
RAWZOO_INLINE float rcd_decided(float share, float four) {
  const float mean = 0.25f * four;
  return fabsf(0.5f - share) < fabsf(0.5f - mean) ? mean : share;
}
// One of the four ways to green: the gradient there, and the green beside, corrected by the ratio of low-passed
// samples.
RAWZOO_INLINE float rcd_green_gradient(float c0, float c1, float c2, float c3, float c4, float behind) {
  return kRcdEpsilon + ((fabsf(c1 - behind) + fabsf(c0 - c2)) + (fabsf(c1 - c3) + fabsf(c2 - c4)));
}
// Magnitudes below, so that noise below zero cannot make the ratio explode.
RAWZOO_INLINE float rcd_green(float c1, float low0, float low2) {
  return c1 * (1.0f + (low0 - low2) / (kRcdEpsilon + (fabsf(low0) + fabsf(low2))));
}
RAWZOO_INLINE float rcd_gradient(float c1, float behind, float c3, float green, float green2) {
  return kRcdEpsilon + ((fabsf(c1 - behind) + fabsf(c1 - c3)) + fabsf(green - green2));
}
// A colour along a line: `first` and `second` are its samples on both sides, weighted by the gradients opposite.
RAWZOO_INLINE float rcd_color(float green, float gradient1, float gradient2, float first, float second, float green1,
                              float green2) {
  const float w = gradient2 / (gradient1 + gradient2);
  return blend(w, first, second) + (green - blend(w, green1, green2));
}

}  // namespace rawzoo
