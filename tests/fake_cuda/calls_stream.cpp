// Streams, events, capture.
#include <utility>

#include "fake_cuda/calls.hpp"
#include "fake_cuda/capture.hpp"
#include "fake_cuda/streams.hpp"

namespace stillframe::fake_cuda::driver {
namespace {

// A stream, or an event, whose work will never run cannot be asked or waited for, in whatever mode the thread is.
CUresult refuse_capturing(const Stream& stream) {
  if (!stream.capture) return cuda::kSuccess;
  invalidate(*stream.capture);
  return cuda::kErrorStreamCaptureUnsupported;
}

CUresult refuse_captured(const Event& event) {
  if (!event.record || !event.record->capture) return cuda::kSuccess;
  invalidate(*event.record->capture);
  return kErrorCapturedEvent;
}

// What a host wait for the stream covers: its own work, and for the legacy one that of every blocking stream.
std::vector<std::shared_ptr<Stream>> covered_by(const World& world, const std::shared_ptr<Stream>& stream) {
  if (stream->kind != StreamKind::legacy) return {stream};
  std::vector<std::shared_ptr<Stream>> covered = streams_of(world, stream->context);
  std::erase_if(covered, [](const auto& other) { return !other->blocking(); });
  return covered;
}

struct StreamPoint {
  Point point;
  VectorClock clock;
};
std::vector<StreamPoint> points_now(const World& world, const std::shared_ptr<Stream>& stream) {
  std::vector<StreamPoint> points;
  for (const auto& covered : covered_by(world, stream)) points.push_back({{covered, covered->given}, covered->clock});
  return points;
}

}  // namespace

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
  Call call("cuStreamCreate");
  if (call.refused()) return call.refusal();
  if (stream == nullptr || flags > cuda::kStreamNonBlocking) return cuda::kErrorInvalidValue;
  const bool blocking = flags != cuda::kStreamNonBlocking;
  const std::uintptr_t handle = call.world.next_handle += sizeof(void*);
  call.world.streams.emplace(
      handle, make_stream(call.world, call.context, blocking ? StreamKind::created : StreamKind::created_non_blocking));
  *stream = reinterpret_cast<CUstream>(handle);
  return cuda::kSuccess;
}

CUresult cuStreamDestroy(CUstream stream) {
  Call call("cuStreamDestroy");
  if (call.refused()) return call.refusal();
  const auto found = call.world.streams.find(reinterpret_cast<std::uintptr_t>(stream));
  if (found == call.world.streams.end() || found->second->context != call.context) return kErrorInvalidHandle;
  close_stream(*found->second);
  call.world.streams.erase(found);
  return cuda::kSuccess;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  Call call("cuStreamWaitEvent");
  if (call.refused()) return call.refusal();
  if (flags != 0) return cuda::kErrorInvalidValue;
  const auto known = find_event(call.world, event);
  if (!known) return kErrorInvalidHandle;
  CUresult refusal = cuda::kSuccess;
  const auto on = stream_for_work(call, stream, refusal);
  if (!on) return refusal;
  if (on->capture || (known->record && known->record->capture)) return capture_wait(call.world, on, *known);
  if (!known->record) return cuda::kSuccess;
  Work work;
  work.after = known->record->point;
  work.after_clock = known->record->clock;
  give(call, on, std::move(work));
  return cuda::kSuccess;
}

CUresult cuStreamSynchronize(CUstream stream) {
  Call call("cuStreamSynchronize", Needs::context, WhileCapturing::unsafe);
  if (call.refused()) return call.refusal();
  CUresult refusal = cuda::kSuccess;
  const auto on = find_stream(call, stream, refusal);
  if (!on) return refusal;
  if (const CUresult capturing = refuse_capturing(*on); capturing != cuda::kSuccess) return capturing;
  for (const StreamPoint& covered : points_now(call.world, on)) {
    if (const CUresult fault = wait_for(call, covered.point); fault != cuda::kSuccess) return fault;
    host_learns(call, covered.clock);
  }
  return cuda::kSuccess;
}

CUresult cuStreamQuery(CUstream stream) {
  Call call("cuStreamQuery", Needs::context, WhileCapturing::unsafe);
  if (call.refused()) return call.refusal();
  CUresult refusal = cuda::kSuccess;
  const auto on = find_stream(call, stream, refusal);
  if (!on) return refusal;
  if (const CUresult capturing = refuse_capturing(*on); capturing != cuda::kSuccess) return capturing;
  const std::vector<StreamPoint> points = points_now(call.world, on);
  bool all_reached = true;
  for (const StreamPoint& covered : points) {
    want(covered.point);
    all_reached = all_reached && covered.point.reached();
  }
  if (!all_reached) return cuda::kErrorNotReady;
  for (const StreamPoint& covered : points) host_learns(call, covered.clock);
  return cuda::kSuccess;
}

