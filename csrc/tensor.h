// Arrays from Python: DLPack capsules (torch, CuPy) and buffers (NumPy), looked at but not taken over.
#pragma once

#include <pybind11/pybind11.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "kernels/types.h"

namespace rawzoo {

class Tensor {
 public:
  // TypeError: neither a DLPack capsule nor a buffer, or of a dtype that no op takes.
  Tensor(const char* name, pybind11::handle object);
  ~Tensor();
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  const char* name;
  void* data = nullptr;
  DType type{};
  bool cuda = false, read_only = false;
  int device = 0;
  std::vector<int64_t> shape, strides;  // in elements

  // TypeError unless the dtype is one of these.
  void require_type(std::initializer_list<DType> types) const;
  // ValueError unless the shape is this; -1 stands for any size.
  void require_shape(std::initializer_list<int64_t> sizes) const;
  // ValueError unless neighbours along the last axis are adjacent.
  void require_adjacent() const;
  // ValueError unless writable and without two elements in one place.
  void require_writable() const;
  // ValueError unless this memory and the other's are apart.
  void require_apart(const Tensor& other) const;

 private:
  void from_dlpack(const void* dl_tensor);
  void from_buffer(pybind11::handle object);

  Py_buffer buffer_{};
};

}  // namespace rawzoo
