#include "tensor.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "dlpack.h"

namespace py = pybind11;

namespace rawzoo {
namespace {

const char* name_of(DType type) {
  switch (type) {
    case DType::u8:
      return "uint8";
    case DType::u16:
      return "uint16";
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
    case DType::f32:
      return "float32";
  }
  return "";
}

std::string list(const std::vector<int64_t>& sizes) {
  std::string text = "[";
  for (const int64_t size : sizes) text += (text.size() > 1 ? ", " : "") + (size < 0 ? "any" : std::to_string(size));
  return text + "]";
}

// First byte and one past the last byte.
std::pair<const char*, const char*> extent(const Tensor& tensor) {
  int64_t low = 0, high = 1;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] == 0) return {nullptr, nullptr};
    const int64_t reach = (tensor.shape[i] - 1) * tensor.strides[i];
    (reach < 0 ? low : high) += reach;
  }
  const char* data = static_cast<const char*>(tensor.data);
  return {data + low * size_of(tensor.type), data + high * size_of(tensor.type)};
}

}  // namespace

Tensor::Tensor(const char* argument, py::handle object) : name(argument) {
  if (PyCapsule_CheckExact(object.ptr())) {
    if (PyCapsule_IsValid(object.ptr(), "dltensor")) {
      const void* managed = PyCapsule_GetPointer(object.ptr(), "dltensor");
      from_dlpack(&static_cast<const dlpack::ManagedTensor*>(managed)->tensor);
      return;
    }
    if (PyCapsule_IsValid(object.ptr(), "dltensor_versioned")) {
      const auto* managed =
          static_cast<const dlpack::ManagedTensorVersioned*>(PyCapsule_GetPointer(object.ptr(), "dltensor_versioned"));
      if (managed->major != 1) throw py::type_error(std::string(name) + " comes in an unknown version of DLPack.");
      from_dlpack(&managed->tensor);
      read_only = managed->flags & dlpack::kReadOnly;
      return;
    }
  }
  if (!PyObject_CheckBuffer(object.ptr()))
    throw py::type_error(std::string(name) + " must be a NumPy array or an unused DLPack capsule.");
  from_buffer(object);
}

Tensor::~Tensor() {
  if (buffer_.obj) PyBuffer_Release(&buffer_);
}

void Tensor::from_dlpack(const void* dl_tensor) {
  const auto& source = *static_cast<const dlpack::Tensor*>(dl_tensor);
  const auto is = [&](uint8_t code, uint8_t bits) {
    return source.dtype.code == code && source.dtype.bits == bits && source.dtype.lanes == 1;
  };
  if (is(dlpack::kUInt, 8))
    type = DType::u8;
  else if (is(dlpack::kUInt, 16))
    type = DType::u16;
  else if (is(dlpack::kFloat, 16))
    type = DType::f16;
  else if (is(dlpack::kBfloat, 16))
    type = DType::bf16;
  else if (is(dlpack::kFloat, 32))
    type = DType::f32;
  else
    throw py::type_error(std::string(name) + " has a dtype that rawzoo's native ops do not take.");
  cuda = source.device.device_type == dlpack::kCUDA || source.device.device_type == dlpack::kCUDAManaged;
  if (!cuda && source.device.device_type != dlpack::kCPU && source.device.device_type != dlpack::kCUDAHost)
    throw py::type_error(std::string(name) + " is on a device that rawzoo's native ops do not serve.");
  device = cuda ? source.device.device_id : 0;
  data = static_cast<char*>(source.data) + source.byte_offset;
  shape.assign(source.shape, source.shape + source.ndim);
  strides.resize(shape.size());
  int64_t contiguous = 1;
  for (size_t i = shape.size(); i-- > 0; contiguous *= shape[i])
    strides[i] = source.strides ? source.strides[i] : contiguous;
}

void Tensor::from_buffer(py::handle object) {
  if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_STRIDES | PyBUF_FORMAT)) throw py::error_already_set();
  const std::string format = buffer_.format ? buffer_.format : "B";
  if (format == "B")
    type = DType::u8;
  else if (format == "H")
    type = DType::u16;
  else if (format == "e")
    type = DType::f16;
  else if (format == "f")
    type = DType::f32;
  else {
    PyBuffer_Release(&buffer_);
    throw py::type_error(std::string(name) + " has a dtype that rawzoo's native ops do not take.");
  }
  data = buffer_.buf;
  read_only = buffer_.readonly;
  shape.assign(buffer_.shape, buffer_.shape + buffer_.ndim);
  for (int i = 0; i < buffer_.ndim; ++i) {
    if (buffer_.strides[i] % buffer_.itemsize) {
      PyBuffer_Release(&buffer_);
      throw py::value_error(std::string(name) + " has strides that are no multiple of its element size.");
    }
    strides.push_back(buffer_.strides[i] / buffer_.itemsize);
  }
}

void Tensor::require_type(std::initializer_list<DType> types) const {
  if (std::find(types.begin(), types.end(), type) != types.end()) return;
  std::string wanted;
  for (const DType t : types) wanted += (wanted.empty() ? "" : " or ") + std::string(name_of(t));
  throw py::type_error(std::string(name) + " must be " + wanted + ", not " + name_of(type) + ".");
}

void Tensor::require_shape(std::initializer_list<int64_t> sizes) const {
  bool same = sizes.size() == shape.size();
  for (size_t i = 0; same && i < shape.size(); ++i) same = sizes.begin()[i] == -1 || sizes.begin()[i] == shape[i];
  if (!same)
    throw py::value_error(std::string(name) + " must have shape " + list(sizes) + ", not " + list(shape) + ".");
}

void Tensor::require_adjacent() const {
  if (!shape.empty() && shape.back() > 1 && strides.back() != 1)
    throw py::value_error(std::string(name) + " must be contiguous along its last axis.");
}

void Tensor::require_writable() const {
  if (read_only) throw py::value_error(std::string(name) + " is read-only.");
  if (std::count(shape.begin(), shape.end(), 0)) return;
  std::vector<size_t> axes(shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  std::sort(axes.begin(), axes.end(), [&](size_t a, size_t b) { return std::abs(strides[a]) < std::abs(strides[b]); });
  int64_t reach = 0;  // of the axes so far, in elements
  for (const size_t axis : axes) {
    if (shape[axis] < 2) continue;
    if (std::abs(strides[axis]) <= reach) throw py::value_error(std::string(name) + " has elements that share memory.");
    reach += (shape[axis] - 1) * std::abs(strides[axis]);
  }
}

void Tensor::require_apart(const Tensor& other) const {
  const auto [begin, end] = extent(*this);
  const auto [other_begin, other_end] = extent(other);
  if (begin < other_end && other_begin < end)
    throw py::value_error(std::string(name) + " overlaps " + other.name + ".");
}

}  // namespace rawzoo
