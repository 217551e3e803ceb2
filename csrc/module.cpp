// The Python module: checks everything that a kernel relies on, releases the GIL, calls it.
// Compiled twice, as rawzoo._native (CPU) and, with RAWZOO_CUDA, as rawzoo._native_cuda.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <memory>

#include "kernels/ops.h"
#include "kernels/xtrans_formulas.h"
#include "tensor.h"
#if !defined(RAWZOO_CUDA)
#include "kernels/rows.h"
#endif

namespace py = pybind11;

namespace rawzoo {
namespace {

#if defined(RAWZOO_CUDA)
namespace backend = cuda;
#else
namespace backend = cpu;
#endif

using Floats = std::vector<float>;

// `how` is the number of threads on the CPU and the stream's address on CUDA.
template <class Kernel>
void launch(const Tensor& in, Tensor& out, int64_t how, const Kernel& kernel) {
#if defined(RAWZOO_CUDA)
  constexpr bool cuda = true;
#else
  constexpr bool cuda = false;
#endif
  for (const Tensor* tensor : {&in, static_cast<const Tensor*>(&out)})
    if (tensor->cuda != cuda)
      throw py::value_error(std::string(tensor->name) + " is not on the " + (cuda ? "GPU" : "CPU") +
                            ", where this module works.");
  if (in.device != out.device)
    throw py::value_error(std::string(out.name) + " is on another GPU than " + in.name + ".");
  out.require_writable();
  out.require_apart(in);
  Execution execution;
  if (cuda) {
    execution.device = in.device;
    execution.stream = reinterpret_cast<void*>(how);
  } else {
    if (how < 1) throw py::value_error("the number of threads must be at least 1.");
    execution.threads = static_cast<int>(std::min<int64_t>(how, 1024));
  }
  for (const int64_t size : out.shape)
    if (size == 0) return;
  const py::gil_scoped_release released;
  kernel(execution);
}

// [H, W], or [C, H, W], or interleaved [H, W, 3] as rows of 3 W samples.
template <class Planes>
Planes planes(const Tensor& tensor) {
  tensor.require_adjacent();
  const size_t n = tensor.shape.size();
  return {tensor.data,          tensor.type,         n == 3 ? tensor.shape[0] : 1,
          tensor.shape[n - 2],  tensor.shape[n - 1], n == 3 ? tensor.strides[0] : 0,
          tensor.strides[n - 2]};
}
Output interleaved(const Tensor& tensor) {
  tensor.require_adjacent();
  if (tensor.shape[1] > 1 && tensor.strides[1] != 3)
    throw py::value_error(std::string(tensor.name) + " must be contiguous along its last two axes.");
  return {tensor.data, tensor.type, 1, tensor.shape[0], 3 * tensor.shape[1], 0, tensor.strides[0]};
}

Pattern parse_pattern(const std::string& cfa) {
  Pattern pattern{};
  pattern.period = cfa.size() == 4 ? 2 : 6;
  if (cfa.size() != 4 && cfa.size() != 36) throw py::value_error("a CFA pattern has 4 or 36 letters.");
  int count[3] = {};
  for (size_t i = 0; i < cfa.size(); ++i) {
    const size_t color = std::string("RGB").find(cfa[i]);
    if (color == std::string::npos) throw py::value_error("a CFA pattern is made of R, G and B.");
    pattern.color[i] = static_cast<uint8_t>(color);
    ++count[color];
  }
  const bool bayer = count[0] == 1 && count[1] == 2 && (cfa[0] == 'G') == (cfa[3] == 'G');
  if (pattern.period == 2 ? !bayer : !(count[0] && count[1] && count[2]))
    throw py::value_error("a CFA pattern has each colour, and a Bayer pattern its greens on a diagonal.");
  return pattern;
}

Levels parse_levels(const Floats& black, const Floats& scale, int period) {
  Levels levels{};
  const size_t cells = static_cast<size_t>(period) * period;
  if (black.size() != cells || scale.size() != cells)
    throw py::value_error("levels are needed for each cell of the CFA.");
  std::copy(black.begin(), black.end(), levels.black);
  std::copy(scale.begin(), scale.end(), levels.scale);
  return levels;
}

void require_planes(const std::vector<int>& plane_of, int period) {
  const int cells = period * period;
  std::vector<bool> seen(static_cast<size_t>(cells));
  bool each = plane_of.size() == seen.size();
  for (const int plane : plane_of) {
    if (plane < 0 || plane >= cells || seen[plane]) each = false;
    if (each) seen[plane] = true;
  }
  if (!each) throw py::value_error("plane_of must name each plane once.");
}

void require_period(int period) {
  if (period != 2 && period != 6) throw py::value_error("the period of a CFA is 2 or 6.");
}

// Per cell of the tile: 0 ... 3 (Bayer) or 0 ... 2 (X-Trans).
void require_channels(const std::vector<int>& channel_of, int period) {
  require_period(period);
  const int channels = period == 2 ? 4 : 3;
  if (channel_of.size() != static_cast<size_t>(period) * period ||
      std::any_of(channel_of.begin(), channel_of.end(), [&](int c) { return c < 0 || c >= channels; }))
    throw py::value_error("channel_of must name the channel of each cell.");
}

std::vector<Noise> parse_noise(const Floats& gain, const Floats& sigma, const Floats& offset) {
  if (gain.size() != sigma.size() || gain.size() != offset.size())
    throw py::value_error("gain, sigma and offset must have the same number of values.");
  std::vector<Noise> noise;
  for (size_t i = 0; i < gain.size(); ++i) {
    if (!(gain[i] > 0)) throw py::value_error("gain must be positive.");
    noise.push_back({gain[i], sigma[i], offset[i]});
  }
  return noise;
}

Inverse parse_inverse(const std::string& method) {
  if (method == "exact") return Inverse::exact;
  if (method == "algebraic") return Inverse::algebraic;
  if (method == "asymptotic") return Inverse::asymptotic;
  throw py::value_error("inverse method '" + method + "' does not exist.");
}

Method parse_method(const std::string& method, const Pattern& pattern) {
  int row, column;
  if ((method == "markesteijn" || method == "markesteijn-1") && find_solitary(pattern, &row, &column))
    return method == "markesteijn" ? Method::markesteijn : Method::markesteijn_1;
  static const std::map<std::string, Method> bayer = {
      {"bilinear", Method::bilinear},
      {"malvar", Method::malvar},
      {"superpixel", Method::superpixel},
      {"hamilton-adams", Method::hamilton_adams},
      {"menon", Method::menon},
      {"rcd", Method::rcd},
      {"gbtf", Method::gbtf},
  };
  const auto found = bayer.find(method);
  if (found == bayer.end() || (pattern.period == 6 && found->second != Method::bilinear))
    throw py::value_error("demosaic method '" + method + "' does not exist for this CFA pattern.");
  return found->second;
}

Encode parse_encode(const std::string& encode) {
  if (encode != "none" && encode != "sqrt") throw py::value_error("encoding '" + encode + "' does not exist.");
  return encode == "sqrt" ? Encode::sqrt : Encode::none;
}

void require_mosaic(const Tensor& mosaic, const Pattern& pattern) {
  mosaic.require_type({DType::u16, DType::f32});
  mosaic.require_shape({-1, -1});
  if (std::min(mosaic.shape[0], mosaic.shape[1]) < pattern.period)
    throw py::value_error("a mosaic must be at least as large as one tile of its CFA pattern.");
}

// A curve is looked at for as long as the kernel runs.
struct ToneArgument {
  std::unique_ptr<Tensor> curve;
  Tone tone{};

