// What the library exports as libcuda.so.1 does: the way to every other call, and the two that are wanted before it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "fake_cuda/calls.hpp"
#include "fake_cuda/state.hpp"

namespace {

namespace fake = stillframe::fake_cuda;
namespace cuda = stillframe::device::cuda;

// CUdriverProcAddressQueryResult
constexpr int kFound = 0;
constexpr int kSymbolNotFound = 1;
constexpr int kVersionNotSufficient = 2;

constexpr int kNeverReplaced = 1'000'000;

struct EntryPoint {
  std::string_view name;
  int since = 0;  // the CUDA version whose form of the call this is
  void* address = nullptr;
};

#define FAKE_CUDA_ENTRY(name, version, parameters) \
  EntryPoint{#name, version, reinterpret_cast<void*>(&fake::driver::name)},
const std::array kEntryPoints{SF_CUDA_CALLS(FAKE_CUDA_ENTRY) SF_CUDA_OPTIONAL_CALLS(FAKE_CUDA_ENTRY)
                                  FAKE_CUDA_TEST_CALLS(FAKE_CUDA_ENTRY)};
#undef FAKE_CUDA_ENTRY

// The version at which a call of the same name takes other parameters, which the fake does not have.
int replaced_in(std::string_view name) {
  constexpr int kCuda13 = 13000;
  return name == "cuMemcpyBatchAsync" || name == "cuCtxGetDevice" ? kCuda13 : kNeverReplaced;
}

const EntryPoint* find(std::string_view name) {
  const auto* const found = std::find_if(kEntryPoints.begin(), kEntryPoints.end(),
                                         [name](const EntryPoint& entry) { return entry.name == name; });
  return found == kEntryPoints.end() ? nullptr : &*found;
}

int status_of(const EntryPoint* entry, const fake::Config& config, int wanted_version) {
  if (entry == nullptr || entry->since > config.driver_version) return kSymbolNotFound;
  const auto& missing = config.missing_calls;
  if (std::find(missing.begin(), missing.end(), entry->name) != missing.end()) return kSymbolNotFound;
  if (wanted_version < entry->since || wanted_version >= replaced_in(entry->name)) return kVersionNotSufficient;
  return kFound;
}

}  // namespace

extern "C" {

FAKE_CUDA_EXPORT int cuInit(unsigned flags);
FAKE_CUDA_EXPORT int cuDriverGetVersion(int* version);
FAKE_CUDA_EXPORT int cuGetProcAddress_v2(const char* name, void** address, int wanted_version, std::uint64_t flags,
                                         int* status);

int cuInit(unsigned flags) { return fake::driver::cuInit(flags); }

int cuDriverGetVersion(int* version) { return fake::driver::cuDriverGetVersion(version); }

int cuGetProcAddress_v2(const char* name, void** address, int wanted_version, std::uint64_t flags, int* status) {
  const fake::Call call("cuGetProcAddress", fake::Needs::nothing);
  if (call.refused()) return call.refusal();
  if (name == nullptr || address == nullptr || flags > cuda::kLegacyDefaultStream) return cuda::kErrorInvalidValue;
  const fake::Config& config = call.world.config;
  *address = nullptr;
  if (wanted_version > config.driver_version) return cuda::kErrorInvalidValue;
  if (std::string_view(name) == "cuGetProcAddress") {
    *address = reinterpret_cast<void*>(&cuGetProcAddress_v2);
    if (status != nullptr) *status = kFound;
    return cuda::kSuccess;
  }
  const EntryPoint* const entry = find(name);
  const int found = status_of(entry, config, wanted_version);
  if (found == kFound) *address = entry->address;
  if (status != nullptr) *status = found;
  return cuda::kSuccess;  // also where there is no such call: the address stays null
}

}  // extern "C"
