// The background scrub of one store: durable checkpoints that nobody has verified are re-read, newest first, and verified ones
// again when that is long ago. One thread, at a bounded rate, which stands still while a checkpoint is being written.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/thread.hpp"
#include "store/scrub.hpp"
#include "store/store.hpp"

namespace stillframe::daemon {

struct ScrubOptions {
  std::uint64_t bytes_per_second = 64ULL << 20;  // read from the store; not 0
  std::uint64_t every_seconds = 7 * 86'400;      // a verified one is re-read when that is so long ago; 0: never again
  std::uint64_t first_look_ms = 5'000;           // after the start: a trainer that resumes reads first
  std::uint64_t look_again_ms = 30'000;          // while nothing is due
};

struct ScrubCounters {
  std::uint64_t checked = 0;  // re-read to the end
  std::uint64_t bad = 0;      // of these, damaged
  std::string last;           // "<name>: verified", "<name>: bad: …"; of the newest one
  std::string reading;        // the checkpoint in hand; empty: none
};

// Thread-safe.
class Scrubber {
 public:
  // Somebody who writes to the store. Both are called on the scrub's thread and must not call back.
  struct Writer {
    std::function<bool()> writing;
    std::function<bool(const std::string& name)> verifies;  // that checkpoint is in other hands
  };

  [[nodiscard]] static Result<std::shared_ptr<Scrubber>> start(store::Store store, const ScrubOptions& options);
  ~Scrubber();  // ends within moments; what was being read is not marked
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  // `key` names the writer until remove_writer(), after which its functions are not called any more.
  void add_writer(const void* key, Writer writer);
  void remove_writer(const void* key);
  // What is being read is needed by nobody as much as its place: it is let go, to be read again later. Returns when that has
  // happened, or after a second.
  void let_go();
  [[nodiscard]] ScrubCounters counters() const;
  [[nodiscard]] const std::string& store_path() const noexcept { return store_.path(); }

 private:
  struct Due {
    std::string name;
    bool recheck = false;  // it is marked verified
  };
  Scrubber(store::Store store, const ScrubOptions& options) : store_(std::move(store)), options_(options) {}
  void run();
  [[nodiscard]] Result<std::optional<Due>> next_due();
  [[nodiscard]] bool is_old(const std::string& name, std::int64_t now_seconds);
  [[nodiscard]] bool in_other_hands(const std::string& name) const;
  [[nodiscard]] bool wait_while_writing();
  void scrub(const Due& due);
  void mark_again();
  void note(const Due& due, const Result<store::ScrubReport>& done);
  void pause(std::uint64_t ms);

  const store::Store store_;
  const ScrubOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool letting_go_ = false;
  std::map<const void*, Writer> writers_;
  ScrubCounters counters_;
  std::map<std::string, std::int64_t> looked_at_;  // when, in Unix seconds; the thread's own
  std::map<std::string, std::string> unmarked_;    // found bad, with the reason; its mark could not be written. Likewise
  base::Thread thread_;
};

// The time in a mark's text ("re-read and checked 2026-11-22T12:30:05Z"), in Unix seconds; nullopt when there is none.
[[nodiscard]] std::optional<std::int64_t> time_in_mark(std::string_view text);

}  // namespace stillframe::daemon
