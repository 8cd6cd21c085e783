#include <array>
#include <string>

#include "base/bytes.hpp"
#include "codec/plane_kernels.hpp"
#include "codec/plane_method.hpp"
#include "codec/planes.hpp"
#include "codec/planes_codec.hpp"

namespace stillframe::codec {
namespace {

Status wrong(const char* what) {
  return {Code::corrupt, std::string("planes: ") + what + "; the chunk's stored bytes are damaged"};
}

struct PlaneHeader {
  std::uint8_t method = 0;
  std::size_t stored_bytes = 0;
};
PlaneHeader plane_header(std::span<const std::byte> stored, std::size_t run_field, std::size_t plane) noexcept {
  const std::size_t at = run_field + kPlanRunBytes + plane * kPlanPlaneBytes;
  return {std::to_integer<std::uint8_t>(stored[at]), base::load_le<std::uint32_t>(stored, at + 1)};
}

bool is_length(std::uint8_t method, std::size_t stored_bytes, std::size_t plane_bytes) noexcept {
  switch (static_cast<MethodId>(method)) {
    case MethodId::raw:
      return stored_bytes == plane_bytes;
    case MethodId::constant:
      return stored_bytes == 1;
    default:
      return stored_bytes > 0 && stored_bytes < plane_bytes;
  }
}

// Where the planes begin, when every length in the headers is right.
Result<std::size_t> check_header(std::span<const std::byte> stored, std::size_t raw_bytes) {
  if (stored.size() < kPlanRunCountBytes) return wrong("no run count");
  const std::size_t runs = base::load_le<std::uint16_t>(stored, 0);
  std::size_t at = kPlanRunCountBytes;
  std::uint64_t raw_total = 0;
  std::uint64_t stored_total = 0;
  for (std::size_t r = 0; r < runs; ++r) {
    if (stored.size() - at < kPlanRunBytes) return wrong("a run header is cut short");
    const auto bytes = base::load_le<std::uint32_t>(stored, at);
    const auto width = std::to_integer<std::size_t>(stored[at + 4]);
    if (!is_element_width(width) || bytes == 0 || bytes % width != 0) return wrong("a run has no valid element width");
    if (stored[at + 5] > std::byte{can_rotate(width)}) return wrong("a run is rotated in a way that is not known");
    if (stored.size() - at < plan_header_bytes(width)) return wrong("a run header is cut short");
    raw_total += bytes;
    for (std::size_t p = 0; p < width; ++p) {
      const PlaneHeader plane = plane_header(stored, at, p);
      if (!is_method(plane.method)) return wrong("a plane has an unknown method");
      if (!is_length(plane.method, plane.stored_bytes, bytes / width)) return wrong("a plane has no valid length");
      stored_total += plane.stored_bytes;
    }
    at += plan_header_bytes(width);
  }
  if (raw_total != raw_bytes) return wrong("the runs do not add up to the chunk's length");
  if (stored_total != stored.size() - at) return wrong("the planes do not add up to the stored length");
  return at;
}

void sum_differences(std::span<std::byte> plane) noexcept {
  unsigned sum = 0;
  for (std::byte& byte : plane) {
    sum += std::to_integer<unsigned>(byte);
    byte = static_cast<std::byte>(sum);
  }
}

// Its planes stand in the stored bytes, or decoded in the context's first buffer.
struct Run {
  std::size_t width = 1;
  bool rotated = false;
  std::size_t count = 0;  // elements
  std::array<const std::byte*, kMostPlanes> planes{};
};

void merge(const Run& run, std::byte* elements) noexcept {
  best_kernels().merge[width_index(run.width)](run.planes.data(), run.count, run.rotated, elements);
}

}  // namespace

Status decode_by_plan(std::span<const std::byte> stored, std::span<std::byte> raw, Context& context) {
  SF_ASSIGN(std::size_t at, check_header(stored, raw.size()));
  std::byte* next = raw.data();
  std::size_t field = kPlanRunCountBytes;
  const std::size_t runs = base::load_le<std::uint16_t>(stored, 0);
  for (std::size_t r = 0; r < runs; ++r) {
    Run run;
    run.width = std::to_integer<std::size_t>(stored[field + 4]);
    run.rotated = stored[field + 5] != std::byte{0};
    run.count = base::load_le<std::uint32_t>(stored, field) / run.width;
    for (std::size_t p = 0; p < run.width; ++p) {
      const PlaneHeader header = plane_header(stored, field, p);
      const auto bytes = stored.subspan(at, header.stored_bytes);
      at += header.stored_bytes;
      run.planes[p] = bytes.data();
      const PlaneMethod* const way = find_method(method_id(header.method));
      if (way == nullptr) continue;
      const auto plane = context.planes().subspan(p * run.count, run.count);
      if (!way->decode(bytes, plane, context)) return wrong("a plane does not unpack");
      if (has_differences(header.method)) sum_differences(plane);
      run.planes[p] = plane.data();
    }
    merge(run, next);
    next += run.count * run.width;
    field += plan_header_bytes(run.width);
  }
  return {};
}

}  // namespace stillframe::codec
