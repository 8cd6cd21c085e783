// The C++ API over the core.
#include "stillframe/checkpointer.hpp"

#include <algorithm>

#include "client/core.hpp"
#include "client/hot_restore.hpp"
#include "restore/chooser.hpp"
#include "restore/load.hpp"

namespace stillframe {

struct Ticket::Impl {
  client::Snapshot snapshot;
};

TicketInfo Ticket::info() const { return impl_->snapshot.progress->info(); }
Status Ticket::wait_captured(std::uint64_t deadline_ms) const {
  return impl_->snapshot.progress->wait(SnapshotState::captured, base::Deadline::after_ms(deadline_ms));
}
Status Ticket::wait_durable(std::uint64_t deadline_ms) const {
  return impl_->snapshot.progress->wait(SnapshotState::durable, base::Deadline::after_ms(deadline_ms));
}
Status Ticket::wait_verified(std::uint64_t deadline_ms) const {
  return impl_->snapshot.progress->wait(SnapshotState::verified, base::Deadline::after_ms(deadline_ms));
}

namespace {

// What a restore has tried in vain, each with the reason.
struct PassedOver {
  std::vector<std::string> all;
  Code bad = Code::ok;   // why the image in memory could not be read, or why it is not known whether there is one
  bool touched = false;  // the memory given to add() was being written when one was given up
};

}  // namespace

struct Checkpointer::Impl {
  CheckpointerOptions options;
  std::shared_ptr<client::Core> core;
  std::vector<capture::EntrySpec> specs;
  std::vector<void*> memory;
  std::vector<capture::StreamRef> streams;
  std::shared_ptr<const capture::Plan> plan;
  std::shared_ptr<Ticket::Impl> newest;  // snapshot taken
  std::uint64_t reserved_soon_ms = 5'000;  // most memory takes less; the loop waits so long once

  // nullopt when the store is to be read instead.
  [[nodiscard]] Result<std::optional<Restored>> restore_from_memory(const base::Deadline& deadline, PassedOver& passed_over);
  // nullopt when it has no checkpoint.
  [[nodiscard]] Result<std::optional<Restored>> restore_from_store(const base::Deadline& deadline, PassedOver& passed_over);
};

namespace {

// Ranks of a group wait for each other's seal for persist.group_deadline_seconds, by default 120.
constexpr std::uint64_t kGroupSettleMs = 300'000;

// Every way in which a checkpoint differs from the memory that was added.
Status compare(const std::vector<capture::EntrySpec>& specs, const format::ImageLayout& layout, const std::string& name,
               bool touched) {
  std::string differences;
  const auto differ = [&](const std::string& what) { differences += (differences.empty() ? "" : "; ") + what; };
  for (const capture::EntrySpec& spec : specs) {
    const Entry* found = nullptr;
    for (const Entry& entry : layout.entries) {
      if (entry.name == spec.entry.name) found = &entry;
    }
    if (found == nullptr) {
      differ("'" + spec.entry.name + "' is not in the checkpoint");
    } else if (found->dtype != spec.entry.dtype || found->shape != spec.entry.shape) {
      differ("'" + spec.entry.name + "' has another dtype or shape");
    }
  }
  for (const Entry& entry : layout.entries) {
    bool wanted = false;
    for (const capture::EntrySpec& spec : specs) wanted = wanted || spec.entry.name == entry.name;
    if (!wanted) differ("'" + entry.name + "' is in the checkpoint only");
  }
  if (differences.empty()) return {};
  return {Code::mismatch, name + " is of another state" + (touched ? "" : ", nothing was touched") + ": " + differences};
}

Result<std::size_t> index_of_rank(const store::CheckpointReader& reader, std::uint32_t rank, bool touched) {
  const auto& ranks = reader.manifest().ranks;
  const auto found = std::find_if(ranks.begin(), ranks.end(), [rank](const auto& one) { return one.rank == rank; });
  if (found != ranks.end()) return static_cast<std::size_t>(found - ranks.begin());
  return Status(Code::mismatch, reader.name() + " was written by a group of " + std::to_string(reader.manifest().world_size) +
                                    " and holds nothing of rank " + std::to_string(rank) +
                                    (touched ? "" : "; nothing was touched"));
}

// Entries on the host at once; those on a GPU one by one, by way of a host buffer of that size.
Status load_into(client::Core& core, const restore::ChunkSource& source, const std::vector<capture::EntrySpec>& specs,
                 const std::vector<void*>& memory, const std::vector<capture::StreamRef>& streams) {
  std::vector<restore::Target> targets;
  std::vector<std::byte> staged;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    for (const Entry& entry : source.layout().entries) {
      if (entry.name != specs[i].entry.name) continue;
      if (specs[i].device == kHost) {
        targets.push_back({entry.name, {static_cast<std::byte*>(memory[i]), entry.bytes}});
        continue;
      }
      staged.resize(entry.bytes);
      SF_TRY(restore::load(source, std::vector<restore::Target>{{entry.name, staged}}, 0, {}));
      capture::StreamRef trainers{specs[i].device, 0};
      for (const capture::StreamRef& one : streams) trainers = one.device == trainers.device ? one : trainers;
      SF_TRY(core.place_on_gpu(trainers, std::vector<client::Placement>{{memory[i], staged}}));
    }
  }
  return restore::load(source, targets, 0, {});
}

// An error, or that there is no checkpoint, behind one that could not be read.
Status not_restored(const std::string& run, const PassedOver& passed_over, const Status& why) {
  std::string listed;
  for (const std::string& one : passed_over.all) listed += (listed.empty() ? "" : "; ") + one;
  const Code code = passed_over.touched ? Code::corrupt : passed_over.bad;
  return {code, "run '" + run + "' was not restored, and " +
                             (passed_over.touched ? "the memory given to add() is partly overwritten: do not train on with it"
                                                  : "nothing was touched") +
                             ". Passed over: " + listed + ". " +
                             (why.ok() ? "The store has no checkpoint" : "Then: " + why.message())};
}

double seconds_since(std::int64_t from_ns) {
  return static_cast<double>(base::system_clock().monotonic_ns() - from_ns) * 1e-9;
}

bool is_about_the_bytes(const Status& status) { return status.code() == Code::corrupt || status.code() == Code::io_error; }

}  // namespace

