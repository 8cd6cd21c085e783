// The trainer of scripts/killsweep: a state whose every byte follows from the step, so that whoever restores knows what
// the one before held. Everything it sees of its snapshots goes to a journal, each line with one write(2): what stands
// there was acknowledged before the process died.
//
//   sweep_trainer train <store> <journal> <daemon config> <budget bytes> <snapshot every>
//   sweep_trainer check <store>      every checkpoint of the store against what the trainer held; touches nothing
//
// Trains until "finish" stands on its standard input, and ends at once when that ends: it outlives nobody.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <optional>
#include <iostream>

#include "restore/load.hpp"
#include "stillframe/checkpointer.hpp"

namespace {

using namespace stillframe;

constexpr std::size_t kWeights = 1'000'000;  // 6 MB in all: six chunks
constexpr std::size_t kNoise = 250'000;
constexpr int kPaceMs = 12;
constexpr int kLookMs = 2;

std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// What compresses, what does not, and the step itself.
struct State {
  std::vector<float> weights = std::vector<float>(kWeights, -1.0F);
  std::vector<std::uint64_t> noise = std::vector<std::uint64_t>(kNoise, 7);
  std::int64_t step = -1;

  void set(std::int64_t to) {
    for (std::size_t i = 0; i < kWeights; ++i) weights[i] = static_cast<float>(i % 1000) + static_cast<float>(to);
    for (std::size_t i = 0; i < kNoise; ++i) noise[i] = mix(static_cast<std::uint64_t>(to) * kNoise + i);
    step = to;
  }
  // Bit for bit what set(at) makes.
  [[nodiscard]] bool is(std::int64_t at) const {
    State expected;
    expected.set(at);
    return step == at && std::memcmp(weights.data(), expected.weights.data(), kWeights * sizeof(float)) == 0 &&
           std::memcmp(noise.data(), expected.noise.data(), kNoise * sizeof(std::uint64_t)) == 0;
  }
};

class Journal {
 public:
  explicit Journal(const char* path) : fd_(::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {}
  ~Journal() { ::close(fd_); }
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void say(std::string line) const {
    line += '\n';
    if (::write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size())) return;
    std::cerr << "sweep_trainer: the journal cannot be written: " << std::strerror(errno) << std::endl;
    ::_exit(3);
  }

 private:
  const int fd_;
};

const char* word_of(SnapshotState state) noexcept {
  switch (state) {
    case SnapshotState::captured: return "captured";
    case SnapshotState::durable: return "durable";
    case SnapshotState::verified: return "verified";
    case SnapshotState::skipped: return "skipped";
    case SnapshotState::copying: return "copying";
    default: return "failed";
  }
}

class Trainer {
 public:
  Trainer(Journal& journal, Checkpointer checkpointer) : journal_(journal), checkpointer_(std::move(checkpointer)) {}

