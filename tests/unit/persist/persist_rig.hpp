// A persister over a real arena, with the test in the trainer's place.
#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "arena/trainer_side.hpp"
#include "format/descriptor.hpp"
#include "persist/persister.hpp"
#include "support/observed_env.hpp"
#include "support/store_fixture.hpp"
#include "support/wait_until.hpp"

namespace stillframe::test {

using arena::RecordState;

// Float tensors that fill `chunks` chunks, the last one not quite.
inline format::ImageLayout layout_of_chunks(std::uint64_t chunks) {
  return format::lay_out({{"weight", DType::f32, {chunks * kChunkBytes / 4 - 1000}}, {"bias", DType::f32, {500}}})
      .value();
}

struct Shot {
  arena::SnapshotHandle handle;
  format::ImageLayout layout;
  std::vector<std::byte> image;
  std::vector<std::byte> descriptor;
  std::int64_t step = 0;
};

// What a copier does to an arena, one move at a time.
class ArenaTrainer {
 public:
  // On a monotonic clock of the test's own.
  [[nodiscard]] static constexpr std::int64_t taken_ns(std::int64_t step) noexcept { return 1'000'000'000 + step; }
  explicit ArenaTrainer(const arena::Arena& arena) : arena_(arena), side_(arena) {}

  [[nodiscard]] Shot begin(std::int64_t step, const format::ImageLayout& layout, std::vector<std::byte> descriptor,
                           bool memory_only = false) {
    Shot shot{{}, layout, image_of(layout, step), std::move(descriptor), step};
    shot.handle = side_.begin({step, layout.bytes, shot.descriptor.size(), kUtcNs, memory_only, taken_ns(step), from_gpu}).value();
    return shot;
  }
  [[nodiscard]] Shot begin(std::int64_t step, const format::ImageLayout& layout) {
    return begin(step, layout,
                 format::encode_descriptor(format::encode_layout(layout), format::flat_tree(layout), "{}"));
  }
  [[nodiscard]] Shot begin_for_memory(std::int64_t step, const format::ImageLayout& layout) {
    return begin(step, layout, format::encode_descriptor(format::encode_layout(layout), format::flat_tree(layout), "{}"),
                 /*memory_only=*/true);
  }
  [[nodiscard]] Shot capture_for_memory(std::int64_t step, const format::ImageLayout& layout) {
    Shot shot = begin_for_memory(step, layout);
    fill_all(shot);
    EXPECT_TRUE(side_.seal(shot.handle));
    return shot;
  }
  void fill_descriptor(const Shot& shot) { fill(shot, arena::SlotKind::descriptor, 0, shot.descriptor); }
  void fill_chunk(const Shot& shot, std::uint64_t chunk) {
    fill(shot, arena::SlotKind::image, chunk,
         std::span(shot.image).subspan(chunk * kChunkBytes, shot.layout.chunk_length(chunk)));
  }
  void fill_all(const Shot& shot) {
    fill_descriptor(shot);
    for (std::uint64_t chunk = 0; chunk < shot.layout.chunk_count(); ++chunk) fill_chunk(shot, chunk);
  }
  // The whole way to captured.
  [[nodiscard]] Shot capture(std::int64_t step, const format::ImageLayout& layout) {
    Shot shot = begin(step, layout);
    fill_all(shot);
    EXPECT_TRUE(side_.seal(shot.handle));
    return shot;
  }
  // As a copier does when the daemon fails a snapshot before its seal: it lets go.
  [[nodiscard]] Shot capture_unless_failed(std::int64_t step, const format::ImageLayout& layout) {
    Shot shot = begin(step, layout);
    fill_all(shot);
    if (!side_.seal(shot.handle)) side_.abandon(shot.handle);
    return shot;
  }
  [[nodiscard]] bool reaches(const Shot& shot, RecordState state) {
    return wait_until([&] {
      const auto now = side_.progress(shot.handle);
      return now && now->state == state;
    });
  }
  [[nodiscard]] bool is_done(const Shot& shot) {
    return wait_until([&] {
      const auto now = side_.progress(shot.handle);
      return now && (now->flags & arena::kDone) != 0;
    });
  }
  [[nodiscard]] RecordState state(const Shot& shot) { return side_.progress(shot.handle)->state; }
  [[nodiscard]] bool done_now(const Shot& shot) { return (side_.progress(shot.handle)->flags & arena::kDone) != 0; }
  [[nodiscard]] std::uint64_t free_slots() const { return side_.free_slots(arena_.slot_count()); }
  [[nodiscard]] arena::TrainerSide& side() { return side_; }

  bool from_gpu = false;  // what it begins from now on

 private:
  void fill(const Shot& shot, arena::SlotKind kind, std::uint64_t index, std::span<const std::byte> bytes) {
    const auto slot = side_.lease(shot.handle, kind, index, base::Deadline::after_ms(kPatienceMs));
    ASSERT_TRUE(slot.ok()) << slot.status().message();
    std::memcpy(arena_.chunk(*slot).data(), bytes.data(), bytes.size());
    side_.mark_filled(shot.handle, *slot);
  }

  const arena::Arena& arena_;
  arena::TrainerSide side_;
};

class NewsLog {
 public:
  void add(const persist::News& news) {
    const std::lock_guard lock(mutex_);
    all_.push_back(news);
  }
  [[nodiscard]] std::vector<persist::News> of(const std::string& state) const {
    const std::lock_guard lock(mutex_);
    std::vector<persist::News> found;
    std::copy_if(all_.begin(), all_.end(), std::back_inserter(found),
                 [&](const persist::News& news) { return news.state == state; });
    return found;
  }
  [[nodiscard]] bool comes(const std::string& state) const {
    return wait_until([&] { return !of(state).empty(); });
  }

