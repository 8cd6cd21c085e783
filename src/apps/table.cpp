#include "apps/table.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/bytes.hpp"

namespace stillframe::apps {
namespace {

// Code points, not bytes: near enough for names, which are rarely wider than one cell a letter.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

void append_cell(std::string& line, const std::string& cell, Align align, std::size_t width) {
  const std::string padding(width - width_of(cell), ' ');
  line += align == Align::left ? cell + padding : padding + cell;
}

}  // namespace

void Table::add_row(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = printable(cell);
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::to_text() const {
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : columns_) lines[0].push_back(column.title);
  lines.insert(lines.end(), rows_.begin(), rows_.end());
  std::vector<std::size_t> widths(columns_.size());
  for (const auto& cells : lines) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], width_of(cells[i]));
  }
  std::string text;
  for (const auto& cells : lines) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (i != 0) line += "  ";
      append_cell(line, cells[i], columns_[i].align, widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

Letter first_letter(std::string_view text) noexcept {
  if (text.empty()) return {};
  const auto byte = [text](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
  char32_t code = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    code = (code << 6U) | (byte(i) & 0x3FU);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool none = (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF;
  return overlong || none ? Letter{} : Letter{length, code};
}

bool commands_terminal(char32_t code) noexcept {
  const bool control = code < 0x20 || (code >= 0x7F && code <= 0x9F);
  const bool turns = code == 0x061C || code == 0x200E || code == 0x200F || (code >= 0x202A && code <= 0x202E) ||
                     (code >= 0x2066 && code <= 0x2069);
  const bool ends_line = code == 0x2028 || code == 0x2029;
  return control || turns || ends_line;
}

std::string printable(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const Letter letter = first_letter(text);
    const std::size_t bytes = std::max<std::size_t>(letter.bytes, 1);
    if (letter.bytes != 0 && !commands_terminal(letter.code)) {
      safe += text.substr(0, bytes);
    } else {
      safe += '?';
    }
    text.remove_prefix(bytes);
  }
  return safe;
}

std::string printable_lines(std::string_view text) {
  std::string safe;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    safe += printable(text.substr(0, end)) + '\n';
    text.remove_prefix(end + 1);
  }
  return safe + printable(text);
}

std::string shortened(std::string_view text, std::size_t limit_bytes) {
  constexpr std::string_view kMore = "...";
  if (text.size() <= limit_bytes) return std::string(text);
  std::size_t end = limit_bytes - kMore.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + std::string(kMore);
}

std::string shape_text(const Entry& entry) {
  std::string text = "[";
  for (const std::uint64_t extent : entry.shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

std::string number_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return text.data();
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "-";
  const double share = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  if (part != 0 && share < 0.1) return "<0.1 %";
  if (part != whole && share > 99.9) return ">99.9 %";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f %%", share);
  return text.data();
}

std::string before_after(std::uint64_t raw_bytes, std::uint64_t stored_bytes) {
  return base::human_bytes(raw_bytes) + " -> " + base::human_bytes(stored_bytes);
}

std::string ratio(std::uint64_t raw_bytes, std::uint64_t stored_bytes) {
  if (stored_bytes == 0) return "-";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2fx", static_cast<double>(raw_bytes) / static_cast<double>(stored_bytes));
  return text.data();
}

std::string readable_utc(std::string_view compact) {
  if (compact.size() != 16) return std::string(compact);
  const auto part = [&](std::size_t at, std::size_t length) { return std::string(compact.substr(at, length)); };
  return part(0, 4) + "-" + part(4, 2) + "-" + part(6, 2) + " " + part(9, 2) + ":" + part(11, 2) + ":" + part(13, 2);
}

}  // namespace stillframe::apps
