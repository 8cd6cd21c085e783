// What the trainers of the kill sweeps have in common: a journal of all that they were told, and bytes that follow from
// a number.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <iostream>
#include <string>
#include <utility>

#include "stillframe/checkpointer.hpp"

namespace stillframe::sweep {

[[nodiscard]] inline std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Each line is one write(2): what stands there was acknowledged before the process died.
class Journal {
 public:
  explicit Journal(const char* path) : fd_(::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {}
  ~Journal() { ::close(fd_); }
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void say(std::string line) const {
    line += '\n';
    if (::write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size())) return;
    std::cerr << "the journal cannot be written: " << std::strerror(errno) << std::endl;
    ::_exit(3);
  }
  void say_resumed(const Restored& resumed, bool equal) const {
    for (const std::string& skipped : resumed.skipped) say("passed-over " + skipped);
    say("resumed " + std::to_string(resumed.step) + (equal ? " equal" : " DIFFERENT"));
  }

 private:
  const int fd_;
};

[[nodiscard]] inline const char* word_of(SnapshotState state) noexcept {
  switch (state) {
    case SnapshotState::captured: return "captured";
    case SnapshotState::durable: return "durable";
    case SnapshotState::verified: return "verified";
    case SnapshotState::skipped: return "skipped";
    case SnapshotState::copying: return "copying";
    default: return "failed";
  }
}

// The snapshots that were taken, until they are verified or have ended.
class Tickets {
 public:
  explicit Tickets(const Journal& journal) : journal_(journal) {}

  void take(Ticket ticket) { tickets_.push_back({std::move(ticket), SnapshotState::copying}); }

  // What became of them since it was last asked.
  void report() {
    for (Seen& one : tickets_) {
      const TicketInfo now = one.ticket.info();
      const std::string step = " " + std::to_string(now.step);
      const bool ended = now.state != SnapshotState::captured && now.state != SnapshotState::durable &&
                         now.state != SnapshotState::verified && now.state != SnapshotState::copying;
      for (const auto state : {SnapshotState::captured, SnapshotState::durable, SnapshotState::verified}) {
        if (!ended && one.told < state && state <= now.state) journal_.say(word_of(state) + step);
      }
      if (ended) journal_.say(word_of(now.state) + step + " " + now.error);
      one.told = now.state;
    }
    std::erase_if(tickets_, [](const Seen& one) { return one.told >= SnapshotState::verified; });
  }

  // Waits until each is captured or has ended, and tells.
  void wait_captured(std::uint64_t deadline_ms) {
    for (const Seen& one : tickets_) one.ticket.wait_captured(deadline_ms).ignore("the report says what became of it");
    report();
  }

 private:
  struct Seen {
    Ticket ticket;
    SnapshotState told;
  };
  const Journal& journal_;
  std::deque<Seen> tickets_;
};

}  // namespace stillframe::sweep