 private:
  mutable std::mutex mutex_;
  std::vector<persist::News> all_;
};

inline arena::Arena make_arena(std::uint64_t slots) {
  arena::Arena made = arena::Arena::create(slots).value();
  EXPECT_TRUE(made.commit_slots(slots).ok());
  return made;
}

inline persist::PersistOptions options_of_run(const std::string& run, std::uint32_t keep_last = 3) {
  persist::PersistOptions options;
  options.run = run;
  options.group = "default";
  options.retention.keep_last = keep_last;
  options.writer = "stillframe test";
  return options;
}

class PersistTest : public testing::Test {
 protected:
  ~PersistTest() override {
    gate_.open();
    persister_.reset();
  }

  void start(std::uint64_t slots, std::uint32_t keep_last = 3) {
    arena_ = std::make_unique<arena::Arena>(make_arena(slots));
    trainer_ = std::make_unique<ArenaTrainer>(*arena_);
    start_daemon(keep_last);
  }
  void start_daemon(std::uint32_t keep_last = 3) { start_daemon(options_of_run("main", keep_last)); }
  void start_daemon(persist::PersistOptions options) {
    auto started = persist::Persister::start(*arena_, store_, *encoders_, std::move(options),
                                             [this](const persist::News& news) {
                                               if (news.state == "durable" && on_durable_) on_durable_();
                                               news_.add(news);
                                             });
    ASSERT_TRUE(started.ok()) << started.status().message();
    persister_ = std::move(started).value();
  }
  [[nodiscard]] bool drains() {
    return wait_until([this] { return persister_->drained(); });
  }
  // Steps in the store, newest first.
  [[nodiscard]] std::vector<std::int64_t> steps() {
    std::vector<std::int64_t> found;
    const auto listed = store_.list().value();
    for (const auto& ref : listed) found.push_back(ref.parsed.step);
    return found;
  }
  [[nodiscard]] std::string name_of(std::int64_t step) {
    const auto listed = store_.list().value();
    for (const auto& ref : listed) {
      if (ref.parsed.step == step) return ref.name;
    }
    return "";
  }
  [[nodiscard]] store::Marks marks(std::int64_t step) { return store_.marks(name_of(step)).value(); }
  // Directories in the store that are not checkpoints.
  [[nodiscard]] std::vector<std::string> leftovers() {
    std::vector<std::string> found;
    const auto entries = mem_.list(store_.path()).value();
    for (const auto& entry : entries) {
      if (entry.is_directory && !format::parse_checkpoint_name(entry.name)) found.push_back(entry.name);
    }
    return found;
  }
  [[nodiscard]] testing::AssertionResult holds(const Shot& shot) {
    const auto reader = store::CheckpointReader::open(store_, name_of(shot.step));
    if (!reader.ok()) return testing::AssertionFailure() << reader.status().message();
    const auto image = read_image(**reader);
    if (!image.ok()) return testing::AssertionFailure() << image.status().message();
    if (*image != shot.image) return testing::AssertionFailure() << "step " << shot.step << " holds other bytes";
    return testing::AssertionSuccess();
  }
  // The next call of `op` on a path with `part` waits at the gate.
  void hold_at(EnvOp op, const std::string& part) {
    env_.observe([this, op, part](EnvOp now, const std::string& path) {
      if (now == op && path.find(part) != std::string::npos) gate_.pass();
    });
  }

  FaultEnv mem_;
  ObservedEnv env_{mem_};
  store::Store store_ = store::Store::open_or_create(env_, "/runs/gpt").value();
  std::unique_ptr<persist::Encoders> encoders_ = persist::Encoders::start("test-encode", 2, 8).value();
  std::unique_ptr<arena::Arena> arena_;
  std::unique_ptr<ArenaTrainer> trainer_;
  NewsLog news_;
  std::function<void()> on_durable_;  // on the persister's thread, at the news
  Gate gate_;
  std::unique_ptr<persist::Persister> persister_;
};

}  // namespace stillframe::test
