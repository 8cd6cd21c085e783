// Shared by the files that implement stillframe.h: the thread's last error, and the guard against exceptions and forks.
#pragma once

#include <exception>
#include <memory>
#include <new>
#include <string>

#include "stillframe/status.hpp"
#include "stillframe/stillframe.h"

namespace stillframe::client {
class Core;
}

namespace stillframe::client::abi {

// Keeps the message for sf_last_error() and gives the code.
[[nodiscard]] sf_code finish(const Status& status) noexcept;
[[nodiscard]] Status forked();
[[nodiscard]] std::shared_ptr<Core> core_of(sf_client* handle);

// Runs `body` (-> Status); nothing thrown by it or by the standard library leaves the C ABI.
template <typename Body>
[[nodiscard]] sf_code guarded(Body body) noexcept {
  try {
    return finish(body());
  } catch (const std::bad_alloc&) {
    return finish(Status(Code::no_space, "out of memory"));
  } catch (const std::exception& error) {
    return finish(Status(Code::internal, error.what()));
  }
}

}  // namespace stillframe::client::abi
