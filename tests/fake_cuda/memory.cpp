#include "fake_cuda/memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace stillframe::fake_cuda {
namespace {

std::size_t whole_pages(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

void* map(std::size_t bytes, int rights) {
  void* const at = mmap(nullptr, bytes, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : at;
}

// The entry whose range holds `address`, going by where ranges begin; null when there is none.
template <typename Map>
auto holder_of(Map& ranges, std::uintptr_t address) -> decltype(&*ranges.begin()) {
  const auto next = ranges.upper_bound(address);
  return next == ranges.begin() ? nullptr : &*std::prev(next);
}

// Nothing may be under way there: to the detector it is a write by the host.
void host_lets_go(Call& call, std::uintptr_t address, std::size_t bytes) {
  note_access(call.world, {address, bytes, true}, host_moment(call.world, call.thread, call.name),
              host_clock(call.world, call.thread));
  call.world.detector.forget({address, address + bytes});
}

}  // namespace

// One page more than asked for, without rights, so that neighbours do not touch.
Allocation::Allocation(Context* of, std::size_t size) : context(of), bytes(size), mapped_bytes_(whole_pages(size)) {
  void* const at = map(mapped_bytes_ + whole_pages(1), PROT_NONE);
  if (at == nullptr) return;
  void* const backing = map(mapped_bytes_, PROT_READ | PROT_WRITE);
  if (backing == nullptr) {
    munmap(at, mapped_bytes_ + whole_pages(1));
    return;
  }
  address = reinterpret_cast<std::uintptr_t>(at);
  data = static_cast<std::byte*>(backing);
}

Allocation::~Allocation() {
  if (!good()) return;
  munmap(reinterpret_cast<void*>(address), mapped_bytes_ + whole_pages(1));
  munmap(data, mapped_bytes_);
}

cuda::CUresult allocate(World& world, Context* context, std::size_t bytes, cuda::CUdeviceptr& address) {
  if (bytes == 0) return cuda::kErrorInvalidValue;
  if (bytes > world.config.memory_bytes - context->allocated_bytes) return cuda::kErrorOutOfMemory;
  auto allocation = std::make_shared<Allocation>(context, bytes);
  if (!allocation->good()) return cuda::kErrorOutOfMemory;
  context->allocated_bytes += bytes;
  address = allocation->address;
  world.allocations.emplace(allocation->address, std::move(allocation));
  return cuda::kSuccess;
}

cuda::CUresult release(Call& call, cuda::CUdeviceptr address) {
  if (address == 0) return cuda::kSuccess;
  const auto found = call.world.allocations.find(address);
  if (found == call.world.allocations.end()) return cuda::kErrorInvalidValue;
  const std::shared_ptr<Allocation> allocation = found->second;
  host_lets_go(call, allocation->address, allocation->bytes);
  allocation->context->allocated_bytes -= allocation->bytes;
  call.world.allocations.erase(found);
  return cuda::kSuccess;
}

void release_all(World& world, Context* context) {
  context->allocated_bytes = 0;
  std::erase_if(world.allocations, [&](const auto& entry) {
    const Allocation& allocation = *entry.second;
    if (allocation.context != context) return false;
    world.detector.forget({allocation.address, allocation.address + allocation.bytes});
    return true;
  });
  std::erase_if(world.registrations, [&](const auto& entry) {
    if (entry.second.context != context) return false;
    world.detector.forget({entry.first, entry.first + entry.second.bytes});
    return true;
  });
}

cuda::CUresult add_registration(Call& call, void* address, std::size_t bytes, unsigned flags) {
  if (address == nullptr || bytes == 0) return cuda::kErrorInvalidValue;
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  const auto* const before = holder_of(call.world.registrations, begin + bytes - 1);
  if (before != nullptr && before->first + before->second.bytes > begin) return cuda::kErrorHostMemoryAlreadyRegistered;
  call.world.registrations.emplace(begin, Registration{bytes, flags, call.context});
  return cuda::kSuccess;
}

cuda::CUresult remove_registration(Call& call, void* address) {
  const auto found = call.world.registrations.find(reinterpret_cast<std::uintptr_t>(address));
  if (found == call.world.registrations.end()) return cuda::kErrorHostMemoryNotRegistered;
  host_lets_go(call, found->first, found->second.bytes);
  call.world.registrations.erase(found);
  return cuda::kSuccess;
}

bool is_registered(const World& world, const Context* context, const void* address, std::size_t bytes) {
  auto at = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t end = at + bytes;
  while (at < end) {
    const auto* const holder = holder_of(world.registrations, at);
    if (holder == nullptr || holder->first + holder->second.bytes <= at) return false;
    const bool portable = (holder->second.flags & cuda::kHostRegisterPortable) != 0;
    if (!portable && holder->second.context != context) return false;
    at = holder->first + holder->second.bytes;
  }
  return true;
}

Place place_of(const World& world, const Context* context, cuda::CUdeviceptr address, std::size_t bytes) {
  const auto* const holder = holder_of(world.allocations, address);
  if (holder != nullptr && address < holder->first + whole_pages(holder->second->bytes)) {
    const std::shared_ptr<Allocation>& allocation = holder->second;
    const std::size_t offset = address - allocation->address;
    if (offset > allocation->bytes || bytes > allocation->bytes - offset) return {};
    return {Place::Kind::device, allocation->data + offset, allocation};
  }
  auto* const host = reinterpret_cast<std::byte*>(address);
  if (host == nullptr) return {};
  const bool registered = is_registered(world, context, host, bytes);
  return {registered ? Place::Kind::registered : Place::Kind::pageable, host, nullptr};
}

}  // namespace stillframe::fake_cuda