CUresult cuStreamIsCapturing(CUstream stream, int* status) {
  Call call("cuStreamIsCapturing");
  if (call.refused()) return call.refusal();
  CUresult refusal = cuda::kSuccess;
  const auto on = find_stream(call, stream, refusal);
  if (!on) return refusal;
  if (on->kind == StreamKind::legacy && capture_in_way_of_legacy(call.world, call.context)) {
    return cuda::kErrorStreamCaptureImplicit;
  }
  *status = !on->capture               ? cuda::kCaptureNone
            : on->capture->invalidated ? cuda::kCaptureInvalidated
                                       : cuda::kCaptureActive;
  return cuda::kSuccess;
}

CUresult cuThreadExchangeStreamCaptureMode(int* mode) {
  Call call("cuThreadExchangeStreamCaptureMode", Needs::initialised);
  if (call.refused()) return call.refusal();
  if (mode == nullptr || *mode < cuda::kCaptureModeGlobal || *mode > cuda::kCaptureModeRelaxed) {
    return cuda::kErrorInvalidValue;
  }
  std::swap(call.thread.capture_mode, *mode);
  return cuda::kSuccess;
}

CUresult cuStreamBeginCapture(CUstream stream, int mode) {
  Call call("cuStreamBeginCapture");
  if (call.refused()) return call.refusal();
  CUresult refusal = cuda::kSuccess;
  const auto on = find_stream(call, stream, refusal);
  return on ? begin_capture(call.world, call.thread, on, mode) : refusal;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  Call call("cuStreamEndCapture");
  if (call.refused()) return call.refusal();
  if (graph == nullptr) return cuda::kErrorInvalidValue;
  *graph = nullptr;
  CUresult result = cuda::kSuccess;
  const auto on = find_stream(call, stream, result);
  if (on) result = end_capture(call.world, call.thread, on);
  if (result == cuda::kSuccess) *graph = reinterpret_cast<CUgraph>(call.world.next_handle += sizeof(void*));
  return result;
}

CUresult cuEventCreate(CUevent* event, unsigned flags) {
  Call call("cuEventCreate");
  if (call.refused()) return call.refusal();
  constexpr unsigned kKnownFlags = 7;  // blocking sync, no timing, inter-process
  if (event == nullptr || flags > kKnownFlags) return cuda::kErrorInvalidValue;
  const std::uintptr_t handle = call.world.next_handle += sizeof(void*);
  call.world.events.emplace(handle, std::make_shared<Event>(Event{call.context, std::nullopt}));
  *event = reinterpret_cast<CUevent>(handle);
  return cuda::kSuccess;
}

CUresult cuEventDestroy(CUevent event) {
  Call call("cuEventDestroy");
  if (call.refused()) return call.refusal();
  return call.world.events.erase(reinterpret_cast<std::uintptr_t>(event)) == 1 ? cuda::kSuccess : kErrorInvalidHandle;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  Call call("cuEventRecord");
  if (call.refused()) return call.refusal();
  const auto known = find_event(call.world, event);
  if (!known || known->context != call.context) return kErrorInvalidHandle;
  CUresult refusal = cuda::kSuccess;
  const auto on = stream_for_work(call, stream, refusal);
  if (!on) return refusal;
  if (on->capture) {
    capture_operation(call.world, *on);
    known->record = EventRecord{{}, {}, on->capture, on->captured};
    return cuda::kSuccess;
  }
  const Point point = give(call, on, {});
  known->record = EventRecord{point, on->clock, nullptr, {}};
  return cuda::kSuccess;
}

CUresult cuEventQuery(CUevent event) {
  Call call("cuEventQuery", Needs::context, WhileCapturing::unsafe);
  if (call.refused()) return call.refusal();
  const auto known = find_event(call.world, event);
  if (!known) return kErrorInvalidHandle;
  if (const CUresult captured = refuse_captured(*known); captured != cuda::kSuccess) return captured;
  if (known->context->fault != cuda::kSuccess) return known->context->fault;
  if (!known->record) return cuda::kSuccess;
  if (!known->record->point.reached()) {
    want(known->record->point);
    return cuda::kErrorNotReady;
  }
  host_learns(call, known->record->clock);
  return cuda::kSuccess;
}

CUresult cuEventSynchronize(CUevent event) {
  Call call("cuEventSynchronize", Needs::context, WhileCapturing::unsafe);
  if (call.refused()) return call.refusal();
  const auto known = find_event(call.world, event);
  if (!known) return kErrorInvalidHandle;
  if (const CUresult captured = refuse_captured(*known); captured != cuda::kSuccess) return captured;
  if (!known->record) return cuda::kSuccess;
  const EventRecord record = *known->record;
  if (const CUresult fault = wait_for(call, record.point); fault != cuda::kSuccess) return fault;
  host_learns(call, record.clock);
  return cuda::kSuccess;
}

}  // namespace stillframe::fake_cuda::driver
