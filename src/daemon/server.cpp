#include "daemon/server.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

#include "base/log.hpp"
#include "daemon/daemon_core.hpp"
#include "env/env.hpp"

namespace stillframe::daemon {
namespace {

// Blocking work waits for disks, not for cores.
constexpr std::size_t kBlockingThreads = 4;
constexpr std::size_t kBlockingQueue = 256;
constexpr std::uint32_t kMostEncoders = 8;
constexpr std::size_t kMeminfoBytes = 16 * 1024;

// MemAvailable of /proc/meminfo, in bytes.
Result<std::uint64_t> available_memory_bytes() {
  SF_ASSIGN(const std::unique_ptr<env::File> file, env::posix_env().open("/proc/meminfo"));
  std::string text(kMeminfoBytes, '\0');  // files of /proc say that they are empty: read as far as it goes
  SF_ASSIGN(const std::size_t got, file->read_at(0, std::as_writable_bytes(std::span(text))));
  text.resize(got);
  const std::string key = "MemAvailable:";
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return Status(Code::unsupported, "/proc/meminfo has no MemAvailable; set arena.budget_bytes");
  return std::strtoull(text.c_str() + at + key.size(), nullptr, 10) * 1024;
}

}  // namespace

Status run(const Config& given, const std::function<void()>& ready) {
  Config config = given;
  if (config.socket.empty()) return {Code::invalid_argument, "daemon.socket is not set: say where to listen"};
  SF_TRY(base::configure_log(config.log_level, config.log_path));
  if (config.budget_bytes == 0) {
    SF_ASSIGN(const std::uint64_t available, available_memory_bytes());
    config.budget_bytes = available / 2;
  }
  if (config.encoder_threads == 0) {
    config.encoder_threads = std::clamp(static_cast<std::uint32_t>(base::core_count()), 1U, kMostEncoders);
  }
  const auto reach = config.allowed_uids.empty() ? transport::Reach::owner : transport::Reach::everybody;
  SF_ASSIGN(ServedPath served, ServedPath::take(config.socket, reach));
  SF_ASSIGN(auto encoders, persist::Encoders::start("sf-encode", config.encoder_threads, 4 * config.encoder_threads));
  SF_ASSIGN(auto blocking, base::WorkerPool::start("sf-block", kBlockingThreads, kBlockingQueue));
  DaemonCore core(config, std::move(served), std::move(encoders), std::move(blocking));
  return core.run(ready);
}

}  // namespace stillframe::daemon
