// What every fuzz target shares: checks that end the run with the reason, and a bound on the memory that a parser may
// take. A target is one file that defines LLVMFuzzerTestOneInput; docs/testing.md, "Fuzzing".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "stillframe/status.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace stillframe::fuzz {

// Ends the process with `what` on standard error unless `holds`: the fuzzer keeps the input.
void require(bool holds, std::string_view what);

// A refusal is a code other than ok with words for people in it.
void require_words(const Status& refused);
template <typename T>
void require_words(const Result<T>& result) {
  if (!result.ok()) require_words(result.status());
}

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}
inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// While it lives, more than `fixed_bytes + per_input_byte * input_bytes` bytes of living C++ objects end the process.
// One at a time, one thread.
class MemoryBound {
 public:
  MemoryBound(std::size_t input_bytes, std::size_t per_input_byte, std::size_t fixed_bytes);
  ~MemoryBound();
  MemoryBound(const MemoryBound&) = delete;
  MemoryBound& operator=(const MemoryBound&) = delete;
};

// Numbers and pieces taken from the front of an input, for targets that need more than one text.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(bytes_of(data, size)) {}

  // 0 behind the end.
  [[nodiscard]] std::uint8_t byte();
  [[nodiscard]] std::uint64_t number(std::size_t bytes);             // little-endian, at most 8 bytes
  [[nodiscard]] std::span<const std::byte> take(std::size_t bytes);  // fewer at the end
  [[nodiscard]] std::span<const std::byte> rest() const noexcept { return rest_; }
  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace stillframe::fuzz