Result<std::optional<Restored>> Checkpointer::Impl::restore_from_memory(const base::Deadline& deadline,
                                                                        PassedOver& passed_over) {
  const auto opened = client::HotRestore::open(core, deadline);
  if (!opened.ok()) {
    passed_over.all.push_back("memory: " + opened.status().message());
    passed_over.bad = opened.status().code();
  }
  if (!opened.ok() || *opened == nullptr) return std::optional<Restored>();
  const restore::MemoryImage& image = (*opened)->image();
  SF_TRY(compare(specs, image.layout(), image.name(), /*touched=*/false));
  const Status loaded = load_into(*core, image, specs, memory, streams);
  if (!loaded.ok() && !is_about_the_bytes(loaded)) return loaded;
  if (!loaded.ok()) {
    passed_over.all.push_back(image.name() + ": " + loaded.message());
    passed_over.bad = loaded.code();
    passed_over.touched = true;
    return std::optional<Restored>();
  }
  Restored restored;
  restored.step = image.view().step;
  restored.name = image.name();
  restored.source = "memory";
  return std::optional<Restored>(std::move(restored));
}

namespace {

client::StateSize size_of(const std::vector<capture::EntrySpec>& specs) {
  client::StateSize size;
  for (const capture::EntrySpec& spec : specs) {
    std::uint64_t bytes = dtype_bytes(spec.entry.dtype);
    for (const std::uint64_t extent : spec.entry.shape) bytes *= extent;
    size.image_bytes += bytes;
    ++size.tensors;
    size.gpu = std::max(size.gpu, spec.device);
  }
  return size;
}

}  // namespace

Checkpointer::Checkpointer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpointer::Checkpointer(Checkpointer&&) noexcept = default;
Checkpointer& Checkpointer::operator=(Checkpointer&&) noexcept = default;
Checkpointer::~Checkpointer() = default;

Result<Checkpointer> Checkpointer::open(CheckpointerOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  SF_ASSIGN(impl->core, client::Core::open(std::move(options)));
  return Checkpointer(std::move(impl));
}

Status Checkpointer::add(std::string name, DType dtype, std::vector<std::uint64_t> shape, void* data,
                         std::int32_t device) {
  if (impl_->plan) return {Code::invalid_argument, "add() comes before the first snapshot"};
  capture::EntrySpec spec;
  spec.entry.name = std::move(name);
  spec.entry.dtype = dtype;
  spec.entry.shape = std::move(shape);
  spec.guarded = true;
  spec.device = device;
  impl_->specs.push_back(std::move(spec));
  impl_->memory.push_back(data);
  return {};
}

void Checkpointer::use_stream(std::int32_t device, std::uintptr_t stream) {
  std::erase_if(impl_->streams, [device](const capture::StreamRef& one) { return one.device == device; });
  impl_->streams.push_back({device, stream});
}

Result<std::optional<Restored>> Checkpointer::restore() {
  const std::int64_t from_ns = base::system_clock().monotonic_ns();
  const std::uint64_t patience_ms = impl_->options.connect_deadline_ms + impl_->options.fence_deadline_ms;
  // A snapshot that is being copied reads the memory that is written next.
  impl_->core->fence(0, impl_->streams).ignore("an abandoned snapshot tells its ticket");
  PassedOver passed_over;
  // Memory that does not answer leaves the store its own time.
  SF_ASSIGN(std::optional<Restored> restored,
            impl_->restore_from_memory(base::Deadline::after_ms(patience_ms / 2), passed_over));
  if (!restored) {
    auto stored = impl_->restore_from_store(base::Deadline::after_ms(patience_ms), passed_over);
    if (!stored.ok() && !passed_over.touched) return stored;
    if (!stored.ok()) return not_restored(impl_->options.run, passed_over, stored.status());
    // A beginning anew must not follow from what could not be read.
    if (!stored->has_value() && passed_over.bad != Code::ok) return not_restored(impl_->options.run, passed_over, {});
    if (!stored->has_value()) return stored;
    restored = std::move(*stored);
  }
  restored->seconds = seconds_since(from_ns);
  impl_->core->reserve_behind(size_of(impl_->specs)).ignore("the first snapshot asks again, and says what is wrong");
  return restored;
}

