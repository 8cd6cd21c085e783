// Streams and events: work in order, run by one thread for each stream. The lock is held wherever a function does not
// say otherwise.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fake_cuda/state.hpp"

namespace stillframe::fake_cuda {

using Time = std::chrono::steady_clock::time_point;

// Reached when `stream` has done its operations up to `number`.
struct Point {
  std::shared_ptr<Stream> stream;
  std::uint64_t number = 0;
  [[nodiscard]] bool reached() const;
};

// What a call gives to a stream.
struct Work {
  std::vector<Access> accesses;
  std::optional<Point> after;
  VectorClock after_clock;
  std::function<void(Stream&)> run;  // without the lock; empty: nothing but a place in the order
  cuda::CUresult fault = cuda::kSuccess;
};

struct Operation {
  std::uint64_t number = 0;
  std::vector<Point> after;
  Time due;  // not before, unless something waits for it
  std::function<void(Stream&)> run;
  cuda::CUresult fault = cuda::kSuccess;
  bool hangs = false;
};

enum class StreamKind { created, created_non_blocking, legacy, per_thread };

struct Stream {
  Stream(Context* of, StreamKind what, Entity as) : context(of), kind(what), entity(as) {}

  // Ordered with the legacy default stream.
  [[nodiscard]] bool blocking() const { return kind != StreamKind::created_non_blocking; }
  [[nodiscard]] bool done_up_to(std::uint64_t number) const { return done >= number; }

  Context* const context;
  const StreamKind kind;
  const Entity entity;

  std::deque<Operation> queue;
  std::uint64_t given = 0;
  std::uint64_t done = 0;
  std::uint64_t wanted = 0;  // something waits for the operations up to this one
  VectorClock clock;         // of the operation given last
  bool hangs = false;
  bool closing = false;                // ends when its queue is empty
  std::atomic<bool> abandoned{false};  // ends at once
  bool ended = false;
  std::condition_variable wake;
  std::vector<std::weak_ptr<Stream>> to_wake;  // streams that wait for this one

  std::shared_ptr<Capture> capture;  // null when it is not capturing
  VectorClock captured;              // its place in the capture: how many operations of each member come before
};

struct EventRecord {
  Point point;
  VectorClock clock;
  std::shared_ptr<Capture> capture;  // recorded in this capture: nothing will ever be reached
  VectorClock captured;
};

struct Event {
  Context* context = nullptr;
  std::optional<EventRecord> record;  // of the last cuEventRecord
};

[[nodiscard]] std::shared_ptr<Stream> make_stream(World& world, Context* context, StreamKind kind);
void close_stream(Stream& stream);
// Every stream of the context that work may be given to.
[[nodiscard]] std::vector<std::shared_ptr<Stream>> streams_of(const World& world, const Context* context);

// The stream behind a handle, for a call that names it (0, 1: legacy; 2: the thread's). Null, and a refusal, when it is
// none, or not of the current context.
[[nodiscard]] std::shared_ptr<Stream> find_stream(const Call& call, cuda::CUstream handle, cuda::CUresult& refusal);
// The same for a call that gives work: refused as well where a capture stands in the way.
[[nodiscard]] std::shared_ptr<Stream> stream_for_work(const Call& call, cuda::CUstream handle, cuda::CUresult& refusal);
[[nodiscard]] std::shared_ptr<Event> find_event(const World& world, cuda::CUevent handle);

// Gives the work to the stream, which must not be capturing; its accesses are checked now.
Point give(Call& call, const std::shared_ptr<Stream>& stream, Work work);

void want(const Point& point);
// The host waits: until then, or until the context has a fault, which is the result.
[[nodiscard]] cuda::CUresult wait_for(Call& call, const Point& point);
// The host has learned that what `clock` says has happened.
void host_learns(Call& call, const VectorClock& clock);

// Without the lock: waits until then. False when the stream was abandoned meanwhile.
[[nodiscard]] bool pause_until(const Stream& stream, Time when);
// Stops every worker where it is and joins it. Without the lock.
void stop_workers(std::vector<std::pair<std::shared_ptr<Stream>, std::thread>> workers);

}  // namespace stillframe::fake_cuda
