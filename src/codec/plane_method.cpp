#include "codec/plane_method.hpp"

#include <lz4.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/context.hpp"

namespace stillframe::codec {
namespace {

// What LZ4 is chosen for are long runs: it finds them with large steps as well, and passes the rest quickly.
constexpr int kLz4Acceleration = 8;

const char* as_chars(const std::byte* bytes) noexcept { return reinterpret_cast<const char*>(bytes); }
char* as_chars(std::byte* bytes) noexcept { return reinterpret_cast<char*>(bytes); }

std::size_t encode_lz4(std::span<const std::byte> plane, std::span<std::byte> out, Context& context) noexcept {
  const int packed =
      LZ4_compress_fast_extState(context.lz4_state(), as_chars(plane.data()), as_chars(out.data()),
                                 static_cast<int>(plane.size()), static_cast<int>(out.size()), kLz4Acceleration);
  return packed > 0 ? static_cast<std::size_t>(packed) : 0;
}

bool decode_lz4(std::span<const std::byte> stored, std::span<std::byte> plane, Context& /*context*/) noexcept {
  const int got = LZ4_decompress_safe(as_chars(stored.data()), as_chars(plane.data()), static_cast<int>(stored.size()),
                                      static_cast<int>(plane.size()));
  return got >= 0 && static_cast<std::size_t>(got) == plane.size();
}

std::size_t encode_constant(std::span<const std::byte> plane, std::span<std::byte> out, Context& /*context*/) noexcept {
  if (out.empty() || std::memcmp(plane.data(), plane.data() + 1, plane.size() - 1) != 0) return 0;
  out[0] = plane[0];
  return 1;
}

bool decode_constant(std::span<const std::byte> stored, std::span<std::byte> plane, Context& /*context*/) noexcept {
  if (stored.size() != 1) return false;
  std::memset(plane.data(), std::to_integer<int>(stored[0]), plane.size());
  return true;
}

}  // namespace

const PlaneMethod& lz4_method() noexcept {
  static constexpr PlaneMethod kMethod{MethodId::lz4, "lz4", encode_lz4, decode_lz4};
  return kMethod;
}

const PlaneMethod& constant_method() noexcept {
  static constexpr PlaneMethod kMethod{MethodId::constant, "constant", encode_constant, decode_constant};
  return kMethod;
}

const PlaneMethod* find_method(MethodId id) noexcept {
  static const std::array<const PlaneMethod*, 4> methods{&lz4_method(), &constant_method(), &literals_method(),
                                                         &nibbles_method()};
  const auto found = std::find_if(methods.begin(), methods.end(), [id](const auto* one) { return one->id == id; });
  return found == methods.end() ? nullptr : *found;
}

bool is_method(std::uint8_t method) noexcept {
  const MethodId id = method_id(method);
  if (has_differences(method) && (id == MethodId::raw || id == MethodId::constant)) return false;
  return id == MethodId::raw || find_method(id) != nullptr;
}

}  // namespace stillframe::codec
