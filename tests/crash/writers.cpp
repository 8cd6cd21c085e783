// Two writers of two runs in one store, interleaved between any two calls of the other, also those that only look.
#include <functional>
#include <utility>

#include "crash/actor.hpp"
#include "crash/scenario.hpp"

namespace stillframe::test {
namespace {

constexpr std::string_view kOther = "other";

// The second writer does its steps whenever the first is between two calls and does not hold the store's lock, as drawn
// from the seed.
class SecondWriter {
 public:
  SecondWriter(FaultEnv& process, FaultEnv& bystander, Stage& stage)
      : process_(process), bystander_(bystander), actor_(process, stage.ledger), random_(stage.seed) {
    const ContentPtr content = stage.to_write.back();
    steps_ = {[this] { return actor_.open(); },
              [this] { return actor_.lock_run(std::string(kOther)); },
              [this] { return actor_.recover(); },
              [this, content] { return actor_.begin(content); },
              [this] { return recover_as_a_third(); },
              [this] { return actor_.write(); },
              [this] { return recover_as_a_third(); },
              [this] { return actor_.publish(); },
              [this] { return actor_.scrub(actor_.names().front()); },
              [this] { return pin_the_oldest(); },
              [this] { return actor_.recover(); },
              [this] { return actor_.prune("main", 1); }};
  }

  void perhaps_step() {
    constexpr std::size_t kStepPercent = 15;
    if (!working_ && random_.percent(kStepPercent) && !is_store_locked()) step();
  }
  void finish() {
    while (next_ < steps_.size() && !process_.is_dead() && failure_.ok()) step();
  }
  // The first error, unless it died.
  [[nodiscard]] Status failure() const { return process_.is_dead() ? Status() : failure_; }

 private:
  void step() {
    if (next_ == steps_.size() || process_.is_dead() || !failure_.ok()) return;
    working_ = true;
    failure_ = steps_[next_++]();
    working_ = false;
  }
  [[nodiscard]] bool is_store_locked() const {
    const std::string path = env::join(kStorePath, format::kStoreLockFile);
    return bystander_.try_lock(path, env::LockMode::shared).status().code() == Code::busy;
  }
  // Retention of the other may take it first.
  [[nodiscard]] Status pin_the_oldest() {
    const std::vector<std::string> names = actor_.names();
    if (names.empty()) return {};
    Status pinned = actor_.set_mark(names.back(), format::kPinnedMark);
    return pinned.code() == Code::not_found ? Status() : pinned;
  }
  // Somebody else starts while two write: their partial directories are left alone, or their next call fails.
  [[nodiscard]] Status recover_as_a_third() {
    SF_ASSIGN(const store::Store store, store::Store::open(bystander_, std::string(kStorePath)));
    return store::recover(store, {}).status();
  }

  FaultEnv& process_;
  FaultEnv& bystander_;
  Actor actor_;
  Random random_;
  std::vector<std::function<Status()>> steps_;
  std::size_t next_ = 0;
  bool working_ = false;
  Status failure_;
};

enum class Ends : std::uint8_t {
  one_dies,   // whoever makes the n-th change; the other lives on and finishes
  power_cut,  // both
};

class TwoWriters final : public Scenario {
 public:
  TwoWriters(std::string name, Ends ends) : name_(std::move(name)), ends_(ends) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] Stage prepare(std::uint64_t seed) const override {
    Stage stage = stage_with_history(seed, 2);
    Random random(seed + 2);
    stage.to_write.push_back(draw_content(random, std::string(kOther), 2000, shape_of(seed, 9)));
    return stage;
  }

  [[nodiscard]] Status work(Stage& stage, std::uint64_t n) const override {
    FaultEnv& first = *stage.process;
    const auto second = first.new_process();
    const auto bystander = first.new_process();
    SecondWriter writer(*second, *bystander, stage);
    const auto count = [&](FaultEnv& changing) {
      if (++stage.changes != n) return;
      changing.die();
      if (ends_ == Ends::one_dies) return;
      first.die();
      second->die();
    };
    second->before_change([&](EnvOp, const std::string&) { count(*second); });
    first.before_call([&](EnvOp, const std::string&) { writer.perhaps_step(); });
    first.before_change([&](EnvOp, const std::string&) {
      if (!first.is_dead()) count(first);
    });
    const Status worked = work_as_first(first, stage);
    first.before_call({});
    first.before_change({});
    writer.finish();
    second->before_change({});
    if (!worked.ok() && !first.is_dead()) return worked.with_context("the first writer");
    return writer.failure().with_context("the second writer");
  }

 private:
  static Status work_as_first(FaultEnv& process, Stage& stage) {
    Actor actor(process, stage.ledger);
    SF_TRY(actor.start_up("main"));
    SF_TRY(actor.commit(stage.to_write[0]));
    return actor.prune("main", 1);
  }

  std::string name_;
  Ends ends_;
};

}  // namespace

void add_writers(Scenarios& all) {
  all.push_back(std::make_unique<TwoWriters>("writers", Ends::one_dies));
  all.push_back(std::make_unique<TwoWriters>("writers-power", Ends::power_cut));
}

}  // namespace stillframe::test
