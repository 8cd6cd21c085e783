#include "fake_cuda/streams.hpp"

#include <algorithm>

#include "fake_cuda/capture.hpp"
#include "fake_cuda/worker.hpp"

namespace stillframe::fake_cuda {
namespace {

Time due_time(World& world) {
  const Time now = std::chrono::steady_clock::now();
  switch (world.config.schedule) {
    case Schedule::eager:
      return now;
    case Schedule::adversarial: {
      const std::uint64_t delay_us = world.config.delay_ms * 1000;
      return now + std::chrono::microseconds(delay_us / 2 + world.dice() % (delay_us + 1));
    }
    case Schedule::lazy:
      return Time::max();
  }
  return now;
}

// The legacy default stream and the blocking streams of its context wait for each other's work so far.
std::vector<Point> implicit_order(const World& world, Stream& stream) {
  std::vector<Point> points;
  if (!stream.blocking()) return points;
  for (const auto& other : streams_of(world, stream.context)) {
    if (other.get() == &stream || !other->blocking()) continue;
    if (stream.kind != StreamKind::legacy && other->kind != StreamKind::legacy) continue;
    stream.clock.join(other->clock);
    if (!other->done_up_to(other->given)) points.push_back({other, other->given});
  }
  return points;
}

std::shared_ptr<Stream>& default_stream(const Call& call, bool legacy) {
  std::shared_ptr<Stream>& stream = legacy ? call.context->legacy_stream : call.thread.default_streams[call.context];
  if (!stream || stream->closing) {  // closing: its context was released and retained again
    stream = make_stream(call.world, call.context, legacy ? StreamKind::legacy : StreamKind::per_thread);
  }
  return stream;
}

}  // namespace

bool Point::reached() const { return stream->done_up_to(number); }

std::shared_ptr<Stream> make_stream(World& world, Context* context, StreamKind kind) {
  auto stream = std::make_shared<Stream>(context, kind, new_entity(world));
  start_worker(world, stream);
  return stream;
}

void close_stream(Stream& stream) {
  stream.closing = true;
  stream.wanted = stream.given;
  if (stream.capture) invalidate(*stream.capture);
  stream.wake.notify_all();
}

std::vector<std::shared_ptr<Stream>> streams_of(const World& world, const Context* context) {
  std::vector<std::shared_ptr<Stream>> streams;
  for (const auto& [stream, thread] : world.workers) {
    if (stream->context == context && !stream->ended) streams.push_back(stream);
  }
  return streams;
}

std::shared_ptr<Stream> find_stream(const Call& call, cuda::CUstream handle, cuda::CUresult& refusal) {
  const auto value = reinterpret_cast<std::uintptr_t>(handle);
  if (value == 0 || value == cuda::kStreamLegacy) return default_stream(call, true);
  if (value == cuda::kStreamPerThread) return default_stream(call, false);
  const auto found = call.world.streams.find(value);
  if (found == call.world.streams.end() || found->second->context != call.context) {
    refusal = kErrorInvalidHandle;
    return nullptr;
  }
  return found->second;
}

std::shared_ptr<Stream> stream_for_work(const Call& call, cuda::CUstream handle, cuda::CUresult& refusal) {
  std::shared_ptr<Stream> stream = find_stream(call, handle, refusal);
  if (!stream) return nullptr;
  if (stream->capture && stream->capture->invalidated) {
    refusal = cuda::kErrorStreamCaptureInvalidated;
    return nullptr;
  }
  if (stream->kind == StreamKind::legacy) {
    if (const auto capture = capture_in_way_of_legacy(call.world, call.context)) {
      invalidate(*capture);
      refusal = cuda::kErrorStreamCaptureImplicit;
      return nullptr;
    }
  }
  return stream;
}

std::shared_ptr<Event> find_event(const World& world, cuda::CUevent handle) {
  const auto found = world.events.find(reinterpret_cast<std::uintptr_t>(handle));
  return found == world.events.end() ? nullptr : found->second;
}

Point give(Call& call, const std::shared_ptr<Stream>& stream, Work work) {
  World& world = call.world;
  VectorClock& host = host_clock(world, call.thread);
  Operation operation;
  operation.after = implicit_order(world, *stream);
  if (work.after) {
    operation.after.push_back(*work.after);
    stream->clock.join(work.after_clock);
  }
  operation.number = ++stream->given;
  stream->clock.join(host);
  stream->clock.raise(stream->entity, operation.number);
  for (const Access& access : work.accesses) {
    note_access(world, access, {stream->entity, operation.number, call.name}, stream->clock);
  }
  host.raise(call.thread.host_entity, host.at(call.thread.host_entity) + 1);

  const auto [fault, hangs] = call.take_effect();
  operation.due = due_time(world);
  operation.run = std::move(work.run);
  operation.fault = fault != cuda::kSuccess ? fault : work.fault;
  operation.hangs = hangs;
  const Point point{stream, operation.number};
  stream->queue.push_back(std::move(operation));
  stream->wake.notify_all();
  return point;
}

void want(const Point& point) {
  if (point.stream->wanted >= point.number) return;
  point.stream->wanted = point.number;
  point.stream->wake.notify_all();
}

cuda::CUresult wait_for(Call& call, const Point& point) {
  want(point);
  Context* const context = point.stream->context;
  ++call.state.host_waiters;
  call.state.progress.wait(call.lock, [&] { return point.reached() || context->fault != cuda::kSuccess; });
  --call.state.host_waiters;
  return context->fault;
}

void host_learns(Call& call, const VectorClock& clock) { host_clock(call.world, call.thread).join(clock); }

}  // namespace stillframe::fake_cuda
