// Stream capture: what may not be called meanwhile, and which streams belong to one capture. The lock is held
// throughout.
#pragma once

#include <cstdint>
#include <memory>
#include <set>

#include "fake_cuda/state.hpp"

namespace stillframe::fake_cuda {

struct Capture {
  int mode = cuda::kCaptureModeGlobal;
  std::uint64_t thread = 0;  // ThreadState::id of the one that began it
  std::weak_ptr<Stream> origin;
  bool invalidated = false;
  std::set<std::shared_ptr<Stream>> members;  // the origin, and streams that waited for an event of the capture
};

// Refuses a call that is unsafe while the thread's mode counts a capture, and invalidates that capture.
[[nodiscard]] cuda::CUresult refuse_while_capturing(World& world, const ThreadState& thread);
// The legacy default stream waits for every blocking stream, which a capturing one cannot be waited for.
[[nodiscard]] std::shared_ptr<Capture> capture_in_way_of_legacy(const World& world, const Context* context);

[[nodiscard]] cuda::CUresult begin_capture(World& world, const ThreadState& thread,
                                           const std::shared_ptr<Stream>& stream, int mode);
// Ends the capture whatever the result is, but for one that is not this thread's or not this stream's to end.
[[nodiscard]] cuda::CUresult end_capture(World& world, const ThreadState& thread,
                                         const std::shared_ptr<Stream>& stream);
// One operation, recorded in place of being run.
void capture_operation(World& world, Stream& stream);
// The stream waits for an event: draws it into the event's capture, or refuses.
[[nodiscard]] cuda::CUresult capture_wait(World& world, const std::shared_ptr<Stream>& stream, const Event& event);
void invalidate(Capture& capture);

}  // namespace stillframe::fake_cuda
