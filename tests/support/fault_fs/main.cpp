// fault_fs <directory>: a file system in memory that hangs, fails and forgets as it is told on its standard input
// (faults.hpp), one line each, answered by "ok" on its standard output. Speaks to /dev/fuse itself and needs to be root. It
// is unmounted and gone as soon as its standard input ends.
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>

#include "support/fault_fs/server.hpp"

namespace {

using namespace stillframe;

int refused(const std::string& doing) {
  std::cerr << "fault_fs: cannot " << doing << ": " << std::strerror(errno) << std::endl;
  return 1;
}

// The lines that have come; false when no more will.
bool read_lines(std::string& text) {
  char buffer[512];
  const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
  if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
  return got > 0 || (got < 0 && errno == EINTR);
}

void serve(test::Server& server) {
  std::string text;
  bool asked_for_held = false;
  for (;;) {
    pollfd waiting[2]{{server.native_handle(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    if (::poll(waiting, 2, -1) < 0 && errno != EINTR) return;
    if (waiting[0].revents != 0 && !server.serve()) return;
    if (waiting[1].revents != 0 && !read_lines(text)) return;
    for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
      const std::string line = text.substr(0, end);
      text.erase(0, end + 1);
      if (line == "quit") return;
      if (line == "held") {
        asked_for_held = true;
      } else {
        std::cout << server.take(line) << std::endl;
      }
    }
    if (asked_for_held && server.holds_any()) {
      asked_for_held = false;
      std::cout << "ok" << std::endl;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fault_fs DIRECTORY\n";
    return 2;
  }
  // Ended with the tests' whole process group it would leave a dead mount behind; the end of the input comes in any case.
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) std::signal(signal, SIG_IGN);
  base::UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!device.valid()) return refused("open /dev/fuse");
  const std::string options = "fd=" + std::to_string(device.get()) + ",rootmode=40755,user_id=0,group_id=0,allow_other";
  if (::mount("fault_fs", argv[1], "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0) return refused("mount a FUSE file system");
  test::Server server(std::move(device));
  std::cout << "ok" << std::endl;
  serve(server);
  // Who still waits is let go by the end of this process, which closes the device.
  if (::umount2(argv[1], MNT_DETACH) != 0) return refused("unmount");
  return 0;
}
