#include "persist/group_watch.hpp"

#include <algorithm>
#include <utility>

namespace stillframe::persist {
namespace {

constexpr std::uint64_t kIdleWaitMs = 1000;

bool same(const arena::RecordView& a, const arena::RecordView& b) noexcept {
  return a.snapshot_id == b.snapshot_id && a.state == b.state && a.flags == b.flags;
}

}  // namespace

Result<std::unique_ptr<GroupWatch>> GroupWatch::start(arena::DaemonSide side, std::function<void()> on_change) {
  std::unique_ptr<GroupWatch> watch(new GroupWatch(side, std::move(on_change)));
  SF_ASSIGN(watch->thread_, base::Thread::start("sf-group", [raw = watch.get()] { raw->run(); }));
  return watch;
}

GroupWatch::~GroupWatch() {
  stopping_ = true;
  side_.wake_self();
  thread_.join();
}

void GroupWatch::run() {
  on_change_();
  while (!stopping_) {
    const std::uint32_t seen = side_.signal();
    if (changed()) on_change_();
    side_.wait(seen, base::Deadline::after_ms(kIdleWaitMs));
  }
}

bool GroupWatch::changed() {
  std::vector<arena::RecordView> now = side_.records();
  if (std::equal(now.begin(), now.end(), seen_.begin(), seen_.end(), same)) return false;
  seen_ = std::move(now);
  return true;
}

}  // namespace stillframe::persist
