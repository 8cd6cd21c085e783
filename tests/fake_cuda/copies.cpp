#include "fake_cuda/copies.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "fake_cuda/capture.hpp"
#include "fake_cuda/memory.hpp"

namespace stillframe::fake_cuda {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
// A thread wakes a little late. An engine that was free for less than this was late, not idle, and makes up for it.
constexpr std::chrono::milliseconds kCatchUp{1};

struct Copy {
  CopyRequest request;
  Place to;
  Place from;
  Direction direction = Direction::device_to_device;
  std::shared_ptr<std::vector<std::byte>> staged;  // of a pageable source
};

std::uint64_t bytes_per_s(const Config& config, Direction direction) {
  switch (direction) {
    case Direction::device_to_host:
      return config.device_to_host_bytes_per_s;
    case Direction::host_to_device:
      return config.host_to_device_bytes_per_s;
    case Direction::device_to_device:
      return config.device_to_device_bytes_per_s;
  }
  return 0;
}

std::chrono::nanoseconds time_of(std::size_t bytes, std::uint64_t rate_bytes_per_s) {
  if (rate_bytes_per_s == 0) return {};
  constexpr double kNanosecondsPerSecond = 1e9;
  const double seconds = static_cast<double>(bytes) / static_cast<double>(rate_bytes_per_s);
  return std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * kNanosecondsPerSecond));
}

struct Pace {
  Time first_byte;
  std::uint64_t rate_bytes_per_s = 0;
};

// A device has one engine for each direction, which takes one copy after the other. Null: copies take no time of their
// own.
std::optional<Pace> reserve_engine(const Stream& stream, World& world, const Copy& copy) {
  const std::uint64_t rate = bytes_per_s(world.config, copy.direction);
  if (rate == 0 && world.config.latency_us == 0) return std::nullopt;
  const std::unique_lock lock(state().mutex);
  Time& free_at =
      world.engines_free_at[static_cast<std::size_t>(stream.context->device)][static_cast<std::size_t>(copy.direction)];
  const Time now = std::chrono::steady_clock::now();
  const Time start = now - free_at < kCatchUp ? free_at : now;
  const Time first_byte = start + std::chrono::microseconds(world.config.latency_us);
  free_at = first_byte + time_of(copy.request.bytes, rate);
  return Pace{first_byte, rate};
}

struct Share {
  std::size_t bytes = 0;
  bool process_dies = false;  // behind them
};

// What die_after_dtoh_bytes() lets come of a piece.
Share share_before_death(World& world, Direction direction, std::size_t bytes) {
  if (direction != Direction::device_to_host) return {bytes, false};
  const std::unique_lock lock(state().mutex);
  std::optional<std::uint64_t>& left = world.dtoh_bytes_to_death;
  if (!left) return {bytes, false};
  const std::size_t share = std::min<std::uint64_t>(bytes, *left);
  *left -= share;
  return {share, *left == 0};
}

// Each piece comes when the engine is through with it. A copy that is cut short by a reset leaves the rest as it was.
void run_copy(const Stream& stream, World& world, const Copy& copy) {
  const std::optional<Pace> pace = reserve_engine(stream, world, copy);
  const std::byte* const from = copy.staged ? copy.staged->data() : copy.from.data;
  for (std::size_t at = 0; at < copy.request.bytes && !stream.abandoned; at += kPieceBytes) {
    const std::size_t piece = std::min(kPieceBytes, copy.request.bytes - at);
    if (pace && !pause_until(stream, pace->first_byte + time_of(at + piece, pace->rate_bytes_per_s))) return;
    const Share share = share_before_death(world, copy.direction, piece);
    std::memmove(copy.to.data + at, from + at, share.bytes);
    if (share.process_dies) ::kill(::getpid(), SIGKILL);
  }
}

std::optional<Copy> resolve(const Call& call, const CopyRequest& request, std::optional<Direction> wanted) {
  using Kind = Place::Kind;
  Copy copy{request,
            place_of(call.world, call.context, request.to, request.bytes),
            place_of(call.world, call.context, request.from, request.bytes),
            {},
            nullptr};
  if (copy.to.kind == Kind::none || copy.from.kind == Kind::none) return std::nullopt;
  const bool to_device = copy.to.kind == Kind::device;
  const bool from_device = copy.from.kind == Kind::device;
  if (!to_device && !from_device) return std::nullopt;
  copy.direction = !to_device    ? Direction::device_to_host
                   : from_device ? Direction::device_to_device
                                 : Direction::host_to_device;
  if (wanted && *wanted != copy.direction) return std::nullopt;
  return copy;
}

// Registered memory that nothing under way still reads or writes, which the detector of races knows.
void poison_target(const World& world, const Copy& copy) {
  const Config& config = world.config;
  if (!config.poison || config.races == RacePolicy::off || copy.to.kind != Place::Kind::registered) return;
  const ByteRange range{copy.request.to, copy.request.to + copy.request.bytes};
  if (!world.detector.all(range, [&](const Moment& moment) { return world.done[moment.entity] >= moment.time; }))
    return;
  std::memset(copy.to.data, std::to_integer<int>(kPoison), copy.request.bytes);
}

