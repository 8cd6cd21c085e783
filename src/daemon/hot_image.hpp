// What a dead trainer left in memory, for its successor to restore from, and how long it stays.
#pragma once

#include <cstdint>
#include <functional>
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
  // No effect after end().
  void rest_until(std::int64_t ns) noexcept { rest_until_ns_ = ended_ ? 0 : ns; }
  void hold_until(std::int64_t ns) noexcept { hold_until_ns_ = ns; }
  void let_go() noexcept { hold_until_ns_ = 0; }
  // Nobody will ask for it any more.
  void end() noexcept {
    ended_ = true;
    rest_until_ns_ = hold_until_ns_ = 0;
  }
  [[nodiscard]] bool is_resting() const noexcept { return rest_until_ns_ != 0; }
  [[nodiscard]] bool is_held(std::int64_t now_ns) const noexcept { return now_ns < hold_until_ns_; }
  [[nodiscard]] bool is_wanted(std::int64_t now_ns) const noexcept { return now_ns < rest_until_ns_ || is_held(now_ns); }

 private:
  std::int64_t rest_until_ns_ = 0;
  std::int64_t hold_until_ns_ = 0;
  bool ended_ = false;
};

// The newest captured snapshot that is whole in memory, when nothing newer is in the store or on its way there. `is_whole` is
// asked for one at a time. Pure.
[[nodiscard]] std::optional<arena::RecordView> choose_hot(const std::vector<arena::RecordView>& oldest_first,
                                                          const std::function<bool(const arena::RecordView&)>& is_whole);

struct HotOffer {
  arena::RecordView view;
  std::string name;       // of its checkpoint; empty: not durable yet
  base::UniqueFd memory;  // for reading only
};
// Of a dead trainer's arena. What has no hash yet gets one.
[[nodiscard]] Result<std::optional<HotOffer>> offer_hot_image(const arena::Arena& arena, const persist::Persister& persister);

}  // namespace stillframe::daemon
