// Memory and copies.
#include <cstdint>
#include <vector>

#include "fake_cuda/calls.hpp"
#include "fake_cuda/capture.hpp"
#include "fake_cuda/copies.hpp"
#include "fake_cuda/memory.hpp"

namespace stillframe::fake_cuda::driver {
namespace {

CUdeviceptr address_of(const void* host) { return reinterpret_cast<std::uintptr_t>(host); }

CUresult copy(const char* name, Direction direction, const CopyRequest& request, CUstream stream) {
  Call call(name);
  if (call.refused()) return call.refusal();
  std::size_t failed = 0;
  return give_copies(call, stream, {request}, direction, failed);
}

bool attributes_cover(const MemcpyAttributes* attributes, const std::size_t* starts, std::size_t attribute_count,
                      std::size_t count) {
  if (attributes == nullptr || starts == nullptr || attribute_count == 0 || attribute_count > count) return false;
  constexpr int kLastSourceOrder = 3;  // stream, during the call, any
  for (std::size_t i = 0; i < attribute_count; ++i) {
    const bool in_order = i == 0 ? starts[0] == 0 : starts[i] > starts[i - 1] && starts[i] < count;
    const int order = attributes[i].source_access_order;
    if (!in_order || order < cuda::kSourceOrderStream || order > kLastSourceOrder) return false;
  }
  return true;
}

}  // namespace

CUresult cuMemAlloc(CUdeviceptr* pointer, std::size_t bytes) {
  Call call("cuMemAlloc", Needs::context, WhileCapturing::unsafe);
  if (call.refused()) return call.refusal();
  return pointer == nullptr ? cuda::kErrorInvalidValue : allocate(call.world, call.context, bytes, *pointer);
}

CUresult cuMemFree(CUdeviceptr pointer) {
  Call call("cuMemFree", Needs::context, WhileCapturing::unsafe);
  return call.refused() ? call.refusal() : release(call, pointer);
}

CUresult cuMemHostRegister(void* address, std::size_t bytes, unsigned flags) {
  Call call("cuMemHostRegister", Needs::context, WhileCapturing::unsafe);
  return call.refused() ? call.refusal() : add_registration(call, address, bytes, flags);
}

CUresult cuMemHostUnregister(void* address) {
  Call call("cuMemHostUnregister", Needs::context, WhileCapturing::unsafe);
  return call.refused() ? call.refusal() : remove_registration(call, address);
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
  return copy("cuMemcpyDtoHAsync", Direction::device_to_host, {address_of(to), from, bytes}, stream);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream) {
  return copy("cuMemcpyHtoDAsync", Direction::host_to_device, {to, address_of(from), bytes}, stream);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
  return copy("cuMemcpyDtoDAsync", Direction::device_to_device, {to, from, bytes}, stream);
}

CUresult cuMemcpyBatchAsync(CUdeviceptr* to, CUdeviceptr* from, std::size_t* bytes, std::size_t count,
                            MemcpyAttributes* attributes, std::size_t* attribute_starts, std::size_t attribute_count,
                            std::size_t* failed, CUstream stream) {
  Call call("cuMemcpyBatchAsync");
  if (call.refused()) return call.refusal();
  std::size_t nobody = SIZE_MAX;
  std::size_t& blamed = failed == nullptr ? nobody : *failed;
  blamed = SIZE_MAX;
  const auto handle = reinterpret_cast<std::uintptr_t>(stream);
  if (handle == 0 || handle == cuda::kStreamLegacy) return cuda::kErrorInvalidValue;
  if (to == nullptr || from == nullptr || bytes == nullptr || count == 0) return cuda::kErrorInvalidValue;
  if (!attributes_cover(attributes, attribute_starts, attribute_count, count)) return cuda::kErrorInvalidValue;
  std::vector<CopyRequest> requests;
  requests.reserve(count);
  for (std::size_t i = 0; i < count; ++i) requests.push_back({to[i], from[i], bytes[i]});
  return give_copies(call, stream, requests, std::nullopt, blamed);
}

}  // namespace stillframe::fake_cuda::driver
