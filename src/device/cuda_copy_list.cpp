#include "device/cuda_copy_list.hpp"

#include <string>

#include "device/copy_entries.hpp"

namespace stillframe::device::cuda {

Result<std::unique_ptr<CopyList>> CudaCopyList::create(const std::shared_ptr<Context>& context,
                                                       std::shared_ptr<const Kernel> kernel, std::size_t most_copies) {
  SF_TRY(check_list_size(most_copies));
  SF_ASSIGN(ListMemory memory, ListMemory::create(context, most_copies * sizeof(gather::Entry), "a list of copies"));
  return std::unique_ptr<CopyList>(new CudaCopyList(std::move(memory), std::move(kernel), most_copies));
}

Status CudaCopyList::write(std::span<const DeviceCopy> copies, std::string_view where, const base::Deadline& deadline) {
  SF_TRY(memory_.wait_transferred(deadline));
  SF_TRY(list_copies(copies, std::span(entries(), most_copies_), where));
  listed_ = copies.size();
  return {};
}

CUresult CudaCopyList::send(const Calls& calls, CUstream stream) const {
  return memory_.send(calls, stream, listed_ * sizeof(gather::Entry));
}

std::uint64_t CudaCopyList::grains(std::size_t first, std::size_t count) const noexcept {
  return gather::total_grains(entries() + first, count);
}

CUresult CudaCopyList::launch(const Calls& calls, CUstream stream, std::size_t first, std::size_t count) const {
  const std::uint64_t tiles = (grains(first, count) + gather::kGrainsPerTile - 1) / gather::kGrainsPerTile;
  return kernel_->launch(calls, stream, memory_.on_device() + first * sizeof(gather::Entry), count, tiles);
}

Result<CudaCopyList*> as_cuda_list(CopyList& list, const Context& context, std::string_view where) {
  auto* const cuda_list = dynamic_cast<CudaCopyList*>(&list);
  if (cuda_list == nullptr || cuda_list->memory().context().get() != &context) {
    return Status(Code::invalid_argument, std::string(where) + " was given a list of copies of another device");
  }
  return cuda_list;
}

}  // namespace stillframe::device::cuda
