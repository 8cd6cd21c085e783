#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <utility>
#include <variant>
#include <vector>

#include "base/thread.hpp"
#include "device/copy_entries.hpp"
#include "device/device.hpp"

namespace stillframe::device {
namespace {

constexpr std::size_t kMaxQueuedOperations = 256;
// Events and waits have no deadline of their own, so they may go past a queue that copies have filled, up to this.
constexpr std::size_t kMaxQueuedWithMarkers = 1024;
// A far deadline, added to the time of day by the condition variable, must not overflow.
constexpr std::chrono::nanoseconds kLongestSingleWait = std::chrono::hours(1);

// True when `condition` came true in time. `lock` is held on entry and on return.
template <typename Condition>
bool wait_until(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, const base::Deadline& deadline,
                Condition condition) {
  while (!condition()) {
    const std::chrono::nanoseconds left = deadline.remaining();
    if (left.count() == 0) return false;
    changed.wait_for(lock, std::min(left, kLongestSingleWait));
  }
  return true;
}

class HostEvent final : public Event {
 public:
  [[nodiscard]] bool reached() const noexcept override { return reached_.load(std::memory_order_acquire); }

  [[nodiscard]] Status wait(const base::Deadline& deadline) const override {
    std::unique_lock lock(mutex_);
    if (wait_until(changed_, lock, deadline, [this] { return reached(); })) return {};
    return {Code::deadline, "the copies before this event on a host stream are not done in the time given; they go on"};
  }

  // Needs no deadline: an event is handed out only after the work before it was given, so the waits between streams
  // form no circle, and copies between ranges of memory end.
  void wait_in_stream() const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return reached(); });
  }

  void reach() {
    {
      const std::lock_guard lock(mutex_);
      reached_.store(true, std::memory_order_release);
    }
    changed_.notify_all();
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::atomic<bool> reached_{false};
};

// The event as the host device's, or invalid_argument.
Result<std::shared_ptr<HostEvent>> as_host_event(const std::shared_ptr<Event>& event, const std::string& who) {
  auto host_event = std::dynamic_pointer_cast<HostEvent>(event);
  if (host_event == nullptr) {
    return Status(Code::invalid_argument, who + " was told to wait for an event that is not the host device's");
  }
  return host_event;
}

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
};
// A list as it was when it was performed.
struct ListedCopies {
  std::shared_ptr<const std::vector<gather::Entry>> entries;
  std::size_t first;
  std::size_t count;
};
struct TakenFingerprints {
  std::shared_ptr<std::vector<fingerprint::Entry>> entries;
};
struct ReachEvent {
  std::shared_ptr<HostEvent> event;
};
struct WaitForEvent {
  std::shared_ptr<HostEvent> event;
};
using Operation = std::variant<Copy, ListedCopies, TakenFingerprints, ReachEvent, WaitForEvent>;

struct Perform {
  void operator()(const Copy& copy) const { std::memcpy(copy.to, copy.from, copy.bytes); }
  void operator()(const ListedCopies& part) const { gather::copy_all(part.entries->data() + part.first, part.count); }
  void operator()(const TakenFingerprints& taken) const {
    fingerprint::sum_all(taken.entries->data(), taken.entries->size());
  }
  void operator()(const ReachEvent& mark) const { mark.event->reach(); }
  void operator()(const WaitForEvent& wait) const { wait.event->wait_in_stream(); }
};

class HostCopyList final : public CopyList {
 public:
  explicit HostCopyList(std::size_t most_copies) : most_copies_(most_copies) {}
  [[nodiscard]] std::size_t most_copies() const noexcept override { return most_copies_; }

  [[nodiscard]] Status write(std::span<const DeviceCopy> copies, const std::string& where) {
    auto entries = std::make_shared<std::vector<gather::Entry>>(most_copies_);
    SF_TRY(list_copies(copies, *entries, where));
    entries->resize(copies.size());
    entries_ = std::move(entries);
    return {};
  }
  [[nodiscard]] const std::shared_ptr<const std::vector<gather::Entry>>& entries() const noexcept { return entries_; }

 private:
  const std::size_t most_copies_;
  std::shared_ptr<const std::vector<gather::Entry>> entries_ = std::make_shared<std::vector<gather::Entry>>();
};

class HostFingerprints final : public Fingerprints {
 public:
  explicit HostFingerprints(std::size_t most_ranges) : most_ranges_(most_ranges) {}
  [[nodiscard]] std::size_t most_ranges() const noexcept override { return most_ranges_; }
  [[nodiscard]] std::uint64_t value(std::size_t index) const noexcept override { return (*entries_)[index].sum; }

  [[nodiscard]] Status write(std::span<const DeviceRange> ranges, const std::string& where) {
    auto entries = std::make_shared<std::vector<fingerprint::Entry>>(most_ranges_);
    SF_TRY(list_ranges(ranges, *entries, where));
    entries->resize(ranges.size());
    entries_ = std::move(entries);
    return {};
  }
  [[nodiscard]] const std::shared_ptr<std::vector<fingerprint::Entry>>& entries() const noexcept { return entries_; }

