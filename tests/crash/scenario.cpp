// One process at work: it dies in its n-th change, or that change fails, once or from then on.
#include "crash/scenario.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/bytes.hpp"
#include "crash/actor.hpp"
#include "store/pages.hpp"

namespace stillframe::test {
namespace {

using Prepare = Stage (*)(std::uint64_t seed);
using Work = Status (*)(Actor& actor, const Stage& stage);

constexpr std::string_view kMain = "main";

// ---- what is done
// ----------------------------------------------------------------------------------------------------

Status open_and_lock(Actor& actor) {
  SF_TRY(actor.open());
  return actor.lock_run(std::string(kMain));
}

Status commit_twice(Actor& actor, const Stage& stage) {
  SF_TRY(open_and_lock(actor));
  SF_TRY(actor.commit(stage.to_write[0]));
  return actor.commit(stage.to_write[1]);
}

Status remove_newest_and_oldest(Actor& actor, const Stage& /*stage*/) {
  SF_TRY(open_and_lock(actor));
  const std::vector<std::string> names = actor.names();
  SF_TRY(actor.remove(names.front()));
  SF_TRY(actor.remove(names.back()));
  return actor.claim();
}

Status retain_two(Actor& actor, const Stage& /*stage*/) {
  constexpr std::uint32_t kKeepLast = 2;
  SF_TRY(open_and_lock(actor));
  SF_TRY(actor.prune(std::string(kMain), kKeepLast));
  SF_TRY(actor.scrub_all());
  return actor.prune(std::string(kMain), kKeepLast);
}

Status make_room_and_commit(Actor& actor, const Stage& stage) {
  SF_TRY(open_and_lock(actor));
  SF_TRY(actor.make_room(std::string(kMain)));
  return actor.commit(stage.to_write[0]);
}

Status mark(Actor& actor, const Stage& /*stage*/) {
  SF_TRY(open_and_lock(actor));
  SF_TRY(actor.scrub_all());
  const std::vector<std::string> names = actor.names();
  SF_TRY(actor.set_mark(names.back(), format::kPinnedMark));
  SF_TRY(actor.set_mark(names.front(), format::kPinnedMark));
  return actor.clear_mark(names.back(), format::kPinnedMark);
}

Status claim_thrice(Actor& actor, const Stage& /*stage*/) {
  SF_TRY(actor.open());
  SF_TRY(actor.claim());
  SF_TRY(actor.claim());
  return actor.claim();
}

Status create_and_commit(Actor& actor, const Stage& stage) {
  SF_TRY(open_and_lock(actor));
  return actor.commit(stage.to_write[0]);
}

Status start_up(Actor& actor, const Stage& /*stage*/) { return actor.start_up(std::string(kMain)); }

// What a daemon does all day.
Status serve(Actor& actor, const Stage& stage) {
  SF_TRY(actor.start_up(std::string(kMain)));
  for (const ContentPtr& content : stage.to_write) {
    SF_TRY(actor.commit(content));
    SF_TRY(actor.scrub(actor.names().front()));
    SF_TRY(actor.prune(std::string(kMain), 1));
  }
  return {};
}

// ---- on what
// ---------------------------------------------------------------------------------------------------------

Stage two_older(std::uint64_t seed) { return stage_with_history(seed, 2); }
Stage four_older(std::uint64_t seed) { return stage_with_history(seed, 4); }

// Some stores were copied without their sequence file.
Stage perhaps_without_sequence_file(std::uint64_t seed) {
  Stage stage = stage_with_history(seed, 3);
  if (seed % 2 == 0) return stage;
  const std::string path = env::join(kStorePath, format::kSequenceFile);
  stage.process->remove_file(path).ignore("a scenario with the file is one as well");
  stage.process = stage.process->survivor(FaultEnv::kEverything);
  return stage;
}

// The newest, which nobody has verified, or the oldest, which rotted after it was.
Stage with_a_damaged_one(std::uint64_t seed) {
  Stage stage = stage_with_history(seed, 3);
  auto& checkpoints = stage.ledger.checkpoints;
  auto& [name, known] = seed % 2 == 0 ? *checkpoints.rbegin() : *checkpoints.begin();
  const std::string file = env::join(env::join(kStorePath, name), format::table_file(0));
  stage.process->remove_file(file).ignore("then it is whole, and the scrub says so");
  stage.process = stage.process->survivor(FaultEnv::kEverything);
  known.damaged = true;
  return stage;
}

// One of the pages of either version, or one of the readers, is gone, cut short, or another text of its length.
Stage with_a_damaged_page(std::uint64_t seed) {
  Stage stage = stage_with_history(seed, 1);
  const store::Page page = store::pages().at(seed % store::pages().size());
  const std::string path = env::join(kStorePath, page.name);
  std::string text(page.text);
  const std::uint64_t damage = seed / store::pages().size() % 3;
  if (damage == 1) text.resize(text.size() / 2);
  if (damage == 2) std::ranges::reverse(text);
  const Status damaged = damage == 0 ? stage.process->remove_file(path)
                                     : env::replace_file_synced(*stage.process, path, base::as_bytes(text));
  damaged.ignore("then it is whole, and stays so");
  stage.process = stage.process->survivor(FaultEnv::kEverything);
  stage.ledger.pages_whole = false;
  return stage;
}

Stage no_store(std::uint64_t seed) {
  Stage stage;
  stage.seed = seed;
  stage.process = std::make_unique<FaultEnv>();
  stage.ledger.store_exists = false;
  if (seed % 2 == 1) stage.process->make_dirs_synced("/runs").ignore("then the scenario makes it");
  Random random(seed);
  stage.to_write.push_back(draw_content(random, std::string(kMain), 1, shape_of(seed, 0)));
  return stage;
}

// Killed one after the other in what they did, nothing of it certain: several writers, a removal, marks, a claim.
Stage after_many_deaths(std::uint64_t seed) {
  Stage stage = stage_with_history(seed, 4);
  Random random(seed + 1);
  constexpr std::array<Work, 6> kWorks{commit_twice, remove_newest_and_oldest, mark, commit_twice, claim_thrice,
                                       retain_two};
  constexpr std::size_t kMostChanges = 45;
  for (const Work work : kWorks) {
    stage.process = stage.process->new_process();
    stage.process->die_at(1 + random.below(kMostChanges));
    Actor actor(*stage.process, stage.ledger);
    work(actor, stage).ignore("it was killed, or ended before");
    if (random.percent(20)) stage.process = stage.process->survivor(random.next());
  }
  stage.process = stage.process->copy();
  return stage;
}

// ---- and what goes wrong
// ---------------------------------------------------------------------------------------------

enum class Trouble : std::uint8_t { death, error_once, error_for_ever };

class OneProcess final : public Scenario {
 public:
  OneProcess(std::string called, Prepare before, Work done, Trouble trouble, Code code)
      : name_(std::move(called)), prepare_(before), work_(done), trouble_(trouble), code_(code) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] Stage prepare(std::uint64_t seed) const override { return prepare_(seed); }

