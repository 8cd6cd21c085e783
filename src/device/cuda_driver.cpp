#include "device/cuda_driver.hpp"

#include <dlfcn.h>

#include <utility>

#include "device/cuda_error.hpp"

namespace stillframe::device {
namespace {

using cuda::CUresult;
using GetVersion = CUresult (*)(int* version);
using GetProcAddress = CUresult (*)(const char* name, void** address, int version, std::uint64_t flags, int* found);

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Status too_old(const std::string& library, int version) {
  return {Code::unsupported, "the NVIDIA driver (" + library + ") is too old: it supports CUDA " +
                                 version_text(version) + ", at least " + version_text(cuda::kOldestDriverVersion) +
                                 " is needed; install driver 525 or newer"};
}

Status missing_call(const std::string& library, int version, const char* name) {
  return {Code::unsupported, "the NVIDIA driver (" + library + ", CUDA " + version_text(version) + ") has no call " +
                                 name + "; install a driver that is whole, 525 or newer"};
}

template <typename Function>
Function symbol(void* library, const char* name) {
  return reinterpret_cast<Function>(::dlsym(library, name));
}

// Null when the driver has no such form of the call.
template <typename Function>
Function resolve(GetProcAddress get, const char* name, int version) {
  void* address = nullptr;
  int found = 0;
  const CUresult result = get(name, &address, version, cuda::kLegacyDefaultStream, &found);
  return result == cuda::kSuccess ? reinterpret_cast<Function>(address) : nullptr;
}

// The name of the first call that is needed and missing, else null.
const char* resolve_all(GetProcAddress get, cuda::Calls& calls) {
  const char* missing = nullptr;
#define SF_RESOLVE_CALL(name, version, parameters)                 \
  calls.name = resolve<decltype(calls.name)>(get, #name, version); \
  if (calls.name == nullptr && missing == nullptr) missing = #name;
#define SF_RESOLVE_OPTIONAL_CALL(name, version, parameters) \
  calls.name = resolve<decltype(calls.name)>(get, #name, version);
  SF_CUDA_CALLS(SF_RESOLVE_CALL)
  SF_CUDA_OPTIONAL_CALLS(SF_RESOLVE_OPTIONAL_CALL)
#undef SF_RESOLVE_CALL
#undef SF_RESOLVE_OPTIONAL_CALL
  return missing;
}

Status initialise(const std::string& library, const cuda::Calls& calls) {
  const CUresult result = calls.cuInit(0);
  if (result == cuda::kErrorNoDevice) {
    return {Code::unavailable, "the NVIDIA driver (" + library +
                                   ") sees no device: this machine has no GPU, it is not " +
                                   "passed into the container, or CUDA_VISIBLE_DEVICES hides it"};
  }
  return cuda::status_of(calls, result, {"initialising the NVIDIA driver", library});
}

}  // namespace

Result<std::shared_ptr<const CudaDriver>> CudaDriver::load(const std::string& library) {
  void* const handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    const char* const reason = ::dlerror();
    return Status(Code::unavailable, "this machine has no NVIDIA driver: " + library + " cannot be loaded (" +
                                         (reason != nullptr ? reason : "no reason given") +
                                         "); install the driver, or start the container with access to the GPU");
  }
  const auto get_version = symbol<GetVersion>(handle, "cuDriverGetVersion");
  int version = 0;
  if (get_version == nullptr || get_version(&version) != cuda::kSuccess) {
    return Status(Code::unavailable, library + " is not an NVIDIA driver: it does not tell its version");
  }
  if (version < cuda::kOldestDriverVersion) return too_old(library, version);
  const auto get = symbol<GetProcAddress>(handle, "cuGetProcAddress_v2");
  if (get == nullptr) return missing_call(library, version, "cuGetProcAddress_v2");
  cuda::Calls calls;
  if (const char* const missing = resolve_all(get, calls)) return missing_call(library, version, missing);
  SF_TRY(initialise(library, calls));
  return std::shared_ptr<const CudaDriver>(std::make_shared<CudaDriver>(calls, version));
}

Result<int> CudaDriver::device_count() const {
  int count = 0;
  SF_TRY(cuda::status_of(calls_, calls_.cuDeviceGetCount(&count), {"counting the devices of", "the NVIDIA driver"}));
  return count;
}

}  // namespace stillframe::device
