#include "harness.hpp"

#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace stillframe::fuzz {
namespace {

struct Count {
  bool armed = false;
  std::int64_t live_bytes = 0;
  std::int64_t limit_bytes = 0;
  std::size_t input_bytes = 0;
};
Count counted;

[[noreturn]] void end(std::string_view what) {
  std::fprintf(stderr, "fuzz: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

}  // namespace

void require(bool holds, std::string_view what) {
  if (!holds) end(what);
}

void require_words(const Status& refused) {
  if (refused.ok()) return;
  require(!refused.message().empty(), "an error without a message");
}

MemoryBound::MemoryBound(std::size_t input_bytes, std::size_t per_input_byte, std::size_t fixed_bytes) {
  require(!counted.armed, "two memory bounds at once");
  counted = {true, 0, static_cast<std::int64_t>(fixed_bytes + per_input_byte * input_bytes), input_bytes};
}

MemoryBound::~MemoryBound() { counted.armed = false; }

std::uint8_t Input::byte() { return static_cast<std::uint8_t>(number(1)); }

std::uint64_t Input::number(std::size_t bytes) {
  std::uint64_t value = 0;
  const auto taken = take(bytes);
  for (std::size_t i = 0; i < taken.size(); ++i) value |= std::to_integer<std::uint64_t>(taken[i]) << (8 * i);
  return value;
}

std::span<const std::byte> Input::take(std::size_t bytes) {
  const auto taken = rest_.first(std::min(bytes, rest_.size()));
  rest_ = rest_.subspan(taken.size());
  return taken;
}

namespace {

void* count_new(std::size_t bytes) {
  if (!counted.armed) return std::malloc(bytes);
  if (bytes > static_cast<std::uint64_t>(std::max<std::int64_t>(0, counted.limit_bytes - counted.live_bytes))) {
    counted.armed = false;
    std::fprintf(stderr,
                 "fuzz: %zu bytes of memory are asked for on top of %lld, for an input of %zu; the bound is %lld\n",
                 bytes, static_cast<long long>(counted.live_bytes), counted.input_bytes,
                 static_cast<long long>(counted.limit_bytes));
    std::abort();
  }
  void* const memory = std::malloc(bytes);
  counted.live_bytes += static_cast<std::int64_t>(malloc_usable_size(memory));
  return memory;
}

void count_delete(void* memory) {
  if (counted.armed) counted.live_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace
}  // namespace stillframe::fuzz

// Every C++ allocation of the program passes here; the sanitizers still see malloc and free.
void* operator new(std::size_t bytes, const std::nothrow_t& /*unused*/) noexcept {
  return stillframe::fuzz::count_new(bytes);
}
void* operator new(std::size_t bytes) {
  void* const memory = operator new(bytes, std::nothrow);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t& unused) noexcept { return operator new(bytes, unused); }
void operator delete(void* memory) noexcept { stillframe::fuzz::count_delete(memory); }
void operator delete[](void* memory) noexcept { operator delete(memory); }
void operator delete(void* memory, std::size_t /*bytes*/) noexcept { operator delete(memory); }
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept { operator delete(memory); }
void operator delete(void* memory, const std::nothrow_t& /*unused*/) noexcept { operator delete(memory); }
void operator delete[](void* memory, const std::nothrow_t& /*unused*/) noexcept { operator delete(memory); }
