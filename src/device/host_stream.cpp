#include "device/host_stream.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>
#include <variant>
#include <vector>

#include "base/thread.hpp"
#include "device/copy_run.hpp"
#include "device/host_event.hpp"
#include "device/host_lists.hpp"

namespace stillframe::device {
namespace {

constexpr std::size_t kMaxQueuedOperations = 256;
// Events and waits have no deadline of their own, so they may go past a queue that copies have filled, up to this.
constexpr std::size_t kMaxQueuedWithMarkers = 1024;
// Of the copies given at once, so many are one operation: the bound of the queue is then one of its memory.
constexpr std::size_t kMostCopiesOfAnOperation = 1024;
// So many chunks and the events behind them keep helpers busy, whom the end of each run lets go.
constexpr std::size_t kMostOperationsOfARun = 32;

struct Copies {
  std::vector<HostCopy> all;  // none of nothing; in any order among themselves
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
using Operation = std::variant<Copies, ListedCopies, TakenFingerprints, ReachEvent, WaitForEvent>;

// Those that are done by the stream's thread alone, with nothing beside them.
void perform_alone(const Operation& operation) {
  if (const auto* part = std::get_if<ListedCopies>(&operation)) {
    gather::copy_all(part->entries->data() + part->first, part->count);
  } else if (const auto* taken = std::get_if<TakenFingerprints>(&operation)) {
    fingerprint::sum_all(taken->entries->data(), taken->entries->size());
  } else if (const auto* wait = std::get_if<WaitForEvent>(&operation)) {
    wait->event->wait_in_stream();
  }
}

class HostStream final : public Stream {
 public:
  HostStream(std::string name, std::shared_ptr<CopyCrew> crew) : name_(std::move(name)), crew_(std::move(crew)) {}
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
    return push_copy({to, from}, deadline);
  }

  [[nodiscard]] Status copy_to_host(std::span<const HostCopy> copies, const base::Deadline& deadline) override {
    if (std::ranges::any_of(copies, has_null)) return null_address();
    while (!copies.empty()) {
      const auto part = copies.first(std::min(copies.size(), kMostCopiesOfAnOperation));
      Copies given;
      given.all.reserve(part.size());
      std::ranges::copy_if(part, std::back_inserter(given.all), [](const HostCopy& copy) { return !copy.to.empty(); });
      if (!given.all.empty()) SF_TRY(push(std::move(given), deadline));
      copies = copies.subspan(part.size());
    }
    return {};
  }

  [[nodiscard]] Status copy_to_device(void* to, std::span<const std::byte> from,
                                      const base::Deadline& deadline) override {
    return push_copy({std::span(static_cast<std::byte*>(to), from.size()), from.data()}, deadline);
  }

  [[nodiscard]] Status copy_on_device(void* to, const void* from, std::size_t bytes,
                                      const base::Deadline& deadline) override {
    return push_copy({std::span(static_cast<std::byte*>(to), bytes), from}, deadline);
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
  struct Mark {
    std::size_t copies;  // of the run, that come before it
    std::shared_ptr<HostEvent> event;
  };

  [[nodiscard]] static bool has_null(const HostCopy& copy) noexcept {
    return !copy.to.empty() && (copy.to.data() == nullptr || copy.from == nullptr);
  }

  Status push_copy(const HostCopy& copy, const base::Deadline& deadline) {
    if (copy.to.empty()) return {};
    if (has_null(copy)) return null_address();
    return push(Copies{{copy}}, deadline);
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
      if (!take_run()) {
        const Operation operation = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        has_room_.notify_one();
        perform_alone(operation);
      } else {
        lock.unlock();
        has_room_.notify_all();
        perform_run();
      }
      lock.lock();
    }
  }

  // Copies and events from the front of the queue that may be done together; false when another operation stands there.
  // Without helpers, one at a time.
  bool take_run() {
    const std::size_t most = crew_->threads() == 1 ? 1 : kMostOperationsOfARun;
    run_.clear();
    marks_.clear();
    std::size_t taken = 0;
    for (; taken < most && !queue_.empty(); ++taken, queue_.pop_front()) {
      if (const auto* copies = std::get_if<Copies>(&queue_.front())) {
        if (!run_.add(copies->all)) break;
      } else if (auto* mark = std::get_if<ReachEvent>(&queue_.front())) {
        marks_.push_back({run_.copies().size(), std::move(mark->event)});
      } else {
        break;
      }
    }
    return taken != 0;
  }

  void perform_run() {
    auto mark = marks_.cbegin();
    const auto reach = [this, &mark](std::size_t copies) {
      for (; mark != marks_.cend() && mark->copies <= copies; ++mark) mark->event->reach();
    };
    reach(0);
    crew_->copy(run_.copies(), reach);
    marks_.clear();
  }

  const std::string name_;
  const std::shared_ptr<CopyCrew> crew_;
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::condition_variable has_room_;
  std::deque<Operation> queue_;
  bool stopping_ = false;
  CopyRun run_;  // of the thread, as marks_; kept for their memory
  std::vector<Mark> marks_;
  base::Thread thread_;
};

}  // namespace

Result<std::unique_ptr<Stream>> start_host_stream(const std::string& name, std::shared_ptr<CopyCrew> crew) {
  auto stream = std::make_unique<HostStream>(name, std::move(crew));
  SF_TRY(stream->start().with_context("starting the copy thread of stream '" + name + "'"));
  return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace stillframe::device