  ToneArgument(const Floats& matrix, const py::object& table, const Tensor& out) {
    if (matrix.size() != 9) throw py::value_error("matrix must have nine elements.");
    std::copy(matrix.begin(), matrix.end(), tone.matrix);
    if (table.is_none()) return;
    curve = std::make_unique<Tensor>("curve", table);
    curve->require_type({DType::f32});
    curve->require_shape({-1});
    curve->require_adjacent();
    if (curve->shape[0] < 2 || curve->shape[0] > 1 << 24)
      throw py::value_error("curve must have at least two samples.");
    if (curve->cuda != out.cuda || curve->device != out.device)
      throw py::value_error("curve must be on the device of the image.");
    if (out.type == DType::f32) throw py::value_error("float32 output is linear and takes no curve.");
    tone.curve = static_cast<const float*>(curve->data);
    tone.curve_size = curve->shape[0];
  }
};

// Noise per cell, or none: no Anscombe transform.
const Noise* noise_of_cells(const std::vector<Noise>& noise, int period) {
  if (!noise.empty() && noise.size() != static_cast<size_t>(period) * period)
    throw py::value_error("noise parameters are needed for each cell of the CFA.");
  return noise.empty() ? nullptr : noise.data();
}

void pack(const py::object& mosaic_, int period, const Floats& black, const Floats& scale,
          const std::vector<int>& plane_of, const Floats& gain, const Floats& sigma, const Floats& offset,
          const py::object& out_, int64_t how) {
  const Tensor mosaic("mosaic", mosaic_);
  Tensor out("out", out_);
  require_period(period);
  mosaic.require_type({DType::u16, DType::f32});
  mosaic.require_shape({-1, -1});
  if (mosaic.shape[0] % period || mosaic.shape[1] % period)
    throw py::value_error("a mosaic to pack must be made of whole tiles.");
  out.require_type({DType::f32, DType::f16, DType::bf16});
  out.require_shape({period * period, mosaic.shape[0] / period, mosaic.shape[1] / period});
  const Levels levels = parse_levels(black, scale, period);
  require_planes(plane_of, period);
  const auto noise = parse_noise(gain, sigma, offset);
  const Noise* cells = noise_of_cells(noise, period);
  const auto from = planes<Input>(mosaic);
  const auto to = planes<Output>(out);
  launch(mosaic, out, how,
         [&](const Execution& run) { backend::pack(run, from, period, levels, plane_of.data(), cells, to); });
}

void unpack(const py::object& planes_, int period, const Floats& black, const Floats& scale,
            const std::vector<int>& plane_of, const Floats& gain, const Floats& sigma, const Floats& offset,
            const std::string& method, const py::object& out_, int64_t how) {
  const Tensor stack("planes", planes_);
  Tensor out("out", out_);
  require_period(period);
  stack.require_type({DType::f32, DType::f16, DType::bf16});
  stack.require_shape({period * period, -1, -1});
  out.require_type({DType::u16, DType::f32});
  out.require_shape({period * stack.shape[1], period * stack.shape[2]});
  const Levels levels = parse_levels(black, scale, period);
  require_planes(plane_of, period);
  const auto noise = parse_noise(gain, sigma, offset);
  const Noise* cells = noise_of_cells(noise, period);
  const Inverse inverse = parse_inverse(method);
  const auto from = planes<Input>(stack);
  const auto to = planes<Output>(out);
  launch(stack, out, how, [&](const Execution& run) {
    backend::unpack(run, from, period, levels, plane_of.data(), cells, inverse, to);
  });
}

void white_balance(const py::object& mosaic_, int period, const Floats& black, const Floats& scale, float clip,
                   const py::object& out_, int64_t how) {
  const Tensor mosaic("mosaic", mosaic_);
  Tensor out("out", out_);
  mosaic.require_type({DType::u16, DType::f32});
  mosaic.require_shape({-1, -1});
  out.require_type({DType::f32});
  out.require_shape({mosaic.shape[0], mosaic.shape[1]});
  require_period(period);
  const Levels levels = parse_levels(black, scale, period);
  const auto from = planes<Input>(mosaic);
  const auto to = planes<Output>(out);
  launch(mosaic, out, how, [&](const Execution& run) { backend::white_balance(run, from, period, levels, clip, to); });
}

void require_contiguous(const Tensor& tensor) {
  int64_t contiguous = 1;
  for (size_t i = tensor.shape.size(); i-- > 0; contiguous *= tensor.shape[i])
    if (tensor.shape[i] > 1 && tensor.strides[i] != contiguous)
      throw py::value_error(std::string(tensor.name) + " must be contiguous.");
}

// The Anscombe transforms: contiguous float32 of any shape. Returns the number of elements.
int64_t require_elementwise(const Tensor& in, const Tensor& out) {
  for (const Tensor* tensor : {&in, &out}) {
    tensor->require_type({DType::f32});
    require_contiguous(*tensor);
  }
  if (in.shape != out.shape) throw py::value_error("out must have the shape of the input.");
  int64_t n = 1;
  for (const int64_t size : in.shape) n *= size;
  return n;
}

// One noise for all, or one for each plane along the first axis.
Channels channels_of(const Tensor& in, const std::vector<Noise>& noise, int64_t n) {
  const auto count = static_cast<int64_t>(noise.size());
  if (count != 1 && (in.shape.empty() || in.shape[0] != count))
    throw py::value_error("gain, sigma and offset must be one value each or one for each channel.");
  return {count, n / std::max<int64_t>(count, 1), noise.data()};
}

void anscombe(const py::object& x_, const Floats& gain, const Floats& sigma, const Floats& offset,
              const py::object& out_, int64_t how) {
  const Tensor x("x", x_);
  Tensor out("out", out_);
  const int64_t n = require_elementwise(x, out);
  const auto noise = parse_noise(gain, sigma, offset);
  const Channels channels = channels_of(x, noise, n);
  launch(x, out, how, [&](const Execution& run) {
    backend::anscombe(run, static_cast<const float*>(x.data), channels, static_cast<float*>(out.data));
  });
}

void inverse_anscombe(const py::object& y_, const Floats& gain, const Floats& sigma, const Floats& offset,
                      const std::string& method, const py::object& out_, int64_t how) {
  const Tensor y("y", y_);
  Tensor out("out", out_);
  const int64_t n = require_elementwise(y, out);
  const auto noise = parse_noise(gain, sigma, offset);
  const Channels channels = channels_of(y, noise, n);
  const Inverse inverse = parse_inverse(method);
  launch(y, out, how, [&](const Execution& run) {
    backend::inverse_anscombe(run, static_cast<const float*>(y.data), channels, inverse, static_cast<float*>(out.data));
  });
}

// Parameters of the input's shape.
class NoiseMaps {
 public:
  NoiseMaps(const py::object& gain, const py::object& sigma, const py::object& offset, const Tensor& in,
            const Tensor& out)
      : tensor_{{"gain", gain}, {"sigma", sigma}, {"offset", offset}} {
    for (const Tensor& tensor : tensor_) {
      tensor.require_type({DType::f32});
      require_contiguous(tensor);
      if (tensor.shape != in.shape)
        throw py::value_error(std::string(tensor.name) + " must have the shape of the input.");
      if (tensor.cuda != in.cuda || tensor.device != in.device)
        throw py::value_error(std::string(tensor.name) + " must be on the device of the input.");
      out.require_apart(tensor);
    }
  }
  NoiseMap map() const {
    const auto data = [](const Tensor& tensor) { return static_cast<const float*>(tensor.data); };
    return {data(tensor_[0]), data(tensor_[1]), data(tensor_[2])};
  }

