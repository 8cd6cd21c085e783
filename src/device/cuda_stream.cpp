#include "device/cuda_stream.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "device/copy_entries.hpp"
#include "device/cuda_copy_list.hpp"
#include "device/cuda_fingerprints.hpp"

namespace stillframe::device::cuda {
namespace {

CUdeviceptr address_of(const void* pointer) noexcept {
  return static_cast<CUdeviceptr>(reinterpret_cast<std::uintptr_t>(pointer));
}

bool has_null(const HostCopy& copy) noexcept {
  return !copy.to.empty() && (copy.to.data() == nullptr || copy.from == nullptr);
}

Status null_address(const std::string& where) {
  return {Code::invalid_argument, where + " was given a copy with a null address; nothing was queued"};
}

Status queue_is_full(const std::string& where) {
  return {Code::deadline, where + " still has " + std::to_string(UnderWay::kMostCopies) +
                              " copies under way; this one was not queued, those before it go on"};
}

}  // namespace

void UnderWay::add(std::size_t copies) noexcept {
  copies_ += copies;
  without_event_ += copies;
}

void UnderWay::mark(std::shared_ptr<const CudaEvent> event) {
  if (without_event_ > 0) marks_.push_back({std::move(event), std::exchange(without_event_, 0)});
}

void UnderWay::retire() {
  while (!marks_.empty() && marks_.front().event->reached()) {
    copies_ -= marks_.front().copies;
    marks_.pop_front();
  }
}

Result<std::unique_ptr<Stream>> CudaStream::create(std::shared_ptr<Context> context, const std::string& name,
                                                   std::uint64_t drain_deadline_ms) {
  auto where = std::make_shared<const std::string>("stream '" + name + "' of " + context->name());
  CUstream stream = nullptr;
  SF_TRY(context->run({"creating", *where},
                      [&stream](const Calls& calls) { return calls.cuStreamCreate(&stream, kStreamNonBlocking); }));
  StreamHandle handle(context, stream);
  return std::unique_ptr<Stream>(
      new CudaStream(std::move(context), std::move(handle), std::move(where), drain_deadline_ms));
}

CudaStream::CudaStream(std::shared_ptr<Context> context, StreamHandle handle, std::shared_ptr<const std::string> where,
                       std::uint64_t drain_deadline_ms)
    : context_(std::move(context)),
      handle_(std::move(handle)),
      where_(std::move(where)),
      drain_deadline_ms_(drain_deadline_ms),
      takes_batches_(context_->calls().cuMemcpyBatchAsync != nullptr) {}

CudaStream::~CudaStream() {
  Status drained = drain();
  // An error may be of the moment; what is still under way must not be taken for done because of it.
  if (!drained.ok() && drained.code() != Code::deadline && !context_->lost()) drained = drain();
  if (drained.ok() || context_->lost()) return;
  context_->give_up();
  base::log(base::LogLevel::error, "device.stream.abandoned",
            {{"stream", *where_},
             {"deadline_ms", drain_deadline_ms_},
             {"error", drained.message()},
             {"action", "memory that its copies write to must stay until the process ends"}});
}

Status CudaStream::drain() {
  SF_ASSIGN(const std::shared_ptr<Event> last, record());
  return last->wait(base::Deadline::after_ms(drain_deadline_ms_));
}

template <typename Give>
Status CudaStream::when_room(std::size_t copies, const base::Deadline& deadline, const Give& give) {
  base::GrowingPause between;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      SF_TRY(make_room(copies));
      if (under_way_.has_room(copies)) {
        under_way_.add(copies);
        SF_TRY(give());
        return under_way_.wants_event() ? record_event().status() : Status();
      }
    }
    if (deadline.expired()) return queue_is_full(*where_);
    between.pause(deadline);
  }
}

Status CudaStream::make_room(std::size_t copies) {
  SF_TRY(context_->usable({"copying on", *where_}));
  if (under_way_.has_room(copies)) return {};
  under_way_.retire();
  return under_way_.has_room(copies) ? Status() : record_event().status();
}

Status CudaStream::copy_to_host(std::span<std::byte> to, const void* from, const base::Deadline& deadline) {
  const HostCopy copy{to, from};
  return copy_to_host(std::span(&copy, 1), deadline);
}

Status CudaStream::copy_to_host(std::span<const HostCopy> copies, const base::Deadline& deadline) {
  if (std::any_of(copies.begin(), copies.end(), has_null)) return null_address(*where_);
  while (!copies.empty()) {
    const auto next = copies.first(std::min(copies.size(), kMostCopiesPerCall));
    SF_TRY(when_room(next.size(), deadline, [this, next] { return give_all(next); }));
    copies = copies.subspan(next.size());
  }
  return {};
}

Status CudaStream::give_all(std::span<const HostCopy> copies) {
  const Doing doing{"copying to the host on", *where_};
  if (takes_batches_ && copies.size() > 1) {
    const CUresult result = give_batch(copies);
    if (result == kSuccess || is_sticky(result)) return context_->check(result, doing);
    // One by one it works, or the one that is wrong is told. What the batch had already begun is copied twice.
    takes_batches_ = result != kErrorNotSupported;
  }
  for (const HostCopy& copy : copies) {
    if (copy.to.empty()) continue;
    SF_TRY(context_->run(doing, [this, &copy](const Calls& calls) {
      return calls.cuMemcpyDtoHAsync(copy.to.data(), address_of(copy.from), copy.to.size(), handle_.get());
    }));
  }
  return {};
}