  Status run(std::int64_t every) {
    SF_TRY(checkpointer_.add("weights", DType::f32, {kWeights}, state_.weights.data()));
    SF_TRY(checkpointer_.add("noise", DType::u64, {kNoise}, state_.noise.data()));
    SF_TRY(checkpointer_.add("step", DType::i64, {}, &state_.step));
    journal_.say("restoring");
    SF_ASSIGN(const auto resumed, checkpointer_.restore());
    if (resumed) {
      for (const std::string& skipped : resumed->skipped) journal_.say("passed-over " + skipped);
      journal_.say("resumed " + std::to_string(resumed->step) + (state_.is(resumed->step) ? " equal" : " DIFFERENT"));
    } else {
      journal_.say("resumed none");
    }
    for (std::int64_t step = resumed ? resumed->step + 1 : 0; !finish_; ++step) {
      checkpointer_.fence().ignore("an abandoned snapshot tells its ticket");
      state_.set(step);
      if (step % every == 0) SF_TRY(snapshot(step));
      pause();
    }
    SF_TRY(leave_the_last_one_durable());
    SF_TRY(checkpointer_.close(60'000));
    report();
    journal_.say("finished");
    return {};
  }

 private:
  Status snapshot(std::int64_t step) {
    journal_.say("calling " + std::to_string(step));
    SF_ASSIGN(Ticket ticket, checkpointer_.snapshot(step));
    journal_.say("called " + std::to_string(step));
    newest_ = ticket;
    tickets_.push_back({std::move(ticket), SnapshotState::copying});
    return {};
  }

  // What a daemon's death takes from a ring is taken again: the end of a run is to be in the store.
  Status leave_the_last_one_durable() {
    constexpr int kAttempts = 3;
    constexpr std::uint64_t kDurableMs = 60'000;
    for (int attempt = 1; newest_; ++attempt) {
      const Status durable = newest_->wait_durable(kDurableMs);
      if (durable.ok() || attempt > kAttempts) return durable;
      report();
      SF_TRY(snapshot(state_.step));
      checkpointer_.fence().ignore("an abandoned snapshot tells its ticket");
    }
    return {};
  }

  // What became of the snapshots since it was last asked.
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

  // The pace of a training step; meanwhile it hears and tells.
  void pause() {
    for (int waited = 0; waited < kPaceMs && !finish_; waited += kLookMs) {
      pollfd input{STDIN_FILENO, POLLIN, 0};
      if (::poll(&input, 1, kLookMs) > 0) {
        char text[64];
        if (::read(STDIN_FILENO, text, sizeof text) <= 0) ::_exit(0);
        finish_ = true;
      }
      report();
    }
  }

  struct Seen {
    Ticket ticket;
    SnapshotState told;
  };
  Journal& journal_;
  State state_;
  std::deque<Seen> tickets_;  // not told to their end
  std::optional<Ticket> newest_;
  Checkpointer checkpointer_;
  bool finish_ = false;
};

Status train(char** argv) {
  Journal journal(argv[3]);
  journal.say("start " + std::to_string(::getpid()));
  CheckpointerOptions options;
  options.store = argv[2];
  options.daemon_config = argv[4];
  options.budget_bytes = std::strtoull(argv[5], nullptr, 10);
  SF_ASSIGN(Checkpointer checkpointer, Checkpointer::open(options));
  return Trainer(journal, std::move(checkpointer)).run(std::strtoll(argv[6], nullptr, 10));
}

// One line per checkpoint, newest first: "<step> equal <name>", "<step> DIFFERENT <name>" or "<step> unreadable <name> …".
Status check(const char* path) {
  auto store = store::Store::open(env::posix_env(), path);
  if (!store.ok() && store.status().code() == Code::not_found) return {};
  if (!store.ok()) return std::move(store).status();
  SF_ASSIGN(const auto listed, store->list());
  State state;
  for (const store::CheckpointRef& ref : listed) {
    const auto reader = store::CheckpointReader::open(*store, ref.name);
    if (!reader.ok() && reader.status().code() == Code::not_found) continue;  // retention came first
    const auto bytes_of = [](auto& values) { return std::as_writable_bytes(std::span(values)); };
    const Status loaded =
        reader.ok() ? restore::load(**reader, 0,
                                    {{{"weights", bytes_of(state.weights)},
                                      {"noise", bytes_of(state.noise)},
                                      {"step", std::as_writable_bytes(std::span(&state.step, 1))}}},
                                    1, {})
                    : reader.status();
    const char* verdict = !loaded.ok() ? " unreadable " : state.is(ref.parsed.step) ? " equal " : " DIFFERENT ";
    std::cout << ref.parsed.step << verdict << ref.name << ' ' << loaded.message() << '\n';
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view role = argc > 1 ? argv[1] : "";
  const bool trains = role == "train" && argc == 7;
  if (!trains && !(role == "check" && argc == 3)) {
    std::cerr << "usage: sweep_trainer train STORE JOURNAL DAEMON_CONFIG BUDGET_BYTES SNAPSHOT_EVERY | check STORE\n";
    return 2;
  }
  const Status status = trains ? train(argv) : check(argv[2]);
  if (!status.ok()) std::cerr << "sweep_trainer: " << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}
