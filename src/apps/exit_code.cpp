#include "apps/exit_code.hpp"

#include <iostream>

#include "apps/table.hpp"

namespace stillframe::apps {

int exit_code(const Status& status) noexcept {
  switch (status.code()) {
    case Code::ok:
      return kExitOk;
    case Code::invalid_argument:
      return kExitUsage;
    case Code::not_found:
      return kExitNotFound;
    case Code::corrupt:
    case Code::mismatch:
      return kExitCorrupt;
    case Code::busy:
      return kExitBusy;
    case Code::unavailable:
      return kExitUnavailable;
    case Code::no_space:
    case Code::io_error:
    case Code::deadline:
    case Code::unsupported:
    case Code::internal:
      return kExitFailure;
  }
  return kExitFailure;
}

int report(std::string_view program, const Status& status) {
  if (!status.ok()) std::cerr << program << ": " << printable_lines(status.message()) << '\n';
  return exit_code(status);
}

}  // namespace stillframe::apps
