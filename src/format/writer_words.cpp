#include "format/writer_words.hpp"

namespace stillframe::format {
namespace {

constexpr std::string_view kChecked = ", checked against the device";

}  // namespace

std::string writer_words(std::string_view program, bool checked) {
  return std::string(program) + std::string(checked ? kChecked : "");
}

bool says_checked(std::string_view writer) noexcept { return writer.ends_with(kChecked); }

}  // namespace stillframe::format
