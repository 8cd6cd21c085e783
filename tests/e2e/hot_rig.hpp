// A trainer that is killed with an image in the daemon's memory, and what reaches for it.
#pragma once

#include <fcntl.h>
#include <sys/file.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "arena/daemon_side.hpp"
#include "client/hot_restore.hpp"
#include "e2e/rig.hpp"

namespace stillframe::test {

class HotRestore : public DaemonTest {
 protected:
  // No sequence can be claimed while it is held, as on a disk that hangs.
  [[nodiscard]] base::UniqueFd hold_the_store() const {
    base::UniqueFd lock(::open((store_path() + "/store.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_EQ(::flock(lock.get(), LOCK_EX), 0);
    return lock;
  }
  // The arena of a living trainer, as a stray pointer of its own would reach it.
  [[nodiscard]] static arena::Arena arena_of(const Process& trainer) {
    const std::string fds = "/proc/" + std::to_string(trainer.pid()) + "/fd";
    for (const auto& entry : std::filesystem::directory_iterator(fds)) {
      std::error_code error;
      if (std::filesystem::read_symlink(entry.path(), error).string().find("stillframe-arena") == std::string::npos) continue;
      return arena::Arena::attach(base::UniqueFd(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC))).value();
    }
    ADD_FAILURE() << "the trainer has no arena";
    return arena::Arena::create(1).value();
  }
  [[nodiscard]] static arena::RecordView newest_of(const arena::Arena& arena) {
    const auto records = arena::DaemonSide(arena).records();
    if (records.empty()) ADD_FAILURE() << "no snapshot in the trainer's arena";
    return records.empty() ? arena::RecordView() : records.back();
  }
  // Once the daemon has read it, as it does of its own accord.
  static void flip_a_byte(const arena::Arena& arena, std::uint64_t chunk) {
    const arena::DaemonSide side(arena);
    const auto slot = side.filled_slot(newest_of(arena), chunk);
    ASSERT_TRUE(slot.has_value());
    ASSERT_TRUE(wait_until([&] { return side.hash(*slot).has_value(); })) << "never hashed";
    arena.chunk(*slot)[12'345] ^= std::byte{1};
  }
  // Sessions of dead trainers that the daemon still counts.
  [[nodiscard]] std::size_t dead_sessions() const {
    const auto status = client::query_status(socket(), base::Deadline::after_ms(5000));
    if (!status.ok()) return 99;
    std::size_t dead = 0;
    const auto parsed = nlohmann::json::parse(*status);
    for (const auto& session : parsed.at("sessions")) dead += session.at("alive").get<bool>() ? 0U : 1U;
    return dead;
  }
  [[nodiscard]] std::uint64_t arena_bytes_of_the_living() const {
    const auto status = client::query_status(socket(), base::Deadline::after_ms(5000));
    std::uint64_t bytes = 0;
    if (!status.ok()) return bytes;
    const auto parsed = nlohmann::json::parse(*status);
    for (const auto& session : parsed.at("sessions")) {
      if (session.at("alive").get<bool>()) bytes += session.at("arena_bytes").get<std::uint64_t>();
    }
    return bytes;
  }
  // Until all that the dead trainer had captured is durable.
  void settle() {
    const auto core = client::Core::open(options());
    SF_ASSERT_OK(core);
    SF_ASSERT_OK((*core)->settle(base::Deadline::after_ms(kPatienceMs)));
  }
  // For longer than the daemon takes to see that nobody wants it.
  [[nodiscard]] bool keeps() const {
    const auto from_ns = base::system_clock().monotonic_ns();
    return !wait_until([&] { return dead_sessions() == 0 || base::system_clock().monotonic_ns() - from_ns > 200'000'000; }) ||
           dead_sessions() == 1;
  }
  // Step 9 of a trainer that is killed, in memory: step 8 was the last that the store took.
  void leave_an_only_copy() {
    Process trainer = start_trainer("memory", 9);
    std::filesystem::remove(store_path() + "/sequence");
    std::filesystem::create_directory(store_path() + "/sequence");
    trainer.kill();
    ASSERT_TRUE(wait_until([this] { return failed_writes() > 0; }));
  }
  // Step 9, captured in vain for a store that cannot be written; `act` sees it before the trainer is killed.
  void leave_one_that_no_store_took(const std::function<void(const arena::Arena&, const arena::RecordView&)>& act) {
    SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
    base::UniqueFd hung = hold_the_store();  // until it is captured: what fails before that is only given up
    Process trainer = start_trainer("plain", 9);
    std::filesystem::remove(store_path() + "/sequence");
    std::filesystem::create_directory(store_path() + "/sequence");
    hung.reset();
    const arena::Arena arena = arena_of(trainer);
    ASSERT_TRUE(wait_until([&] { return newest_of(arena).state == arena::RecordState::failed; }));
    act(arena, newest_of(arena));
    trainer.kill();
  }
  [[nodiscard]] std::uint64_t failed_writes() const {
    const auto status = client::query_status(socket(), base::Deadline::after_ms(5000));
    std::uint64_t failed = 0;
    if (!status.ok()) return failed;
    const auto parsed = nlohmann::json::parse(*status);
    for (const auto& session : parsed.at("sessions")) failed += session.at("failed").get<std::uint64_t>();
    return failed;
  }
  // `source` empty: from either.
  void expect_restored(std::int64_t step, const std::string& source) {
    auto successor = open(state_);
    SF_ASSERT_OK(successor);
    const auto restored = successor->restore();
    SF_ASSERT_OK(restored);
    ASSERT_TRUE(restored->has_value());
    EXPECT_EQ((*restored)->step, step);
    EXPECT_TRUE(source.empty() || (*restored)->source == source) << (*restored)->source;
    EXPECT_TRUE(state_.is(step));
    restored_ = **restored;
    successor_.emplace(std::move(successor).value());
  }

  State state_;
  Restored restored_;
  std::optional<Checkpointer> successor_;
};

}  // namespace stillframe::test
