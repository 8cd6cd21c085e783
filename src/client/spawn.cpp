#include "client/spawn.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/checksum.hpp"
#include "base/futex.hpp"
#include "base/bytes.hpp"
#include "client/query.hpp"
#include "env/env.hpp"
#include "env/private_dir.hpp"

extern char** environ;

namespace stillframe::client {
namespace {

constexpr std::uint64_t kIdleExitSeconds = 30;
constexpr std::uint64_t kLockPollMs = 20;
constexpr std::size_t kMostErrorBytes = 4096;
constexpr int kExitBusy = 5;  // of stillframed, as its --help says: another instance holds the socket

void pause_ms(std::uint64_t ms) {
  const std::atomic<std::uint32_t> never{0};
  base::futex_wait(never, 0, base::Deadline::after_ms(ms));
}

// Directory of the shared object (or program) that holds this function.
std::string own_directory() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&own_directory), &info) == 0 || info.dli_fname == nullptr) return "";
  const auto real = env::posix_env().real_path(info.dli_fname);
  return env::parent_dir(real.ok() ? *real : std::string(info.dli_fname));
}

std::string find_daemon(const std::string& given) {
  if (!given.empty()) return given;
  const std::string own = own_directory();
  for (const std::string& candidate : {own + "/stillframed", own + "/../bin/stillframed", own + "/apps/stillframed"}) {
    const auto there = env::posix_env().exists(candidate);
    if (there.ok() && *there) return candidate;
  }
  return "stillframed";  // posix_spawnp looks on PATH
}

// posix_spawn's attributes and file actions, destroyed on every path.
struct SpawnSetup {
  posix_spawnattr_t attributes{};
  posix_spawn_file_actions_t actions{};
  SpawnSetup() {
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&actions);
  }
  ~SpawnSetup() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
};

// What the starter process writes to its standard error, up to a limit, until it ends.
std::string read_until_end(int fd, const base::Deadline& deadline) {
  std::string text;
  std::array<char, 512> buffer{};
  for (;;) {
    pollfd waiting{fd, POLLIN, 0};
    if (::poll(&waiting, 1, deadline.remaining_ms()) <= 0) return text;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    if (text.size() < kMostErrorBytes) text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The starter (--detach) ends with 0 once the daemon it left behind is ready.
Status run_starter(const std::vector<std::string>& arguments, const base::Deadline& deadline) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {Code::io_error, std::string("pipe refused: ") + std::strerror(errno)};
  const base::UniqueFd reader(ends[0]);
  base::UniqueFd writer(ends[1]);
  SpawnSetup setup;
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&setup.attributes, &none);
  posix_spawnattr_setsigdefault(&setup.attributes, &all);
  posix_spawnattr_setflags(&setup.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawn_file_actions_addopen(&setup.actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&setup.actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&setup.actions, writer.get(), 2);
  posix_spawn_file_actions_addclosefrom_np(&setup.actions, 3);

  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, argv[0], &setup.actions, &setup.attributes, argv.data(), environ);
  writer.reset();
  if (error != 0) {
    return {Code::unavailable, arguments[0] + " cannot be started: " + std::strerror(error) +
                                   "; install stillframed on PATH or name it with daemon_path"};
  }
  const std::string words = read_until_end(reader.get(), deadline);
  int wait_status = 0;
  pid_t reaped = 0;
  while ((reaped = ::waitpid(pid, &wait_status, WNOHANG)) == 0 && !deadline.expired()) pause_ms(kLockPollMs);
  if (reaped == 0) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &wait_status, 0);
    return {Code::unavailable, arguments[0] + " was not ready in time"};
  }
  if (reaped > 0 && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kExitBusy) {
    return {Code::busy, arguments[0] + " did not start: " + words};
  }
  if (reaped < 0 || !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) {
    return {Code::unavailable, arguments[0] + " did not start: " + (words.empty() ? std::string("no message") : words)};
  }
  return {};
}

}  // namespace

Result<std::string> default_socket_path(const std::string& store_real_path) {
  std::string directory;
  if (const char* runtime = std::getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime == '/') {
    directory = std::string(runtime) + "/stillframe";
  } else {
    const char* temporary = std::getenv("TMPDIR");
    directory = std::string(temporary != nullptr && *temporary == '/' ? temporary : "/tmp") + "/stillframe-" +
                std::to_string(::geteuid());
  }
  SF_TRY(env::make_private_dir(directory));
  const std::string hash = base::xxh128(base::as_bytes(store_real_path)).hex().substr(0, 16);
  std::string socket = directory + "/" + hash + ".sock";
  if (socket.size() > transport::kMaxSocketPathBytes) {
    return Status(Code::invalid_argument, "socket path " + socket + " is longer than a Unix socket allows (" +
                                              std::to_string(transport::kMaxSocketPathBytes) + " bytes); set XDG_RUNTIME_DIR "
                                              "or TMPDIR to a shorter path");
  }
  return socket;
}

Result<transport::Connection> connect_or_spawn(const SpawnOptions& options, const base::Deadline& deadline) {
  Result<transport::Connection> first = transport::connect(options.socket, deadline);
  if (first.ok()) return first;
  SF_ASSIGN(const std::string lock_path, env::resolve_directory_of(env::posix_env(), options.socket + ".start"));
  // One starter at a time; who waited finds the daemon of the other.
  std::unique_ptr<env::Lock> start_lock;
  while (start_lock == nullptr) {
    auto locked = env::posix_env().try_lock(lock_path, env::LockMode::exclusive);
    if (locked.ok()) {
      start_lock = std::move(locked).value();
    } else if (locked.status().code() != Code::busy || deadline.expired()) {
      return std::move(locked).status().with_context("waiting to start a daemon");
    } else {
      pause_ms(kLockPollMs);
    }
  }
  Result<transport::Connection> second = transport::connect(options.socket, deadline);
  if (second.ok()) return second;
  std::vector<std::string> arguments{find_daemon(options.daemon_path)};
  if (!options.config.empty()) arguments.insert(arguments.end(), {"--config", options.config});
  arguments.insert(arguments.end(), {"--daemon-socket", options.socket, "--daemon-private-store", options.store,
                                     "--daemon-idle-exit-seconds", std::to_string(kIdleExitSeconds), "--detach"});
  for (;;) {
    const Status started = run_starter(arguments, deadline);
    if (started.ok()) return transport::connect(options.socket, deadline);
    // One that is leaving has closed its socket already and still finishes what was captured.
    if (started.code() != Code::busy || deadline.expired()) return started;
    pause_ms(kLockPollMs);
    if (Result<transport::Connection> other = transport::connect(options.socket, deadline); other.ok()) return other;
  }
}

}  // namespace stillframe::client
