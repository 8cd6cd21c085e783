// Copies: how they are given to a stream, and how long they take.
#pragma once

#include <cstddef>
#include <vector>

#include "fake_cuda/streams.hpp"

namespace stillframe::fake_cuda {

enum class Direction { device_to_host, host_to_device, device_to_device };

struct CopyRequest {
  cuda::CUdeviceptr to = 0;
  cuda::CUdeviceptr from = 0;
  std::size_t bytes = 0;
};

struct Arrival {
  CopyRequest request;
  const std::byte* from = nullptr;
  std::shared_ptr<const std::vector<std::byte>> staged;  // holds `from` when the source was not registered
  Point point;
};
// Where the bytes of the newest one stand that covers the range and has not run; null when there is none.
[[nodiscard]] const std::byte* arriving(const World& world, cuda::CUdeviceptr address, std::size_t bytes);

// The direction that the addresses have, or one that the call wants: kErrorInvalidValue when they do not have it.
// The copies are one operation; among themselves they run in an order drawn from the seed. `failed` is the index of a
// copy that was refused, SIZE_MAX when none is to blame.
[[nodiscard]] cuda::CUresult give_copies(Call& call, cuda::CUstream handle, const std::vector<CopyRequest>& requests,
                                         std::optional<Direction> wanted, std::size_t& failed);

}  // namespace stillframe::fake_cuda
