// After durable: re-read past the page cache, mark verified or bad, then retention. On its own thread, so that the next
// snapshot does not wait for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "arena/daemon_side.hpp"
#include "base/thread.hpp"
#include "persist/retention_task.hpp"
#include "retention/policy.hpp"
#include "store/store.hpp"

namespace stillframe::persist {

class GroupCommit;

// What the trainers have said of a published checkpoint: whether a tensor moved while it was copied.
enum class Word : std::uint8_t {
  early,    // a rank of the group has not yet taken note of the commit itself
  awaited,
  confirmed,
  withdrawn,
  never,    // who could have said so is dead
};

// One removal at a time in a run: shared by the ranks of a group.
struct RetentionTurn {
  std::mutex mutex;
  AwaitedSpace awaited_space;  // with mutex held
};

struct Verdict {
  arena::RecordView view;
  std::string name;
  enum class Kind { verified, bad, withdrawn, unchecked } kind = Kind::unchecked;
  std::string error;
};

// `group`: of the ranks that publish together, else null: then `on_verdict` hears once for all of them.
// `on_verdict` is called on the verifier's thread, once per item, also when the daemon stops (unchecked).
class Verifier {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Verifier>> start(arena::DaemonSide side, store::Store store, std::string run,
                                                               retention::Policy policy,
                                                               std::function<void(const Verdict&)> on_verdict,
                                                               std::shared_ptr<GroupCommit> group = nullptr);
  ~Verifier();
  Verifier(const Verifier&) = delete;
  Verifier& operator=(const Verifier&) = delete;

  // A published checkpoint. It is never marked verified before its trainer has confirmed that nothing moved while it was
  // copied; when the trainer dies first, it stays durable.
  void add(const arena::RecordView& view, const std::string& name);
  void trainer_died() noexcept;
  [[nodiscard]] bool idle() const;
  // The checkpoint is being re-read, or waits for it.
  [[nodiscard]] bool holds(const std::string& name) const;
  // persist::ensure_room for the run, never at once with the retention that follows a verification.
  [[nodiscard]] Status ensure_room(std::uint64_t needed_bytes, const std::function<void()>& make_way);
  // True when the only work left waits for a living trainer's confirmation.
  [[nodiscard]] bool only_unconfirmed() const;

 private:
  struct Item {
    arena::RecordView view;
    std::string name;
  };
  Verifier(arena::DaemonSide side, store::Store store, std::string run, retention::Policy policy,
           std::function<void(const Verdict&)> on_verdict, std::shared_ptr<GroupCommit> group);
  [[nodiscard]] Word word_of(const Item& item) const;
  void run();
  [[nodiscard]] bool step();
  [[nodiscard]] Verdict check(const Item& item);
  [[nodiscard]] Verdict mark_bad(const Item& item, Verdict::Kind kind, const std::string& reason);
  void apply_retention();

  const arena::DaemonSide side_;
  const store::Store store_;
  const std::string run_;
  const retention::Policy policy_;
  const std::function<void(const Verdict&)> on_verdict_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> trainer_dead_{false};
  mutable std::mutex mutex_;
  std::deque<Item> items_;
  bool busy_ = false;
  std::string in_hand_;          // the name that busy_ is about
  const std::shared_ptr<GroupCommit> group_;
  const std::shared_ptr<RetentionTurn> retention_turn_;
  base::Thread thread_;
};

}  // namespace stillframe::persist
