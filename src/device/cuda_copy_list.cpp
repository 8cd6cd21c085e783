#include "device/cuda_copy_list.hpp"

#include <sys/mman.h>

#include <string>
#include <utility>

#include "base/log.hpp"
#include "device/copy_entries.hpp"

namespace stillframe::device::cuda {
namespace {

// Two registrations must not share a page.
constexpr std::size_t kPageBytes = 4096;

std::size_t whole_pages(std::size_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

void UnmapEntries::operator()(gather::Entry* entries) const noexcept { ::munmap(entries, bytes); }

Result<std::unique_ptr<CopyList>> CudaCopyList::create(const std::shared_ptr<Context>& context,
                                                       std::shared_ptr<const GatherKernel> kernel,
                                                       std::size_t most_copies) {
  SF_TRY(check_list_size(most_copies));
  std::unique_ptr<CudaCopyList> list(new CudaCopyList(context, std::move(kernel), most_copies));
  SF_TRY(list->allocate());
  return std::unique_ptr<CopyList>(std::move(list));
}

Status CudaCopyList::allocate() {
  const std::size_t bytes = whole_pages(most_copies_ * sizeof(gather::Entry));
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return {Code::no_space, "the host has no " + std::to_string(bytes) + " bytes left for a list of copies"};
  }
  entries_ = HostEntries(static_cast<gather::Entry*>(memory), UnmapEntries{bytes});
  // A page that a forked child shares is copied at the next write, and the GPU would read on from the old one.
  if (::madvise(memory, bytes, MADV_DONTFORK) != 0) {
    return {Code::io_error, "a list of copies could not be kept from forked children: MADV_DONTFORK was refused"};
  }
  pin(bytes);
  CUdeviceptr pointer = 0;
  SF_TRY(context_->run({"allocating a list of copies on", context_->name()},
                       [&](const Calls& calls) { return calls.cuMemAlloc(&pointer, bytes); }));
  on_device_ = AllocationHandle(context_, pointer);
  return {};
}

void CudaCopyList::pin(std::size_t bytes) {
  void* const address = entries_.get();
  const Status pinned = context_->run({"pinning a list of copies for", context_->name()}, [&](const Calls& calls) {
    return calls.cuMemHostRegister(address, bytes, kHostRegisterPortable);
  });
  if (pinned.ok()) {
    pinned_ = RegistrationHandle(context_, address);
  } else {
    base::log(base::LogLevel::warn, "device.list_not_pinned", {{"bytes", bytes}, {"error", pinned.message()}});
  }
}

// A device that was given up may still read it, and would then copy from and to anywhere.
CudaCopyList::~CudaCopyList() {
  if (context_->given_up()) static_cast<void>(entries_.release());
}

Status CudaCopyList::write(std::span<const DeviceCopy> copies, std::string_view where, const base::Deadline& deadline) {
  if (sent_ != nullptr) SF_TRY(sent_->wait(deadline));
  sent_.reset();
  SF_TRY(list_copies(copies, std::span(entries_.get(), most_copies_), where));
  listed_ = copies.size();
  return {};
}

CUresult CudaCopyList::send(const Calls& calls, CUstream stream) const {
  return calls.cuMemcpyHtoDAsync(on_device_.get(), entries_.get(), listed_ * sizeof(gather::Entry), stream);
}

std::uint64_t CudaCopyList::grains(std::size_t first, std::size_t count) const noexcept {
  return gather::total_grains(entries_.get() + first, count);
}

CUresult CudaCopyList::launch(const Calls& calls, CUstream stream, std::size_t first, std::size_t count) const {
  return kernel_->launch(calls, stream, on_device_.get() + first * sizeof(gather::Entry), count, grains(first, count));
}

Result<CudaCopyList*> as_cuda_list(CopyList& list, const Context& context, std::string_view where) {
  auto* const cuda_list = dynamic_cast<CudaCopyList*>(&list);
  if (cuda_list == nullptr || cuda_list->context().get() != &context) {
    return Status(Code::invalid_argument, std::string(where) + " was given a list of copies of another device");
  }
  return cuda_list;
}

}  // namespace stillframe::device::cuda
