#include "fake_cuda/product_kernels.hpp"

#include <cstdint>
#include <cstring>

#include "cuda/fingerprint_body.hpp"
#include "cuda/gather_body.hpp"

namespace stillframe::fake_cuda {
namespace {

using device::cuda::CUdeviceptr;

// stillframe_<kernel>(entries, count).
template <typename Entry>
struct List {
  explicit List(const Launch& launch)
      : address(launch.argument<CUdeviceptr>(0)), bytes(launch.argument<std::uint64_t>(1) * sizeof(Entry)) {}

  [[nodiscard]] std::vector<Entry> entries(const std::byte* from) const {
    std::vector<Entry> read(bytes / sizeof(Entry));
    if (from != nullptr) std::memcpy(read.data(), from, bytes);
    return read;
  }

  CUdeviceptr address;
  std::size_t bytes;
};

std::vector<Access> accesses_of_gather(const Launch& launch) {
  const List<gather::Entry> list(launch);
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
  const List<gather::Entry> list(launch);
  std::vector<gather::Entry> entries = list.entries(backing(list.address));
  for (gather::Entry& entry : entries) {
    if (entry.bytes == 0) continue;
    entry.from = reinterpret_cast<std::uintptr_t>(backing(entry.from));
    entry.to = reinterpret_cast<std::uintptr_t>(backing(entry.to));
  }
  gather::copy_all(entries.data(), entries.size());
}

std::vector<Access> accesses_of_fingerprint(const Launch& launch) {
  const List<fingerprint::Entry> list(launch);
  std::vector<Access> accesses{{list.address, list.bytes, true}};
  for (const fingerprint::Entry& entry : list.entries(coming(list.address, list.bytes))) {
    if (entry.bytes != 0) accesses.push_back({entry.from, entry.bytes, false});
  }
  return accesses;
}

void run_fingerprint(const Launch& launch) {
  const List<fingerprint::Entry> list(launch);
  const std::vector<fingerprint::Entry> listed = list.entries(backing(list.address));
  std::vector<fingerprint::Entry> entries = listed;
  for (fingerprint::Entry& entry : entries) {
    if (entry.bytes != 0) entry.from = reinterpret_cast<std::uintptr_t>(backing(entry.from));
  }
  fingerprint::sum_all(entries.data(), entries.size());
  for (std::size_t i = 0; i < listed.size(); ++i) entries[i].from = listed[i].from;
  std::memcpy(backing(list.address), entries.data(), list.bytes);
}

}  // namespace

std::vector<Kernel> product_kernels() {
  const std::vector<std::size_t> arguments{sizeof(CUdeviceptr), sizeof(std::uint64_t)};
  return {{"stillframe_gather", arguments, accesses_of_gather, run_gather},
          {"stillframe_fingerprint", arguments, accesses_of_fingerprint, run_fingerprint}};
}

}  // namespace stillframe::fake_cuda