// Copies of one batch have no order among themselves: what one of them writes, no other may touch.
bool one_spoils_another(const std::vector<Access>& accesses) {
  std::vector<Access> sorted = accesses;
  std::sort(sorted.begin(), sorted.end(), [](const Access& a, const Access& b) { return a.address < b.address; });
  cuda::CUdeviceptr read_up_to = 0;
  cuda::CUdeviceptr written_up_to = 0;
  for (const Access& access : sorted) {
    if (access.address < written_up_to || (access.writes && access.address < read_up_to)) return true;
    cuda::CUdeviceptr& reached = access.writes ? written_up_to : read_up_to;
    reached = std::max(reached, access.address + access.bytes);
  }
  return false;
}

void stage(Copy& copy) {
  if (copy.from.kind != Place::Kind::pageable) return;
  copy.staged = std::make_shared<std::vector<std::byte>>(copy.from.data, copy.from.data + copy.request.bytes);
}

std::vector<Access> accesses_of(const std::vector<Copy>& copies) {
  std::vector<Access> accesses;
  for (const Copy& copy : copies) {
    // The pageable side is read before the call returns, or written before it does.
    if (copy.from.kind != Place::Kind::pageable) accesses.push_back({copy.request.from, copy.request.bytes, false});
    if (copy.to.kind != Place::Kind::pageable) accesses.push_back({copy.request.to, copy.request.bytes, true});
  }
  return accesses;
}

std::vector<Arrival> arrivals_of(const std::vector<Copy>& copies) {
  std::vector<Arrival> arrivals;
  for (const Copy& copy : copies) {
    if (copy.direction != Direction::host_to_device) continue;
    arrivals.push_back({copy.request, copy.staged ? copy.staged->data() : copy.from.data, copy.staged, {}});
  }
  return arrivals;
}

// Those that have run are forgotten where they stand first.
void note_arrivals(World& world, std::vector<Arrival> arrivals, const Point& point) {
  while (!world.arrivals.empty() && world.arrivals.front().point.reached()) world.arrivals.pop_front();
  for (Arrival& arrival : arrivals) {
    arrival.point = point;
    world.arrivals.push_back(std::move(arrival));
  }
}

cuda::CUresult give_resolved(Call& call, const std::shared_ptr<Stream>& stream, std::vector<Copy> copies) {
  World& world = call.world;
  Work work;
  work.accesses = accesses_of(copies);
  if (copies.size() > 1 && world.config.races != RacePolicy::off && one_spoils_another(work.accesses)) {
    report_race(world, std::string(call.name) + ": one copy of the batch touches what another one writes");
  }
  bool host_waits = false;
  for (Copy& copy : copies) {
    stage(copy);
    poison_target(world, copy);
    host_waits = host_waits || copy.to.kind == Place::Kind::pageable;
  }
  std::vector<Arrival> arrivals = arrivals_of(copies);
  std::shuffle(copies.begin(), copies.end(), world.dice);
  work.run = [&world, copies = std::move(copies)](Stream& on) {
    for (const Copy& copy : copies) run_copy(on, world, copy);
  };
  const Point point = give(call, stream, std::move(work));
  note_arrivals(world, std::move(arrivals), point);
  if (!host_waits) return cuda::kSuccess;
  const VectorClock clock = stream->clock;
  const cuda::CUresult result = wait_for(call, point);
  host_learns(call, clock);
  return result;
}

}  // namespace

const std::byte* arriving(const World& world, cuda::CUdeviceptr address, std::size_t bytes) {
  const auto covers = [&](const Arrival& one) {
    return !one.point.reached() && one.request.to <= address && address + bytes <= one.request.to + one.request.bytes;
  };
  const auto newest = std::find_if(world.arrivals.rbegin(), world.arrivals.rend(), covers);
  return newest == world.arrivals.rend() ? nullptr : newest->from + (address - newest->request.to);
}

cuda::CUresult give_copies(Call& call, cuda::CUstream handle, const std::vector<CopyRequest>& requests,
                           std::optional<Direction> wanted, std::size_t& failed) {
  std::vector<Copy> copies;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].bytes == 0) continue;
    auto copy = resolve(call, requests[i], wanted);
    if (!copy) {
      failed = i;
      return cuda::kErrorInvalidValue;
    }
    copies.push_back(std::move(*copy));
  }
  cuda::CUresult refusal = cuda::kSuccess;
  const auto stream = stream_for_work(call, handle, refusal);
  if (!stream) return refusal;
  if (stream->capture) {
    for (std::size_t i = 0; i < copies.size(); ++i) capture_operation(call.world, *stream);
    return cuda::kSuccess;
  }
  return copies.empty() ? cuda::kSuccess : give_resolved(call, stream, std::move(copies));
}

}  // namespace stillframe::fake_cuda
