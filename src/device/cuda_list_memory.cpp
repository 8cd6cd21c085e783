#include "device/cuda_list_memory.hpp"

#include <sys/mman.h>

#include <utility>

#include "base/log.hpp"

namespace stillframe::device::cuda {
namespace {

// Two registrations must not share a page.
constexpr std::size_t kPageBytes = 4096;

std::size_t whole_pages(std::size_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

void ListMemory::Unmap::operator()(void* memory) const noexcept { ::munmap(memory, bytes); }

Result<ListMemory> ListMemory::create(std::shared_ptr<Context> context, std::size_t bytes, const std::string& called) {
  bytes = whole_pages(bytes);
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Status(Code::no_space, "the host has no " + std::to_string(bytes) + " bytes left for " + called);
  }
  ListMemory made(std::move(context), HostMemory(memory, Unmap{bytes}));
  // A page that a forked child shares is copied at the next write, and the GPU would read on from the old one.
  if (::madvise(memory, bytes, MADV_DONTFORK) != 0) {
    return Status(Code::io_error, called + " could not be kept from forked children: MADV_DONTFORK was refused");
  }
  made.pin(bytes, called);
  CUdeviceptr pointer = 0;
  SF_TRY(made.context_->run({"allocating " + called + " on", made.context_->name()},
                            [&](const Calls& calls) { return calls.cuMemAlloc(&pointer, bytes); }));
  made.on_device_ = AllocationHandle(made.context_, pointer);
  return made;
}

void ListMemory::pin(std::size_t bytes, const std::string& called) {
  void* const address = host_.get();
  const Status pinned = context_->run({"pinning " + called + " for", context_->name()}, [&](const Calls& calls) {
    return calls.cuMemHostRegister(address, bytes, kHostRegisterPortable);
  });
  if (pinned.ok()) {
    pinned_ = RegistrationHandle(context_, address);
  } else {
    base::log(base::LogLevel::warn, "device.list_not_pinned", {{"bytes", bytes}, {"error", pinned.message()}});
  }
}

// A device that was given up may still read and write it.
ListMemory::~ListMemory() {
  if (context_ != nullptr && context_->given_up()) static_cast<void>(host_.release());
}

Status ListMemory::wait_transferred(const base::Deadline& deadline) {
  if (transferred_ != nullptr) SF_TRY(transferred_->wait(deadline));
  transferred_.reset();
  return {};
}

void ListMemory::set_transferred(std::shared_ptr<const Event> transferred) noexcept {
  transferred_ = std::move(transferred);
  unfollowed_ = false;
}

CUresult ListMemory::send(const Calls& calls, CUstream stream, std::size_t bytes) const {
  return calls.cuMemcpyHtoDAsync(on_device_.get(), host_.get(), bytes, stream);
}

CUresult ListMemory::fetch(const Calls& calls, CUstream stream, std::size_t bytes) const {
  return calls.cuMemcpyDtoHAsync(host_.get(), on_device_.get(), bytes, stream);
}

}  // namespace stillframe::device::cuda