 private:
  const std::size_t most_ranges_;
  std::shared_ptr<std::vector<fingerprint::Entry>> entries_ = std::make_shared<std::vector<fingerprint::Entry>>();
};

// The fingerprints as the host device's, or invalid_argument.
Result<HostFingerprints*> as_host_fingerprints(Fingerprints& prints, const std::string& who) {
  auto* const host_prints = dynamic_cast<HostFingerprints*>(&prints);
  if (host_prints == nullptr) {
    return Status(Code::invalid_argument, who + " was given fingerprints that are not the host device's");
  }
  return host_prints;
}

// The list as the host device's, or invalid_argument.
Result<HostCopyList*> as_host_list(CopyList& list, const std::string& who) {
  auto* const host_list = dynamic_cast<HostCopyList*>(&list);
  if (host_list == nullptr) {
    return Status(Code::invalid_argument, who + " was given a list of copies that is not the host device's");
  }
  return host_list;
}

class HostStream final : public Stream {
 public:
  explicit HostStream(std::string name) : name_(std::move(name)) {}
  HostStream(const HostStream&) = delete;
  HostStream& operator=(const HostStream&) = delete;

  ~HostStream() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    has_work_.notify_one();
    thread_.join();
  }

  [[nodiscard]] Status start() {
    SF_ASSIGN(thread_, base::Thread::start(name_, [this] { run(); }));
    return {};
  }

  [[nodiscard]] Status copy_to_host(std::span<std::byte> to, const void* from,
                                    const base::Deadline& deadline) override {
    return push_copy(Copy{to.data(), from, to.size()}, deadline);
  }

  [[nodiscard]] Status copy_to_host(std::span<const HostCopy> copies, const base::Deadline& deadline) override {
    if (std::any_of(copies.begin(), copies.end(), [](const HostCopy& copy) {
          return !copy.to.empty() && (copy.to.data() == nullptr || copy.from == nullptr);
        })) {
      return null_address();
    }
    for (const HostCopy& copy : copies) SF_TRY(copy_to_host(copy.to, copy.from, deadline));
    return {};
  }

  [[nodiscard]] Status copy_to_device(void* to, std::span<const std::byte> from,
                                      const base::Deadline& deadline) override {
    return push_copy(Copy{to, from.data(), from.size()}, deadline);
  }

  [[nodiscard]] Status copy_on_device(void* to, const void* from, std::size_t bytes,
                                      const base::Deadline& deadline) override {
    return push_copy(Copy{to, from, bytes}, deadline);
  }

  [[nodiscard]] Status write_list(CopyList& list, std::span<const DeviceCopy> copies,
                                  const base::Deadline& /*deadline*/) override {
    SF_ASSIGN(HostCopyList* const host_list, as_host_list(list, "stream '" + name_ + "'"));
    return host_list->write(copies, "stream '" + name_ + "'");
  }

  [[nodiscard]] Status perform(CopyList& list, std::size_t first, std::size_t count,
                               const base::Deadline& deadline) override {
    SF_ASSIGN(HostCopyList* const host_list, as_host_list(list, "stream '" + name_ + "'"));
    SF_TRY(check_part(first, count, host_list->entries()->size(), "stream '" + name_ + "'"));
    return push(ListedCopies{host_list->entries(), first, count}, deadline);
  }

  [[nodiscard]] Status take_fingerprints(Fingerprints& prints, std::span<const DeviceRange> ranges,
                                         const base::Deadline& deadline) override {
    SF_ASSIGN(HostFingerprints* const host_prints, as_host_fingerprints(prints, "stream '" + name_ + "'"));
    SF_TRY(host_prints->write(ranges, "stream '" + name_ + "'"));
    return push(TakenFingerprints{host_prints->entries()}, deadline);
  }

  // They are taken where they are read.
  [[nodiscard]] Status fetch_fingerprints(Fingerprints& prints, const base::Deadline& /*deadline*/) override {
    return as_host_fingerprints(prints, "stream '" + name_ + "'").status();
  }

  [[nodiscard]] Result<std::shared_ptr<Event>> record() override {
    auto event = std::make_shared<HostEvent>();
    SF_TRY(push_marker(ReachEvent{event}));
    return std::shared_ptr<Event>(std::move(event));
  }

  [[nodiscard]] Status wait(std::shared_ptr<Event> event) override {
    SF_ASSIGN(std::shared_ptr<HostEvent> host_event, as_host_event(event, "stream '" + name_ + "'"));
    if (host_event->reached()) return {};
    return push_marker(WaitForEvent{std::move(host_event)});
  }

 private:
  Status push_copy(const Copy& copy, const base::Deadline& deadline) {
    if (copy.bytes == 0) return {};
    if (copy.to == nullptr || copy.from == nullptr) return null_address();
    return push(copy, deadline);
  }

  Status push(Operation operation, const base::Deadline& deadline) {
    {
      std::unique_lock lock(mutex_);
      if (!wait_until(has_room_, lock, deadline, [this] { return queue_.size() < kMaxQueuedOperations; })) {
        return queue_is_full(kMaxQueuedOperations);
      }
      queue_.push_back(std::move(operation));
    }
    has_work_.notify_one();
    return {};
  }

  Status push_marker(Operation operation) {
    {
      const std::lock_guard lock(mutex_);
      if (queue_.size() >= kMaxQueuedWithMarkers) return queue_is_full(kMaxQueuedWithMarkers);
      queue_.push_back(std::move(operation));
    }
    has_work_.notify_one();
    return {};
  }

  [[nodiscard]] Status null_address() const {
    return {Code::invalid_argument, "stream '" + name_ + "' was given a copy with a null address; nothing was queued"};
  }

  [[nodiscard]] Status queue_is_full(std::size_t limit) const {
    return {Code::deadline, "stream '" + name_ + "' still has " + std::to_string(limit) +
                                " operations queued; this one was not queued, those before it go on"};
  }

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      has_work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const Operation operation = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      has_room_.notify_one();
      std::visit(Perform{}, operation);
      lock.lock();
    }
  }

  const std::string name_;
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::condition_variable has_room_;
  std::deque<Operation> queue_;
  bool stopping_ = false;
  base::Thread thread_;
};

