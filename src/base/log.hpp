// Structured log lines, one event a line: `2026-11-22T12:30:05.123Z info checkpoint.durable run=main step=1000`.
// Field values are quoted when they hold a space, a quote or an equals sign. Thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "stillframe/status.hpp"

namespace stillframe::base {

enum class LogLevel : std::uint8_t { debug, info, warn, error, off };
[[nodiscard]] std::optional<LogLevel> log_level_from_name(std::string_view name) noexcept;

struct LogField {
  std::string_view key;
  std::string value;
  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  template <typename T>
    requires std::is_arithmetic_v<T>
  LogField(std::string_view k, T v) : key(k), value(std::to_string(v)) {}
};

// Until configured, lines of level `warn` and above go to standard error. An empty path means standard error.
[[nodiscard]] Status configure_log(LogLevel level, const std::string& path);
void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace stillframe::base
