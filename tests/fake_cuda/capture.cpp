#include "fake_cuda/capture.hpp"

#include <algorithm>

#include "fake_cuda/streams.hpp"

namespace stillframe::fake_cuda {
namespace {

bool forbids(const Capture& capture, const ThreadState& thread) {
  const bool own = capture.thread == thread.id;
  switch (thread.capture_mode) {
    case cuda::kCaptureModeRelaxed:
      return false;
    case cuda::kCaptureModeThreadLocal:
      return own && capture.mode != cuda::kCaptureModeRelaxed;
    default:
      return own ? capture.mode != cuda::kCaptureModeRelaxed : capture.mode == cuda::kCaptureModeGlobal;
  }
}

bool all_joined(const Capture& capture, const Stream& origin) {
  return std::all_of(capture.members.begin(), capture.members.end(), [&](const std::shared_ptr<Stream>& member) {
    return origin.captured.at(member->entity) >= member->captured.at(member->entity);
  });
}

void join_capture(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Capture>& capture) {
  capture->members.insert(stream);
  stream->capture = capture;
  stream->captured = {};
}

}  // namespace

cuda::CUresult refuse_while_capturing(World& world, const ThreadState& thread) {
  bool refused = false;
  for (const auto& capture : world.captures) {
    if (!forbids(*capture, thread)) continue;
    invalidate(*capture);
    refused = true;
  }
  return refused ? cuda::kErrorStreamCaptureUnsupported : cuda::kSuccess;
}

std::shared_ptr<Capture> capture_in_way_of_legacy(const World& world, const Context* context) {
  for (const auto& capture : world.captures) {
    for (const auto& member : capture->members) {
      if (member->context == context && member->blocking()) return capture;
    }
  }
  return nullptr;
}

cuda::CUresult begin_capture(World& world, const ThreadState& thread, const std::shared_ptr<Stream>& stream, int mode) {
  if (mode < cuda::kCaptureModeGlobal || mode > cuda::kCaptureModeRelaxed) return cuda::kErrorInvalidValue;
  if (stream->kind == StreamKind::legacy) return cuda::kErrorStreamCaptureUnsupported;
  if (stream->capture) return cuda::kErrorInvalidValue;
  auto capture = std::make_shared<Capture>();
  capture->mode = mode;
  capture->thread = thread.id;
  capture->origin = stream;
  join_capture(stream, capture);
  world.captures.push_back(std::move(capture));
  return cuda::kSuccess;
}

cuda::CUresult end_capture(World& world, const ThreadState& thread, const std::shared_ptr<Stream>& stream) {
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return cuda::kErrorInvalidValue;
  if (capture->origin.lock() != stream) return kErrorStreamCaptureUnmatched;
  if (capture->mode != cuda::kCaptureModeRelaxed && capture->thread != thread.id) {
    return kErrorStreamCaptureWrongThread;
  }
  cuda::CUresult result = cuda::kSuccess;
  if (capture->invalidated) {
    result = cuda::kErrorStreamCaptureInvalidated;
  } else if (!all_joined(*capture, *stream)) {
    result = kErrorStreamCaptureUnjoined;
  }
  for (const auto& member : capture->members) member->capture.reset();
  capture->members.clear();
  std::erase(world.captures, capture);
  return result;
}

void capture_operation(World& world, Stream& stream) {
  stream.captured.raise(stream.entity, stream.captured.at(stream.entity) + 1);
  ++world.operations_captured;
}

cuda::CUresult capture_wait(World& world, const std::shared_ptr<Stream>& stream, const Event& event) {
  if (event.record && event.record->capture) {
    const std::shared_ptr<Capture> capture = event.record->capture;
    if (capture->members.empty()) return kErrorCapturedEvent;  // its capture has ended
    if (capture->invalidated) return cuda::kErrorStreamCaptureInvalidated;
    if (stream->capture && stream->capture != capture) {
      invalidate(*stream->capture);
      invalidate(*capture);
      return kErrorStreamCaptureMerge;
    }
    if (!stream->capture) join_capture(stream, capture);
    stream->captured.join(event.record->captured);
    capture_operation(world, *stream);
    return cuda::kSuccess;
  }
  invalidate(*stream->capture);
  return kErrorStreamCaptureIsolation;
}

void invalidate(Capture& capture) { capture.invalidated = true; }

}  // namespace stillframe::fake_cuda