CUresult CudaStream::give_batch(std::span<const HostCopy> copies) {
  std::size_t count = 0;
  for (const HostCopy& copy : copies) {
    if (copy.to.empty()) continue;
    batch_.to[count] = address_of(copy.to.data());
    batch_.from[count] = address_of(copy.from);
    batch_.bytes[count] = copy.to.size();
    ++count;
  }
  if (count == 0) return kSuccess;
  MemcpyAttributes in_stream_order{kSourceOrderStream, {}, {}, 0};
  std::size_t first_copy = 0;
  std::size_t failed = 0;
  return context_->visit([&](const Calls& calls) {
    return calls.cuMemcpyBatchAsync(batch_.to.data(), batch_.from.data(), batch_.bytes.data(), count, &in_stream_order,
                                    &first_copy, 1, &failed, handle_.get());
  });
}

Status CudaStream::copy_to_device(void* to, std::span<const std::byte> from, const base::Deadline& deadline) {
  if (from.empty()) return {};
  if (to == nullptr || from.data() == nullptr) return null_address(*where_);
  return when_room(1, deadline, [this, to, from] {
    return context_->run({"copying to the device on", *where_}, [this, to, from](const Calls& calls) {
      return calls.cuMemcpyHtoDAsync(address_of(to), from.data(), from.size(), handle_.get());
    });
  });
}

Status CudaStream::copy_on_device(void* to, const void* from, std::size_t bytes, const base::Deadline& deadline) {
  if (bytes == 0) return {};
  if (to == nullptr || from == nullptr) return null_address(*where_);
  return when_room(1, deadline, [this, to, from, bytes] {
    return context_->run({"copying on", *where_}, [this, to, from, bytes](const Calls& calls) {
      return calls.cuMemcpyDtoDAsync(address_of(to), address_of(from), bytes, handle_.get());
    });
  });
}

template <typename Call>
Status CudaStream::transfer(ListMemory& memory, std::string_view what, const base::Deadline& deadline,
                            const Call& call) {
  SF_TRY(when_room(1, deadline, [&] {
    memory.set_unfollowed();
    return context_->run({what, *where_}, call);
  }));
  return follow(memory);
}

Status CudaStream::follow(ListMemory& memory) {
  const std::lock_guard lock(mutex_);
  SF_ASSIGN(std::shared_ptr<CudaEvent> behind, record_event());
  memory.set_transferred(std::move(behind));
  return {};
}

Status CudaStream::write_list(CopyList& list, std::span<const DeviceCopy> copies, const base::Deadline& deadline) {
  SF_ASSIGN(CudaCopyList* const cuda_list, as_cuda_list(list, *context_, *where_));
  if (cuda_list->memory().is_unfollowed()) SF_TRY(follow(cuda_list->memory()));
  SF_TRY(cuda_list->write(copies, *where_, deadline));
  if (copies.empty()) return {};
  return transfer(cuda_list->memory(), "sending a list of copies on", deadline,
                  [&](const Calls& calls) { return cuda_list->send(calls, handle_.get()); });
}

Status CudaStream::perform(CopyList& list, std::size_t first, std::size_t count, const base::Deadline& deadline) {
  SF_ASSIGN(const CudaCopyList* const cuda_list, as_cuda_list(list, *context_, *where_));
  SF_TRY(check_part(first, count, cuda_list->listed(), *where_));
  if (cuda_list->grains(first, count) == 0) return {};
  return when_room(1, deadline, [&] {
    return context_->run({"launching the gather kernel on", *where_},
                         [&](const Calls& calls) { return cuda_list->launch(calls, handle_.get(), first, count); });
  });
}

Status CudaStream::take_fingerprints(Fingerprints& prints, std::span<const DeviceRange> ranges,
                                     const base::Deadline& deadline) {
  SF_ASSIGN(CudaFingerprints* const taken, as_cuda_fingerprints(prints, *context_, *where_));
  if (taken->memory().is_unfollowed()) SF_TRY(follow(taken->memory()));
  SF_TRY(taken->write(ranges, *where_, deadline));
  if (ranges.empty()) return {};
  SF_TRY(transfer(taken->memory(), "sending a list of fingerprints on", deadline,
                  [&](const Calls& calls) { return taken->send(calls, handle_.get()); }));
  return when_room(1, deadline, [&] {
    return context_->run({"launching the fingerprint kernel on", *where_},
                         [&](const Calls& calls) { return taken->launch(calls, handle_.get()); });
  });
}

Status CudaStream::fetch_fingerprints(Fingerprints& prints, const base::Deadline& deadline) {
  SF_ASSIGN(CudaFingerprints* const taken, as_cuda_fingerprints(prints, *context_, *where_));
  if (taken->listed() == 0) return {};
  return transfer(taken->memory(), "fetching fingerprints on", deadline,
                  [&](const Calls& calls) { return taken->fetch(calls, handle_.get()); });
}

Result<std::shared_ptr<CudaEvent>> CudaStream::record_event() {
  SF_ASSIGN(std::shared_ptr<CudaEvent> event, CudaEvent::record(context_, handle_.get(), where_));
  under_way_.mark(event);
  under_way_.retire();
  return event;
}

Result<std::shared_ptr<Event>> CudaStream::record() {
  const std::lock_guard lock(mutex_);
  SF_ASSIGN(std::shared_ptr<CudaEvent> event, record_event());
  return std::shared_ptr<Event>(std::move(event));
}

Status CudaStream::wait(std::shared_ptr<Event> event) {
  SF_ASSIGN(const std::shared_ptr<const CudaEvent> before, as_cuda_event(event, *where_));
  return before->hold_back(*context_, handle_.get(), *where_);
}

}  // namespace stillframe::device::cuda
