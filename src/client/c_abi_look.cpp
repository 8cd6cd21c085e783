// stillframe.h: looks.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/c_abi.hpp"

namespace {

using stillframe::Code;
using stillframe::Status;
using stillframe::client::abi::guarded;

// A tensor as DLPack 1 hands it out: a fixed layout, which frameworks share without sharing headers.
struct TensorView {
  void* data = nullptr;
  std::int32_t device_type = 0;
  std::int32_t device_id = 0;
  std::int32_t dims = 0;
  std::uint8_t dtype_code = 0;
  std::uint8_t dtype_bits = 0;
  std::uint16_t dtype_lanes = 0;
  const std::int64_t* shape = nullptr;
  const std::int64_t* strides = nullptr;
  std::uint64_t byte_offset = 0;
};

bool same_form(const TensorView& a, const TensorView& b) {
  return a.data == b.data && a.byte_offset == b.byte_offset && a.device_type == b.device_type &&
         a.device_id == b.device_id && a.dims == b.dims && a.dtype_code == b.dtype_code &&
         a.dtype_bits == b.dtype_bits && a.dtype_lanes == b.dtype_lanes;
}

bool view(const sf_tensor_access& access, void* tuple, std::size_t at, TensorView& seen) {
  void* const tensor = access.item_of(tuple, static_cast<std::ptrdiff_t>(at));
  return tensor != nullptr && access.view_of(tensor, &seen) == 0 && seen.dims >= 0 &&
         (seen.dims == 0 || (seen.shape != nullptr && seen.strides != nullptr));
}

Status not_seen(std::size_t at) { return {Code::unsupported, "tensor " + std::to_string(at) + " cannot be looked at"}; }

}  // namespace

struct sf_look {
  sf_tensor_access access{};
  std::vector<TensorView> tensors;    // their shape and strides are not followed: they were the tensors' own
  std::vector<std::int64_t> extents;  // of each tensor its shape, then its strides
};

extern "C" {

sf_code sf_look_create(const sf_tensor_access* access, void* tuple, size_t count, sf_look** out) {
  return guarded([&]() -> Status {
    if (access == nullptr || access->item_of == nullptr || access->view_of == nullptr || tuple == nullptr ||
        out == nullptr) {
      return {Code::invalid_argument, "access, tuple or out is NULL"};
    }
    auto look = std::make_unique<sf_look>();
    look->access = *access;
    look->tensors.reserve(count);
    for (std::size_t at = 0; at < count; ++at) {
      TensorView seen;
      if (!view(*access, tuple, at, seen)) return not_seen(at);
      look->tensors.push_back(seen);
      look->extents.insert(look->extents.end(), seen.shape, seen.shape + seen.dims);
      look->extents.insert(look->extents.end(), seen.strides, seen.strides + seen.dims);
    }
    *out = look.release();
    return {};
  });
}

sf_code sf_look_fits(const sf_look* look, void* tuple, size_t count, int32_t* fits) {
  return guarded([&]() -> Status {
    if (look == nullptr || tuple == nullptr || fits == nullptr)
      return {Code::invalid_argument, "look, tuple or fits is NULL"};
    *fits = 0;
    if (count != look->tensors.size()) return {};
    const std::int64_t* extent = look->extents.data();
    for (std::size_t at = 0; at < count; ++at) {
      TensorView now;
      if (!view(look->access, tuple, at, now)) return not_seen(at);
      if (!same_form(now, look->tensors[at])) return {};
      for (const std::int64_t* const seen : {now.shape, now.strides}) {
        if (!std::equal(seen, seen + now.dims, extent)) return {};
        extent += now.dims;
      }
    }
    *fits = 1;
    return {};
  });
}

void sf_look_destroy(sf_look* look) { delete look; }

}  // extern "C"
