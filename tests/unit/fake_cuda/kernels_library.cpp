// What FAKE_CUDA_KERNELS names: host twins for a program that knows nothing of the fake.
#include <cstring>

#include "fake_cuda/fake_cuda.hpp"

namespace stillframe::fake_cuda {
namespace {

// A kernel that sets one byte to 7: (address).
const bool registered = [] {
  register_kernel(
      {"seven",
       {sizeof(device::cuda::CUdeviceptr)},
       [](const Launch& launch) {
         return std::vector<Access>{{launch.argument<device::cuda::CUdeviceptr>(0), 1, true}};
       },
       [](const Launch& launch) { *backing(launch.argument<device::cuda::CUdeviceptr>(0)) = std::byte{7}; }});
  return true;
}();

}  // namespace
}  // namespace stillframe::fake_cuda
