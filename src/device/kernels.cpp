#include "device/kernels.hpp"

#include <algorithm>

namespace stillframe::device::cuda {
namespace {

constexpr unsigned kThreadsOfBlock = 256;
// A tile is the work of a warp at a time.
constexpr std::uint64_t kTilesOfBlock = kThreadsOfBlock / gather::kLanes;
static_assert(fingerprint::kLanes == gather::kLanes);
// Enough to fill the memory's bandwidth on the largest of the architectures; more would only queue.
constexpr std::uint64_t kMostBlocks = 512;

Status no_kernel(const Context& context, const std::string& name, const std::string& why) {
  return {Code::unsupported, "there is no " + name + " kernel for " + context.name() + ": " + why};
}

}  // namespace

Result<std::shared_ptr<const Kernel>> Kernel::load(const std::shared_ptr<Context>& context,
                                                   std::span<const std::byte> image, const std::string& name) {
  if (image.empty()) return no_kernel(*context, name, "this build has none, since it was made without nvcc");
  CUmodule module = nullptr;
  const Status loaded = context->run({"loading the " + name + " kernel on", context->name()},
                                     [&](const Calls& calls) { return calls.cuModuleLoadData(&module, image.data()); });
  if (context->lost()) return loaded;
  if (!loaded.ok()) return no_kernel(*context, name, loaded.message());
  ModuleHandle handle(context, module);
  CUfunction function = nullptr;
  const std::string symbol = "stillframe_" + name;
  const Status found =
      context->run({"looking for the " + name + " kernel on", context->name()},
                   [&](const Calls& calls) { return calls.cuModuleGetFunction(&function, module, symbol.c_str()); });
  if (context->lost()) return found;
  if (!found.ok()) return no_kernel(*context, name, found.message());
  return std::make_shared<const Kernel>(std::move(handle), function);
}

CUresult Kernel::launch(const Calls& calls, CUstream stream, CUdeviceptr entries, std::uint64_t count,
                        std::uint64_t tiles) const {
  const auto blocks = static_cast<unsigned>(std::min((tiles + kTilesOfBlock - 1) / kTilesOfBlock, kMostBlocks));
  void* parameters[] = {&entries, &count};
  return calls.cuLaunchKernel(function_, blocks, 1, 1, kThreadsOfBlock, 1, 1, 0, stream, parameters, nullptr);
}

}  // namespace stillframe::device::cuda