  [[nodiscard]] Status work(Stage& stage, std::uint64_t n) const override {
    FaultEnv& process = *stage.process;
    if (n != 0 && trouble_ == Trouble::death) process.die_at(n);
    if (n != 0 && trouble_ != Trouble::death) {
      process.fail(
          {.op = EnvOp::any_change, .code = code_, .nth_call = n, .for_ever = trouble_ == Trouble::error_for_ever});
    }
    const Status worked = [&] {
      Actor actor(process, stage.ledger);
      return work_(actor, stage);
    }();
    stage.changes = process.changes();
    if (worked.ok() || process.is_dead()) return {};
    if (trouble_ == Trouble::death || n == 0 || worked.code() == Code::internal) return worked;
    return trouble_ == Trouble::error_once ? carry_on(stage) : Status();
  }

 private:
  // The same process goes on after the error, as a daemon does.
  static Status carry_on(Stage& stage) {
    stage.process->fail_nothing();
    Actor actor(*stage.process, stage.ledger);
    SF_TRY(actor.start_up(std::string(kMain)));
    return actor.commit(stage.to_write.back());
  }

  std::string name_;
  Prepare prepare_;
  Work work_;
  Trouble trouble_;
  Code code_;
};

void add_one_process(Scenarios& all, const std::string& name, Prepare prepare, Work work) {
  const auto add = [&](std::string_view suffix, Trouble trouble, Code code) {
    all.push_back(std::make_unique<OneProcess>(name + std::string(suffix), prepare, work, trouble, code));
  };
  add("", Trouble::death, Code::ok);
  add("-error", Trouble::error_once, Code::io_error);
  add("-errors", Trouble::error_for_ever, Code::io_error);
  add("-full-once", Trouble::error_once, Code::no_space);
  add("-full", Trouble::error_for_ever, Code::no_space);
}

}  // namespace

Shape shape_of(std::uint64_t seed, std::uint64_t which) {
  constexpr std::array kShort{Shape::container, Shape::planes, Shape::safetensors, Shape::two_ranks};
  const std::uint64_t drawn = mix_bits(seed * 8 + which + 1) % 64;
  if (drawn == 0) return Shape::safetensors_long;
  if (drawn == 1) return Shape::two_chunks;
  if (drawn < 5) return Shape::constant_chunk;
  return kShort.at((seed + which) % kShort.size());
}

Stage stage_with_history(std::uint64_t seed, std::size_t count) {
  Stage stage;
  stage.seed = seed;
  stage.process = std::make_unique<FaultEnv>();
  Random random(seed);
  Actor actor(*stage.process, stage.ledger);
  const auto build = [&]() -> Status {
    SF_TRY(actor.start_up(std::string(kMain)));
    for (std::size_t i = 0; i <= count; ++i) {
      const bool is_other = i == count / 2;
      const auto step = static_cast<std::int64_t>(i + 1) * 10;
      SF_TRY(actor.commit(draw_content(random, is_other ? "other" : std::string(kMain), step, shape_of(seed, i))));
      if (i < count) SF_TRY(actor.scrub(actor.names().front()));
    }
    return {};
  };
  build().ignore("the first crash then finds that something is missing");
  for (std::uint64_t i = 0; i < 2; ++i) {
    const auto step = static_cast<std::int64_t>(1000 + i);
    stage.to_write.push_back(draw_content(random, std::string(kMain), step, shape_of(seed, count + 1 + i)));
  }
  stage.process = stage.process->survivor(FaultEnv::kEverything);
  return stage;
}

Scenarios all_scenarios() {
  Scenarios all;
  add_one_process(all, "commit", two_older, commit_twice);
  add_one_process(all, "removal", perhaps_without_sequence_file, remove_newest_and_oldest);
  add_one_process(all, "retention", four_older, retain_two);
  add_one_process(all, "room", four_older, make_room_and_commit);
  add_one_process(all, "marks", with_a_damaged_one, mark);
  add_one_process(all, "claim", two_older, claim_thrice);
  add_one_process(all, "create", no_store, create_and_commit);
  add_one_process(all, "pages", with_a_damaged_page, create_and_commit);
  add_one_process(all, "recovery", after_many_deaths, start_up);
  add_one_process(all, "service", two_older, serve);
  add_writers(all);
  return all;
}

}  // namespace stillframe::test
