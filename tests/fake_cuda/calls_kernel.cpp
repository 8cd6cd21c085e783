// Modules and kernels: an image is only looked at to know it; what runs is the host twin of the kernel's name.
#include <array>
#include <cstring>
#include <utility>

#include "fake_cuda/calls.hpp"
#include "fake_cuda/capture.hpp"
#include "fake_cuda/memory.hpp"
#include "fake_cuda/streams.hpp"

namespace stillframe::fake_cuda::driver {
namespace {

bool is_fat_binary(const void* image) {
  constexpr std::array<unsigned char, 4> kMagic{0x50, 0xED, 0x55, 0xBA};
  return std::memcmp(image, kMagic.data(), kMagic.size()) == 0;
}

// Looks no further than the first byte that differs: how long the image is nobody says.
bool begins_with(const void* image, const std::vector<std::byte>& known) {
  const auto* const bytes = static_cast<const std::byte*>(image);
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (bytes[i] != known[i]) return false;
  }
  return true;
}

bool is_image(const State& state, const void* image) {
  for (const void* address : state.image_addresses) {
    if (address == image) return true;
  }
  for (const auto& known : state.images) {
    if (begins_with(image, known)) return true;
  }
  return is_fat_binary(image);
}

Launch copy_arguments(const Kernel& kernel, void* const* parameters) {
  Launch launch;
  for (std::size_t i = 0; i < kernel.argument_bytes.size(); ++i) {
    const auto* const first = static_cast<const std::byte*>(parameters[i]);
    launch.arguments.emplace_back(first, first + kernel.argument_bytes[i]);
  }
  return launch;
}

bool fits(const unsigned (&grid)[3], const unsigned (&block)[3]) {
  constexpr std::uint64_t kThreadsOfBlock = 1024;
  std::uint64_t threads = 1;
  for (int i = 0; i < 3; ++i) {
    if (grid[i] == 0 || block[i] == 0) return false;
    threads *= block[i];
  }
  return threads <= kThreadsOfBlock;
}

// A range outside of live memory makes the kernel fail when it runs.
Work work_of(const Call& call, std::shared_ptr<const Kernel> kernel, Launch launch, std::vector<Access> accesses) {
  Work work;
  std::vector<std::shared_ptr<Allocation>> kept;
  for (const Access& access : accesses) {
    Place place = place_of(call.world, call.context, access.address, access.bytes);
    if (place.kind == Place::Kind::none || place.kind == Place::Kind::pageable) {
      work.fault = cuda::kErrorIllegalAddress;
      return work;
    }
    kept.push_back(std::move(place.keeps));
  }
  work.accesses = std::move(accesses);
  work.run = [kernel = std::move(kernel), launch = std::move(launch), kept = std::move(kept)](Stream&) {
    kernel->run(launch);
  };
  return work;
}

}  // namespace

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  Call call("cuModuleLoadData", Needs::context, WhileCapturing::unsafe);
  if (call.refused()) return call.refusal();
  if (module == nullptr || image == nullptr) return cuda::kErrorInvalidValue;
  if (!is_image(call.state, image)) return kErrorInvalidImage;
  const std::uintptr_t handle = call.world.next_handle += sizeof(void*);
  call.world.modules.emplace(handle, call.context);
  *module = reinterpret_cast<CUmodule>(handle);
  return cuda::kSuccess;
}

CUresult cuModuleUnload(CUmodule module) {
  Call call("cuModuleUnload", Needs::context, WhileCapturing::unsafe);
  if (call.refused()) return call.refusal();
  const auto handle = reinterpret_cast<std::uintptr_t>(module);
  if (call.world.modules.erase(handle) == 0) return kErrorInvalidHandle;
  std::erase_if(call.world.functions, [handle](const auto& entry) { return entry.second.module == handle; });
  return cuda::kSuccess;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  Call call("cuModuleGetFunction");
  if (call.refused()) return call.refusal();
  if (function == nullptr || name == nullptr) return cuda::kErrorInvalidValue;
  const auto in = reinterpret_cast<std::uintptr_t>(module);
  if (!call.world.modules.contains(in)) return kErrorInvalidHandle;
  const auto kernel = call.state.kernels.find(name);
  if (kernel == call.state.kernels.end()) return cuda::kErrorNotFound;
  const std::uintptr_t handle = call.world.next_handle += sizeof(void*);
  call.world.functions.emplace(handle, Function{in, kernel->second});
  *function = reinterpret_cast<CUfunction>(handle);
  return cuda::kSuccess;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void** parameters,
                        void** extra) {
  Call call("cuLaunchKernel");
  if (call.refused()) return call.refusal();
  const auto found = call.world.functions.find(reinterpret_cast<std::uintptr_t>(function));
  if (found == call.world.functions.end() || call.world.modules[found->second.module] != call.context) {
    return kErrorInvalidHandle;
  }
  const unsigned grid[3] = {grid_x, grid_y, grid_z};
  const unsigned block[3] = {block_x, block_y, block_z};
  const std::shared_ptr<const Kernel> kernel = found->second.kernel;
  if (extra != nullptr) return cuda::kErrorNotSupported;
  if (!fits(grid, block) || (parameters == nullptr && !kernel->argument_bytes.empty())) return cuda::kErrorInvalidValue;
  CUresult refusal = cuda::kSuccess;
  const auto on = stream_for_work(call, stream, refusal);
  if (!on) return refusal;
  if (on->capture) {
    capture_operation(call.world, *on);
    return cuda::kSuccess;
  }
  Launch launch = copy_arguments(*kernel, parameters);
  std::copy(std::begin(grid), std::end(grid), std::begin(launch.grid));
  std::copy(std::begin(block), std::end(block), std::begin(launch.block));
  launch.shared_bytes = shared_bytes;
  call.lock.unlock();  // what the test registered may ask for backing()
  std::vector<Access> accesses = kernel->accesses(launch);
  call.lock.lock();
  give(call, on, work_of(call, kernel, std::move(launch), std::move(accesses)));
  return cuda::kSuccess;
}

}  // namespace stillframe::fake_cuda::driver
