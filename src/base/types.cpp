#include "stillframe/types.hpp"

#include <array>

namespace stillframe {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::uint32_t bytes;
};

constexpr std::array kDTypes{
    DTypeRow{DType::boolean, "BOOL", 1},          DTypeRow{DType::u8, "U8", 1},
    DTypeRow{DType::i8, "I8", 1},                 DTypeRow{DType::f8_e5m2, "F8_E5M2", 1},
    DTypeRow{DType::f8_e4m3fn, "F8_E4M3", 1},     DTypeRow{DType::f8_e8m0, "F8_E8M0", 1},
    DTypeRow{DType::f8_e4m3fnuz, "F8_E4M3FNUZ", 1}, DTypeRow{DType::f8_e5m2fnuz, "F8_E5M2FNUZ", 1},
    DTypeRow{DType::i16, "I16", 2},               DTypeRow{DType::u16, "U16", 2},
    DTypeRow{DType::f16, "F16", 2},               DTypeRow{DType::bf16, "BF16", 2},
    DTypeRow{DType::i32, "I32", 4},               DTypeRow{DType::u32, "U32", 4},
    DTypeRow{DType::f32, "F32", 4},               DTypeRow{DType::c64, "C64", 8},
    DTypeRow{DType::f64, "F64", 8},               DTypeRow{DType::i64, "I64", 8},
    DTypeRow{DType::u64, "U64", 8},               DTypeRow{DType::c128, "C128", 16},
};

}  // namespace

std::string_view dtype_name(DType dtype) noexcept {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == dtype) return row.name;
  }
  return "?";
}

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::uint32_t dtype_bytes(DType dtype) noexcept {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == dtype) return row.bytes;
  }
  return 1;
}

}  // namespace stillframe
