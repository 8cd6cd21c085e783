#include "fake_cuda/product_kernels.hpp"

#include <cstdint>
#include <cstring>

#include "cuda/gather_body.hpp"

namespace stillframe::fake_cuda {
namespace {

using device::cuda::CUdeviceptr;

// stillframe_gather(entries, count).
struct List {
  explicit List(const Launch& launch)
      : address(launch.argument<CUdeviceptr>(0)), bytes(launch.argument<std::uint64_t>(1) * sizeof(gather::Entry)) {}

  [[nodiscard]] std::vector<gather::Entry> entries(const std::byte* from) const {
    std::vector<gather::Entry> read(bytes / sizeof(gather::Entry));
    if (from != nullptr) std::memcpy(read.data(), from, bytes);
    return read;
  }

  CUdeviceptr address;
  std::size_t bytes;
};

std::vector<Access> accesses_of_gather(const Launch& launch) {
  const List list(launch);
  std::vector<Access> accesses{{list.address, list.bytes, false}};
  for (const gather::Entry& entry : list.entries(coming(list.address, list.bytes))) {
    if (entry.bytes == 0) continue;
    accesses.push_back({entry.from, entry.bytes, false});
    accesses.push_back({entry.to, entry.bytes, true});
  }
  return accesses;
}

// Both memories begin at a page, so that addresses keep their alignment.
void run_gather(const Launch& launch) {
  const List list(launch);
  std::vector<gather::Entry> entries = list.entries(backing(list.address));
  for (gather::Entry& entry : entries) {
    if (entry.bytes == 0) continue;
    entry.from = reinterpret_cast<std::uintptr_t>(backing(entry.from));
    entry.to = reinterpret_cast<std::uintptr_t>(backing(entry.to));
  }
  gather::copy_all(entries.data(), entries.size());
}

}  // namespace

std::vector<Kernel> product_kernels() {
  return {{"stillframe_gather", {sizeof(CUdeviceptr), sizeof(std::uint64_t)}, accesses_of_gather, run_gather}};
}

}  // namespace stillframe::fake_cuda
