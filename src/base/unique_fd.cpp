#include "base/unique_fd.hpp"

#include <unistd.h>

namespace stillframe::base {

void UniqueFd::reset(int fd) noexcept {
  // Not retried after EINTR: Linux has released the descriptor by then, and another thread may own the number already.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

}  // namespace stillframe::base
