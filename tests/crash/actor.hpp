// A process that uses a store and writes down what it was told. All calls of the store that the scenarios make are
// here.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crash/ledger.hpp"
#include "store/store.hpp"
#include "store/writer.hpp"
#include "support/fault_env.hpp"

namespace stillframe::test {

inline constexpr std::string_view kStorePath = "/runs/gpt";

// Ends with the writer as a process does: what was begun and not committed is removed, if the process still lives.
class Actor {
 public:
  Actor(FaultEnv& process, Ledger& ledger) : process_(process), ledger_(ledger) {}

  [[nodiscard]] Status open();  // open_or_create
  [[nodiscard]] Status open_as_reader();
  [[nodiscard]] Status lock_run(const std::string& run);  // and hold it
  // Open, lock, recover, and scrub what is there: what a daemon does when it starts.
  [[nodiscard]] Status start_up(const std::string& run);
  [[nodiscard]] Status recover();

  [[nodiscard]] Status claim();
  // A commit in four steps, for scenarios that do something else in between.
  [[nodiscard]] Status begin(ContentPtr content);  // claims first
  [[nodiscard]] Status write();
  [[nodiscard]] Status publish();
  [[nodiscard]] Status commit(ContentPtr content);

  [[nodiscard]] Status remove(const std::string& name);
  [[nodiscard]] Status set_mark(const std::string& name, std::string_view mark);
  [[nodiscard]] Status clear_mark(const std::string& name, std::string_view mark);
  [[nodiscard]] Status scrub(const std::string& name);
  [[nodiscard]] Status scrub_all();
  [[nodiscard]] Status prune(const std::string& run, std::uint32_t keep_last);
  // For one more checkpoint, in a store that may not grow.
  [[nodiscard]] Status make_room(const std::string& run);

  [[nodiscard]] const store::Store& store() const { return *store_; }
  [[nodiscard]] FaultEnv& process() const noexcept { return process_; }
  // Newest first.
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  [[nodiscard]] Status scrub_whole(const std::string& name, KnownCheckpoint& known);
  [[nodiscard]] Status scrub_damaged(const std::string& name, KnownCheckpoint& known);
  void begin_retention(const std::string& run, std::uint32_t keep_last);
  void end_retention();

  FaultEnv& process_;
  Ledger& ledger_;
  std::optional<store::Store> store_;
  std::vector<std::string> runs_;
  std::vector<std::unique_ptr<env::Lock>> run_locks_;
  std::vector<std::string> expiring_;
  ContentPtr writing_;
  std::unique_ptr<store::CheckpointWriter> writer_;
};

}  // namespace stillframe::test
