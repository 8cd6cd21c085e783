// The driver as a program sees it: loaded by name, every call asked for by cuGetProcAddress_v2.
#pragma once

#include <dlfcn.h>

#include <cstdint>

#include "fake_cuda/codes.hpp"
#include "fake_cuda/fake_cuda.hpp"

namespace stillframe::fake_cuda {

using cuda::CUcontext;
using cuda::CUdevice;
using cuda::CUdeviceptr;
using cuda::CUevent;
using cuda::CUfunction;
using cuda::CUmodule;
using cuda::CUresult;
using cuda::CUstream;
using cuda::MemcpyAttributes;

using GetProcAddress = CUresult (*)(const char*, void**, int, std::uint64_t, int*);

inline GetProcAddress get_proc_address() {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  return library == nullptr ? nullptr : reinterpret_cast<GetProcAddress>(dlsym(library, "cuGetProcAddress_v2"));
}

// Null for a call that the driver lacks.
struct Driver {
  Driver() {
    const GetProcAddress get = get_proc_address();
    if (get == nullptr) return;
#define FAKE_CUDA_LOAD(name, version, parameters)                                               \
  {                                                                                             \
    void* address = nullptr;                                                                    \
    if (get(#name, &address, version, cuda::kLegacyDefaultStream, nullptr) == cuda::kSuccess) { \
      name = reinterpret_cast<decltype(name)>(address);                                         \
    }                                                                                           \
  }
    SF_CUDA_CALLS(FAKE_CUDA_LOAD)
    SF_CUDA_OPTIONAL_CALLS(FAKE_CUDA_LOAD)
    FAKE_CUDA_TEST_CALLS(FAKE_CUDA_LOAD)
#undef FAKE_CUDA_LOAD
  }

#define FAKE_CUDA_MEMBER(name, version, parameters) CUresult(*name) parameters = nullptr;
  SF_CUDA_CALLS(FAKE_CUDA_MEMBER)
  SF_CUDA_OPTIONAL_CALLS(FAKE_CUDA_MEMBER)
  FAKE_CUDA_TEST_CALLS(FAKE_CUDA_MEMBER)
#undef FAKE_CUDA_MEMBER
};

}  // namespace stillframe::fake_cuda