// The caller is the stream: what it did so far is done.
class HostTrainingStream final : public TrainingStream {
 public:
  [[nodiscard]] Result<bool> capturing() const override { return false; }

  [[nodiscard]] Result<std::shared_ptr<Event>> record() override {
    auto event = std::make_shared<HostEvent>();
    event->reach();
    return std::shared_ptr<Event>(std::move(event));
  }

  [[nodiscard]] Status wait(const std::shared_ptr<Event>& event, const base::Deadline& deadline) override {
    SF_ASSIGN(const std::shared_ptr<HostEvent> host_event, as_host_event(event, "the training stream of the host"));
    return host_event->wait(deadline);
  }
};

class HostMemory final : public DeviceMemory {
 public:
  HostMemory(std::unique_ptr<std::byte[]> memory, std::size_t bytes) : memory_(std::move(memory)), bytes_(bytes) {}
  [[nodiscard]] void* data() const noexcept override { return memory_.get(); }
  [[nodiscard]] std::size_t bytes() const noexcept override { return bytes_; }

 private:
  const std::unique_ptr<std::byte[]> memory_;
  const std::size_t bytes_;
};

class HostPinnedMemory final : public PinnedMemory {};

class HostDevice final : public Device {
 public:
  [[nodiscard]] std::string name() const override { return "host"; }

  [[nodiscard]] Result<std::unique_ptr<Stream>> create_stream(const std::string& stream_name) override {
    auto stream = std::make_unique<HostStream>(stream_name);
    SF_TRY(stream->start().with_context("starting the copy thread of stream '" + stream_name + "'"));
    return std::unique_ptr<Stream>(std::move(stream));
  }

  [[nodiscard]] Result<std::unique_ptr<TrainingStream>> training_stream(std::uintptr_t handle) override {
    if (handle != 0) {
      return Status(Code::invalid_argument, "the host device has one training stream, the caller, with handle 0; got " +
                                                std::to_string(handle));
    }
    return std::unique_ptr<TrainingStream>(std::make_unique<HostTrainingStream>());
  }

  [[nodiscard]] Result<std::unique_ptr<PinnedMemory>> pin(std::span<std::byte> /*range*/) override {
    return std::unique_ptr<PinnedMemory>(std::make_unique<HostPinnedMemory>());
  }

  [[nodiscard]] Result<std::unique_ptr<DeviceMemory>> allocate(std::size_t bytes) override {
    if (bytes == 0) return Status(Code::invalid_argument, "0 bytes of device memory were asked for");
    std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[bytes]);
    if (memory == nullptr) {
      return Status(Code::no_space, "the host has no " + std::to_string(bytes) + " bytes of memory left");
    }
    return std::unique_ptr<DeviceMemory>(std::make_unique<HostMemory>(std::move(memory), bytes));
  }

  [[nodiscard]] Result<std::unique_ptr<CopyList>> make_copy_list(std::size_t most_copies) override {
    SF_TRY(check_list_size(most_copies));
    return std::unique_ptr<CopyList>(std::make_unique<HostCopyList>(most_copies));
  }

  [[nodiscard]] Result<std::unique_ptr<Fingerprints>> make_fingerprints(std::size_t most_ranges) override {
    SF_TRY(check_list_size(most_ranges));
    return std::unique_ptr<Fingerprints>(std::make_unique<HostFingerprints>(most_ranges));
  }
};

}  // namespace

std::unique_ptr<Device> make_host_device() { return std::make_unique<HostDevice>(); }

}  // namespace stillframe::device