 private:
  const Tensor tensor_[3];
};

void anscombe_map(const py::object& x_, const py::object& gain, const py::object& sigma, const py::object& offset,
                  const py::object& out_, int64_t how) {
  const Tensor x("x", x_);
  Tensor out("out", out_);
  const int64_t n = require_elementwise(x, out);
  const NoiseMaps maps(gain, sigma, offset, x, out);
  launch(x, out, how, [&](const Execution& run) {
    backend::anscombe_map(run, static_cast<const float*>(x.data), n, maps.map(), static_cast<float*>(out.data));
  });
}

void inverse_anscombe_map(const py::object& y_, const py::object& gain, const py::object& sigma,
                          const py::object& offset, const std::string& method, const py::object& out_, int64_t how) {
  const Tensor y("y", y_);
  Tensor out("out", out_);
  const int64_t n = require_elementwise(y, out);
  const NoiseMaps maps(gain, sigma, offset, y, out);
  const Inverse inverse = parse_inverse(method);
  launch(y, out, how, [&](const Execution& run) {
    backend::inverse_anscombe_map(run, static_cast<const float*>(y.data), n, maps.map(), inverse,
                                  static_cast<float*>(out.data));
  });
}

void hot_pixels(const py::object& mosaic_, const std::string& cfa, float gain, float sigma, float offset,
                float threshold, const py::object& out_, int64_t how) {
  const Tensor mosaic("mosaic", mosaic_);
  Tensor out("out", out_);
  const Pattern pattern = parse_pattern(cfa);
  require_mosaic(mosaic, pattern);
  out.require_type({mosaic.type});
  out.require_shape({mosaic.shape[0], mosaic.shape[1]});
  if (!(gain >= 0 && sigma >= 0 && threshold >= 0))
    throw py::value_error("gain, sigma and threshold must not be negative.");
  const auto from = planes<Input>(mosaic);
  const auto to = planes<Output>(out);
  launch(mosaic, out, how,
         [&](const Execution& run) { backend::hot_pixels(run, from, pattern, {gain, sigma, offset}, threshold, to); });
}

void bin_stats(const py::object& mosaic_, int period, const Floats& black, const Floats& scale,
               const std::vector<int>& channel_of, float low, float high, const py::object& out_, int64_t how) {
  const Tensor mosaic("mosaic", mosaic_);
  Tensor out("out", out_);
  mosaic.require_type({DType::u16, DType::f32});
  mosaic.require_shape({-1, -1});
  require_channels(channel_of, period);
  const Levels levels = parse_levels(black, scale, period);
  out.require_type({DType::f32});
  out.require_shape({2, period == 2 ? 4 : 3, -1, -1});
  if (out.shape[2] > mosaic.shape[0] || out.shape[3] > mosaic.shape[1])
    throw py::value_error("the grid must not be finer than the mosaic.");
  out.require_adjacent();
  const auto from = planes<Input>(mosaic);
  const Output means{out.data, out.type, out.shape[1], out.shape[2], out.shape[3], out.strides[1], out.strides[2]};
  Output numbers = means;
  numbers.data = static_cast<float*>(out.data) + out.strides[0];
  launch(mosaic, out, how, [&](const Execution& run) {
    backend::bin_stats(run, from, period, levels, channel_of.data(), low, high, means, numbers);
  });
}

void downscale_mosaic(const py::object& mosaic_, int period, const std::vector<int>& channel_of, int factor,
                      const py::object& out_, int64_t how) {
  const Tensor mosaic("mosaic", mosaic_);
  Tensor out("out", out_);
  mosaic.require_type({DType::u16, DType::f32});
  mosaic.require_shape({-1, -1});
  require_channels(channel_of, period);
  if (std::min(mosaic.shape[0], mosaic.shape[1]) < period)
    throw py::value_error("a mosaic must be at least as large as one tile of its CFA pattern.");
  if (factor < 1 || factor > 1024) throw py::value_error("factor must be 1 to 1024.");
  out.require_type({mosaic.type});
  out.require_shape({mosaic.shape[0] / factor, mosaic.shape[1] / factor});
  const auto from = planes<Input>(mosaic);
  const auto to = planes<Output>(out);
  launch(mosaic, out, how,
         [&](const Execution& run) { backend::downscale_mosaic(run, from, period, channel_of.data(), factor, to); });
}

// Superpixel halves both sides.
std::pair<int64_t, int64_t> demosaiced_size(const Tensor& mosaic, Method method) {
  const int64_t step = method == Method::superpixel ? 2 : 1;
  return {mosaic.shape[0] / step, mosaic.shape[1] / step};
}

void demosaic(const py::object& mosaic_, const std::string& cfa, const std::string& method, const std::string& encode,
              bool interleave, const py::object& out_, int64_t how) {
  const Tensor mosaic("mosaic", mosaic_);
  Tensor out("out", out_);
  const Pattern pattern = parse_pattern(cfa);
  const Method chosen = parse_method(method, pattern);
  const Encode encoding = parse_encode(encode);
  require_mosaic(mosaic, pattern);
  const auto [height, width] = demosaiced_size(mosaic, chosen);
  out.require_type({DType::f32, DType::f16});
  if (interleave)
    out.require_shape({height, width, 3});
  else
    out.require_shape({3, height, width});
  const auto from = planes<Input>(mosaic);
  const auto to = interleave ? interleaved(out) : planes<Output>(out);
  launch(mosaic, out, how, [&](const Execution& run) { backend::demosaic(run, from, pattern, chosen, encoding, to); });
}

void develop(const py::object& mosaic_, const std::string& cfa, const Floats& black, const Floats& scale, float clip,
             const std::string& method, const std::string& encode, const Floats& matrix, const py::object& curve,
             const py::object& out_, int64_t how) {
  const Tensor mosaic("mosaic", mosaic_);
  Tensor out("out", out_);
  const Pattern pattern = parse_pattern(cfa);
  const Method chosen = parse_method(method, pattern);
  const Encode encoding = parse_encode(encode);
  const Levels levels = parse_levels(black, scale, pattern.period);
  require_mosaic(mosaic, pattern);
  const auto [height, width] = demosaiced_size(mosaic, chosen);
  out.require_type({DType::u8, DType::u16, DType::f32});
  out.require_shape({height, width, 3});
  const ToneArgument tone(matrix, curve, out);
  if (tone.curve) out.require_apart(*tone.curve);
  const auto from = planes<Input>(mosaic);
  const auto to = interleaved(out);
  launch(mosaic, out, how, [&](const Execution& run) {
    backend::develop(run, from, pattern, levels, clip, chosen, encoding, tone.tone, to);
  });
}

void render(const py::object& rgb_, const Floats& matrix, const py::object& curve, const py::object& out_,
            int64_t how) {
  const Tensor rgb("rgb", rgb_);
  Tensor out("out", out_);
  rgb.require_type({DType::f32});
  rgb.require_shape({3, -1, -1});
  out.require_type({DType::u8, DType::u16, DType::f32});
  out.require_shape({rgb.shape[1], rgb.shape[2], 3});
  const ToneArgument tone(matrix, curve, out);
  if (tone.curve) out.require_apart(*tone.curve);
  const auto from = planes<Input>(rgb);
  const auto to = interleaved(out);
  launch(rgb, out, how, [&](const Execution& run) { backend::render(run, from, tone.tone, to); });
}

}  // namespace
}  // namespace rawzoo

#if defined(RAWZOO_CUDA)
PYBIND11_MODULE(_native_cuda, m) {
#else
PYBIND11_MODULE(_native, m) {
  m.def("isa", [] { return rawzoo::rows().isa; });
  m.def("select_isa", &rawzoo::select_isa);
#endif
  m.def("pack", &rawzoo::pack);
  m.def("unpack", &rawzoo::unpack);
  m.def("white_balance", &rawzoo::white_balance);
  m.def("anscombe", &rawzoo::anscombe);
  m.def("inverse_anscombe", &rawzoo::inverse_anscombe);
  m.def("anscombe_map", &rawzoo::anscombe_map);
  m.def("inverse_anscombe_map", &rawzoo::inverse_anscombe_map);
  m.def("hot_pixels", &rawzoo::hot_pixels);
  m.def("bin_stats", &rawzoo::bin_stats);
  m.def("downscale_mosaic", &rawzoo::downscale_mosaic);
  m.def("demosaic", &rawzoo::demosaic);
  m.def("develop", &rawzoo::develop);
  m.def("render", &rawzoo::render);
}
