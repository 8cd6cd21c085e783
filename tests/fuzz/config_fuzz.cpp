// The daemon's configuration as a file, and each line "key=value" of the input as a flag.
#include <algorithm>

#include "daemon/config.hpp"
#include "harness.hpp"

namespace stillframe::fuzz {
namespace {

void check_file(std::string_view text) {
  const MemoryBound bound(text.size(), 1024, 256 * 1024);
  const auto config = daemon::parse_config(text, "fuzz.toml");
  require_words(config);
  if (!config.ok()) {
    require(config.status().code() == Code::invalid_argument, "a configuration is refused as what it is not");
    require(config.status().message().starts_with("fuzz.toml:"), "a refusal without the file and line");
    return;
  }
  require(config->retention.keep_last >= 1, "a configuration that keeps nothing was taken");
  require(config->socket.empty() || config->socket.front() == '/', "a relative socket was taken");
}

void check_flags(std::string_view text) {
  daemon::Config config;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    require_words(
        daemon::set_config_key(config, std::string(line.substr(0, equals)), std::string(line.substr(equals + 1))));
  }
}

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = stillframe::fuzz::text_of(data, size);
  stillframe::fuzz::check_file(text);
  stillframe::fuzz::check_flags(text);
  return 0;
}
