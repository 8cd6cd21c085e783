// Device memory and registered host memory. The lock is held throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "fake_cuda/state.hpp"

namespace stillframe::fake_cuda {

// The device address lies in a range without access rights, so that the host faults when it touches it; the bytes lie
// elsewhere. Work under way keeps them.
struct Allocation {
  Allocation(Context* of, std::size_t size);
  ~Allocation();
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  [[nodiscard]] bool good() const { return address != 0; }  // false: the system gave no memory

  Context* const context;
  const std::size_t bytes;
  std::uintptr_t address = 0;
  std::byte* data = nullptr;

 private:
  std::size_t mapped_bytes_;
};

[[nodiscard]] cuda::CUresult allocate(World& world, Context* context, std::size_t bytes, cuda::CUdeviceptr& address);
[[nodiscard]] cuda::CUresult release(Call& call, cuda::CUdeviceptr address);
// What the context holds goes; work under way keeps what it needs.
void release_all(World& world, Context* context);

[[nodiscard]] cuda::CUresult add_registration(Call& call, void* address, std::size_t bytes, unsigned flags);
[[nodiscard]] cuda::CUresult remove_registration(Call& call, void* address);
// Whether every byte is registered, by one registration or by several that meet.
[[nodiscard]] bool is_registered(const World& world, const Context* context, const void* address, std::size_t bytes);

// A range of memory that work may touch.
struct Place {
  enum class Kind { none, device, registered, pageable };  // none: device memory, but not all of the range
  Kind kind = Kind::none;
  std::byte* data = nullptr;
  std::shared_ptr<Allocation> keeps;  // of device memory
};
[[nodiscard]] Place place_of(const World& world, const Context* context, cuda::CUdeviceptr address, std::size_t bytes);

}  // namespace stillframe::fake_cuda
