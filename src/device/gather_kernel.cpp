#include "device/gather_kernel.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace stillframe::device::cuda {
namespace {

constexpr unsigned kThreadsOfBlock = 256;
constexpr std::uint64_t kTilesOfBlock = kThreadsOfBlock / gather::kLanes;
// Enough to fill the memory's bandwidth on the largest of the architectures; more would only queue.
constexpr std::uint64_t kMostBlocks = 512;

Status no_kernel(const Context& context, const std::string& why) {
  return {Code::unsupported, "there is no gather kernel for " + context.name() + ": " + why};
}

}  // namespace

Result<std::shared_ptr<const GatherKernel>> GatherKernel::load(const std::shared_ptr<Context>& context,
                                                               std::span<const std::byte> image) {
  if (image.empty()) return no_kernel(*context, "this build has none, since it was made without nvcc");
  CUmodule module = nullptr;
  const Status loaded = context->run({"loading the gather kernel on", context->name()},
                                     [&](const Calls& calls) { return calls.cuModuleLoadData(&module, image.data()); });
  if (context->lost()) return loaded;
  if (!loaded.ok()) return no_kernel(*context, loaded.message());
  ModuleHandle handle(context, module);
  CUfunction function = nullptr;
  const Status found = context->run({"looking for the gather kernel on", context->name()}, [&](const Calls& calls) {
    return calls.cuModuleGetFunction(&function, module, "stillframe_gather");
  });
  if (context->lost()) return found;
  if (!found.ok()) return no_kernel(*context, found.message());
  return std::make_shared<const GatherKernel>(std::move(handle), function);
}

CUresult GatherKernel::launch(const Calls& calls, CUstream stream, CUdeviceptr entries, std::uint64_t count,
                              std::uint64_t grains) const {
  const std::uint64_t tiles = (grains + gather::kGrainsPerTile - 1) / gather::kGrainsPerTile;
  const auto blocks = static_cast<unsigned>(std::min((tiles + kTilesOfBlock - 1) / kTilesOfBlock, kMostBlocks));
  void* parameters[] = {&entries, &count};
  return calls.cuLaunchKernel(function_, blocks, 1, 1, kThreadsOfBlock, 1, 1, 0, stream, parameters, nullptr);
}

}  // namespace stillframe::device::cuda
