// What a dead trainer left in memory, for its successor to restore from, and how long it stays.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "arena/daemon_side.hpp"
#include "base/unique_fd.hpp"
#include "persist/persister.hpp"

namespace stillframe::daemon {

// The memory of a dead trainer is wanted while a client reads it, and for a time after all of it is durable. Pure; times are
// of the monotonic clock.
class HotStay {
 public:
  // No effect after end(). `only_copy`: the store does not have it.
  void rest_until(std::int64_t ns, bool only_copy) noexcept {
    rest_until_ns_ = ended_ ? 0 : ns;
    only_copy_ = only_copy;
  }
  // `reader` tells one hold from another, and is not looked into.
  void hold_until(const void* reader, std::int64_t ns) { hold_until_ns_[reader] = ns; }
  void let_go(const void* reader) noexcept { hold_until_ns_.erase(reader); }
  // Nobody will ask for it any more.
  void end() noexcept {
    ended_ = true;
    rest_until_ns_ = 0;
    hold_until_ns_.clear();
  }
  [[nodiscard]] bool is_resting() const noexcept { return rest_until_ns_ != 0; }
  // Resting, and lost for good when it goes.
  [[nodiscard]] bool holds_only_copy() const noexcept { return is_resting() && only_copy_; }
  // Resting, and in the store as well. Neither before it rests: until then nobody knows.
  [[nodiscard]] bool holds_stored_copy() const noexcept { return is_resting() && !only_copy_; }
  [[nodiscard]] bool is_held(std::int64_t now_ns) const noexcept {
    return std::ranges::any_of(hold_until_ns_, [now_ns](const auto& hold) { return now_ns < hold.second; });
  }
  [[nodiscard]] bool is_wanted(std::int64_t now_ns) const noexcept { return now_ns < rest_until_ns_ || is_held(now_ns); }

 private:
  std::int64_t rest_until_ns_ = 0;
  std::map<const void*, std::int64_t> hold_until_ns_;  // by reader
  bool only_copy_ = false;
  bool ended_ = false;
};

// The newest captured snapshot that is whole in memory, when nothing newer is in the store or on its way there. `is_whole` is
// asked for one at a time. Pure.
[[nodiscard]] std::optional<arena::RecordView> choose_hot(const std::vector<arena::RecordView>& oldest_first,
                                                          const std::function<bool(const arena::RecordView&)>& is_whole);

// What the memory of a dead trainer has for its successor.
enum class Leavings { nothing, copy_of_stored, only_copy };
[[nodiscard]] Leavings leavings_of(const arena::Arena& arena);

struct HotOffer {
  arena::RecordView view;
  std::string name;       // of its checkpoint; empty: not durable yet
  base::UniqueFd memory;  // for reading only
};
// Of a dead trainer's arena. What has no hash yet gets one, before the deadline or not at all.
[[nodiscard]] Result<std::optional<HotOffer>> offer_hot_image(const arena::Arena& arena, const persist::Persister& persister,
                                                              const base::Deadline& deadline);

}  // namespace stillframe::daemon