Result<std::optional<Restored>> Checkpointer::Impl::restore_from_store(const base::Deadline& deadline,
                                                                       PassedOver& passed_over) {
  SF_TRY(core->settle(options.world_size > 1 ? deadline.at_least_ms(kGroupSettleMs) : deadline));
  format::Address address;
  address.store = core->store_path();
  address.run = options.run;
  Result<restore::Chooser> chooser = restore::Chooser::open(env::posix_env(), address);
  if (!chooser.ok() && chooser.status().code() == Code::not_found) return std::optional<Restored>();
  if (!chooser.ok()) return std::move(chooser).status();
  const auto list = [&] {
    for (const restore::Skipped& one : chooser->skipped()) passed_over.all.push_back(one.name + ": " + one.reason);
  };
  for (;;) {
    const store::CheckpointReader& reader = chooser->current();
    const Result<std::size_t> rank = index_of_rank(reader, options.rank, passed_over.touched);
    const Status fits = rank.ok() ? compare(specs, reader.manifest().ranks[*rank].layout, reader.name(), passed_over.touched)
                                  : rank.status();
    if (!fits.ok()) {
      list();
      return fits;
    }
    const Status loaded = load_into(*core, restore::RankOfCheckpoint(reader, *rank), specs, memory, streams);
    if (loaded.ok()) {
      Restored restored;
      restored.step = reader.manifest().step;
      restored.name = reader.name();
      list();
      restored.skipped = std::move(passed_over.all);
      return std::optional<Restored>(std::move(restored));
    }
    if (!is_about_the_bytes(loaded)) return loaded;
    passed_over.touched = true;
    const std::string last = reader.name() + ": " + loaded.message();
    if (Status next = chooser->next(loaded.message()); !next.ok()) {
      list();
      return Status(Code::corrupt, "no checkpoint could be read whole, the last one tried was " + last);
    }
  }
}

namespace {

// No daemon, or no memory: that ends a snapshot and not the training.
Ticket not_taken(std::int64_t step, const Status& why) {
  auto impl = std::make_shared<Ticket::Impl>();
  impl->snapshot.progress = std::make_shared<capture::Progress>(step, 0);
  if (why.code() == Code::busy) {
    impl->snapshot.progress->end(SnapshotState::skipped, why.code(), why.message());
  } else {
    impl->snapshot.progress->end(SnapshotState::failed, why.code(),
                                 "snapshot of step " + std::to_string(step) + " was not taken: " + why.message());
  }
  return Ticket(std::move(impl));
}

}  // namespace

Status Checkpointer::prepare() {
  if (impl_->plan) return {};
  const auto deadline = base::Deadline::after_ms(impl_->options.connect_deadline_ms + impl_->options.fence_deadline_ms);
  SF_ASSIGN(impl_->plan, impl_->core->make_plan(impl_->specs, deadline));
  return {};
}

Result<Ticket> Checkpointer::snapshot(std::int64_t step, bool wait) {
  const bool waits = wait || impl_->options.overrun == Overrun::wait || impl_->options.world_size > 1;
  if (impl_->plan == nullptr && !waits) {
    const auto soon = base::Deadline::after_ms(std::exchange(impl_->reserved_soon_ms, 0));
    if (const Status reserved = impl_->core->reserved(step, soon); !reserved.ok()) return not_taken(step, reserved);
  }
  if (Status prepared = prepare(); !prepared.ok()) {
    if (prepared.code() == Code::invalid_argument) return prepared;
    return not_taken(step, prepared);
  }
  client::SnapshotRequest request;
  request.step = step;
  request.wait = wait;
  request.data.assign(impl_->memory.begin(), impl_->memory.end());
  request.streams = impl_->streams;
  if (impl_->newest) request.unchanged_since = impl_->newest->snapshot;  // a fence would have come first
  auto impl = std::make_shared<Ticket::Impl>();
  impl->snapshot = impl_->core->snapshot(impl_->plan, std::move(request));
  if (impl->snapshot.handle.snapshot_id != 0) impl_->newest = impl;
  return Ticket(std::move(impl));
}

Status Checkpointer::fence() { return impl_->core->fence(0, impl_->streams); }

Status Checkpointer::close(std::uint64_t deadline_ms) {
  return impl_->core->close(base::Deadline::after_ms(deadline_ms));
}

}  // namespace stillframe
