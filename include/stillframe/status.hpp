// Status and Result: the one error type of Stillframe. No exception crosses a public function.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "stillframe/export.hpp"

namespace stillframe {

// What the caller should do decides the code; the message says what happened to which file, what is safe, and what to do.
// The values are part of the C ABI (stillframe.h, sf_code) and never change meaning.
enum class Code : std::int32_t {
  ok = 0,
  invalid_argument = 1,  // the call or the configuration is wrong; nothing was touched
  not_found = 2,         // no such store, checkpoint or key
  corrupt = 3,           // bytes read do not match their checksum or their format
  mismatch = 4,          // names, dtypes or shapes do not agree with the target; nothing was touched
  busy = 5,              // held by somebody else (run, socket, checkpoint)
  no_space = 6,          // disk or memory budget exhausted; what stood before is whole
  io_error = 7,          // the system refused a file or socket operation
  deadline = 8,          // the stated wait ran out
  unavailable = 9,       // the daemon is not there
  unsupported = 10,      // a version, codec or type this build does not know
  internal = 11,         // a defect of Stillframe
};

[[nodiscard]] STILLFRAME_EXPORT std::string_view code_name(Code code) noexcept;

class [[nodiscard]] Status {
 public:
  Status() noexcept = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  [[nodiscard]] bool ok() const noexcept { return code_ == Code::ok; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] Code code() const noexcept { return code_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }

  // "while <doing>: <message>"; no change when ok.
  [[nodiscard]] Status with_context(std::string_view doing) const {
    return ok() ? *this : Status(code_, std::string(doing) + ": " + message_);
  }

  // The one searchable way to drop an error on purpose; the reason stands at the call.
  void ignore(std::string_view /*reason*/) const noexcept {}

 private:
  Code code_ = Code::ok;
  std::string message_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                 // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {          // NOLINT(google-explicit-constructor)
    if (status_.ok()) status_ = Status(Code::internal, "a Result was built from an ok Status without a value");
  }

  [[nodiscard]] bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] const Status& status() const& noexcept { return status_; }
  [[nodiscard]] Status status() && { return std::move(status_); }

  // Undefined when !ok(), as std::optional.
  [[nodiscard]] T& value() & noexcept { return *value_; }
  [[nodiscard]] const T& value() const& noexcept { return *value_; }
  // By value: a loop over f().value() must not look into a Result that is gone.
  [[nodiscard]] T value() && { return *std::move(value_); }
  T& operator*() & noexcept { return *value_; }
  const T& operator*() const& noexcept { return *value_; }
  T operator*() && { return *std::move(value_); }
  T* operator->() noexcept { return &*value_; }
  const T* operator->() const noexcept { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace stillframe

#define SF_CONCAT_INNER(a, b) a##b
#define SF_CONCAT(a, b) SF_CONCAT_INNER(a, b)

// Returns the Status of `expr` from the enclosing function unless it is ok.
#define SF_TRY(expr)                                          \
  do {                                                        \
    if (::stillframe::Status sf_status_ = (expr); !sf_status_.ok()) return sf_status_; \
  } while (false)

// SF_ASSIGN(auto x, f()): binds the value of a Result or returns its Status.
#define SF_ASSIGN(lhs, expr) SF_ASSIGN_IMPL(SF_CONCAT(sf_result_, __LINE__), lhs, expr)
#define SF_ASSIGN_IMPL(name, lhs, expr)          \
  auto name = (expr);                            \
  if (!name.ok()) return std::move(name).status(); \
  lhs = std::move(name).value()
