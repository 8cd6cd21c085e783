#include "stillframe/status.hpp"

namespace stillframe {

std::string_view code_name(Code code) noexcept {
  switch (code) {
    case Code::ok: return "ok";
    case Code::invalid_argument: return "invalid argument";
    case Code::not_found: return "not found";
    case Code::corrupt: return "corrupt";
    case Code::mismatch: return "mismatch";
    case Code::busy: return "busy";
    case Code::no_space: return "no space";
    case Code::io_error: return "I/O error";
    case Code::deadline: return "deadline";
    case Code::unavailable: return "unavailable";
    case Code::unsupported: return "unsupported";
    case Code::internal: return "internal";
  }
  return "unknown";
}

}  // namespace stillframe
