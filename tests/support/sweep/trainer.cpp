// The trainer of scripts/killsweep: a state whose every byte follows from the step, so that whoever restores knows what
// the one before held. Everything it sees of its snapshots goes to a journal.
//
//   sweep_trainer train <store> <journal> <daemon config> <budget bytes> <snapshot every>
//   sweep_trainer check <store>      every checkpoint of the store against what the trainer held; touches nothing
//
// Trains until "finish" stands on its standard input, and ends at once when that ends: it outlives nobody.
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <optional>

#include "restore/load.hpp"
#include "stillframe/checkpointer.hpp"
#include "support/sweep/journal.hpp"

namespace {

using namespace stillframe;
using sweep::Journal;
using sweep::mix;
using sweep::Tickets;

constexpr std::size_t kWeights = 1'000'000;  // 6 MB in all: six chunks
constexpr std::size_t kNoise = 250'000;
constexpr int kPaceMs = 12;
constexpr int kLookMs = 2;

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

class Trainer {
 public:
  Trainer(const Journal& journal, Checkpointer checkpointer)
      : journal_(journal), tickets_(journal), checkpointer_(std::move(checkpointer)) {}

  Status run(std::int64_t every) {
    SF_TRY(checkpointer_.add("weights", DType::f32, {kWeights}, state_.weights.data()));
    SF_TRY(checkpointer_.add("noise", DType::u64, {kNoise}, state_.noise.data()));
    SF_TRY(checkpointer_.add("step", DType::i64, {}, &state_.step));
    journal_.say("restoring");
    SF_ASSIGN(const auto resumed, checkpointer_.restore());
    if (resumed) {
      journal_.say_resumed(*resumed, state_.is(resumed->step));
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
    tickets_.report();
    journal_.say("finished");
    return {};
  }

 private:
  Status snapshot(std::int64_t step, bool wait = false) {
    journal_.say("calling " + std::to_string(step));
    SF_ASSIGN(Ticket ticket, checkpointer_.snapshot(step, wait));
    journal_.say("called " + std::to_string(step));
    newest_ = ticket;
    tickets_.take(std::move(ticket));
    return {};
  }

  // What a daemon's death takes from a ring, or was skipped, is taken again: the end of a run is to be in the store.
  Status leave_the_last_one_durable() {
    constexpr int kAttempts = 3;
    constexpr std::uint64_t kDurableMs = 60'000;
    for (int attempt = 1; newest_; ++attempt) {
      const Status durable = newest_->wait_durable(kDurableMs);
      if (durable.ok() || attempt > kAttempts) return durable;
      tickets_.report();
      SF_TRY(snapshot(state_.step, /*wait=*/true));
      checkpointer_.fence().ignore("an abandoned snapshot tells its ticket");
    }
    return {};
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
      tickets_.report();
    }
  }

  const Journal& journal_;
  State state_;
  Tickets tickets_;
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
