// A stream of the host device: a queue, and the thread that does what is in it.
#pragma once

#include <memory>
#include <string>

#include "device/copy_crew.hpp"
#include "device/device.hpp"

namespace stillframe::device {

// Copies that stand side by side in the queue and have nothing to do with each other are made at the same time, where
// the crew has helpers; each event is reached when what stands before it is done. no_space when the system refuses a
// thread.
[[nodiscard]] Result<std::unique_ptr<Stream>> start_host_stream(const std::string& name,
                                                                std::shared_ptr<CopyCrew> crew);

}  // namespace stillframe::device
