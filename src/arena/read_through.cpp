#include "arena/read_through.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace stillframe::arena {

Status read_through(const Arena& arena, std::uint64_t slot, std::span<std::byte> to) noexcept {
  const auto* begin = reinterpret_cast<const std::byte*>(&arena.header());
  std::ptrdiff_t at = arena.chunk(slot).data() - begin;
  while (!to.empty()) {
    const ssize_t got = ::pread(arena.memfd(), to.data(), to.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return {Code::io_error, std::string("memory of the arena cannot be read: ") + std::strerror(errno)};
    to = to.subspan(static_cast<std::size_t>(got));
    at += got;
  }
  return {};
}

}  // namespace stillframe::arena
