#include "format/writer_words.hpp"

namespace stillframe::format {
namespace {

constexpr std::string_view kLevel = ", level ";
constexpr std::string_view kChecked = ", checked against the device";

}  // namespace

std::string writer_words(std::string_view program, std::string_view level, bool checked) {
  std::string words(program);
  if (!level.empty()) words.append(kLevel).append(level);
  return words.append(checked ? kChecked : "");
}

bool says_checked(std::string_view writer) noexcept { return writer.ends_with(kChecked); }

std::string_view said_level(std::string_view writer) noexcept {
  if (says_checked(writer)) writer.remove_suffix(kChecked.size());
  const std::size_t at = writer.rfind(kLevel);
  return at == std::string_view::npos ? std::string_view() : writer.substr(at + kLevel.size());
}

}  // namespace stillframe::format
