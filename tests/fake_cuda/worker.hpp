// The thread of a stream.
#pragma once

#include <memory>

#include "fake_cuda/streams.hpp"

namespace stillframe::fake_cuda {

// The lock is held. The thread takes no signals.
void start_worker(World& world, const std::shared_ptr<Stream>& stream);

}  // namespace stillframe::fake_cuda
