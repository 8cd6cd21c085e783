// Where a daemon serves: the lock beside its socket, and the socket. Both are files that others may remove under a
// living daemon: cleaners of temporary files, a logout.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/env.hpp"
#include "transport/transport.hpp"

namespace stillframe::daemon {

class ServedPath {
 public:
  // busy, naming the process, when another instance serves there. `path` is absolute; its directory must exist.
  [[nodiscard]] static Result<ServedPath> take(const std::string& path, transport::Reach reach);

  enum class Found {
    in_place,
    bound_again,  // the file was gone: a new one leads here. listener() is another than before
    taken,        // another process listens at the path: nobody finds this one any more
    not_bound,    // the file is gone and could not be made again; the next look tries it again
  };
  struct Look {
    Found found = Found::in_place;
    bool locked_again = false;                   // the lock's file was gone and is held anew
    std::vector<transport::Connection> waiting;  // bound_again: who had connected before and was not yet accepted
    Status why;                                  // taken, not_bound
  };
  // Looks at both files, and makes again what is missing. Waits for nobody but, for a moment, for a stranger at the
  // path.
  [[nodiscard]] Look look();

  [[nodiscard]] const transport::Listener& listener() const { return *listener_; }
  // Nobody comes any more; the lock stays, so that the next daemon begins when this one has ended.
  void stop_listening() { listener_.reset(); }

 private:
  ServedPath(std::string path, transport::Reach reach, std::unique_ptr<env::Lock> lock, transport::Listener listener);
  [[nodiscard]] bool lock_again();

  std::string path_;
  transport::Reach reach_;
  std::unique_ptr<env::Lock> lock_;
  std::optional<transport::Listener> listener_;
};

}  // namespace stillframe::daemon
