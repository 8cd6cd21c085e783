// Text for people: aligned columns, ratios, and names made safe for a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stillframe/types.hpp"

namespace stillframe::apps {

enum class Align : std::uint8_t { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // One cell per column; what printable() replaces is replaced.
  void add_row(std::vector<std::string> cells);
  // Titles, then the rows; two spaces between columns, none at the end of a line.
  [[nodiscard]] std::string to_text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Names come from files that anyone may have written: what would command a terminal becomes '?'. These are the control
// characters of ASCII and of Latin 1 (escape sequences), the marks that turn the direction of text, and bytes that are
// no UTF-8.
[[nodiscard]] std::string printable(std::string_view text);
// Likewise, but a line end stays one.
[[nodiscard]] std::string printable_lines(std::string_view text);
// The letter of UTF-8 that `text` begins with: its length in bytes (0 for none, and for what is no UTF-8) and its code.
struct Letter {
  std::size_t bytes = 0;
  char32_t code = 0;
};
[[nodiscard]] Letter first_letter(std::string_view text) noexcept;
// Whether a terminal may obey it rather than show it.
[[nodiscard]] bool commands_terminal(char32_t code) noexcept;
// At most so many bytes; what was longer ends with "...". Never cuts a letter of UTF-8 in two.
[[nodiscard]] std::string shortened(std::string_view text, std::size_t limit_bytes);
// "[2, 3]"
[[nodiscard]] std::string shape_text(const Entry& entry);
// Six digits: "0.0123457", "1e-07", "nan".
[[nodiscard]] std::string number_text(double value);
// "12.3 %"; "<0.1 %" and ">99.9 %" where rounding would say none or all.
[[nodiscard]] std::string percent(std::uint64_t part, std::uint64_t whole);
// "1.5 MiB -> 400.0 KiB"
[[nodiscard]] std::string before_after(std::uint64_t raw_bytes, std::uint64_t stored_bytes);
// "3.84x"; "-" when nothing is stored.
[[nodiscard]] std::string ratio(std::uint64_t raw_bytes, std::uint64_t stored_bytes);
// "2026-11-22 12:30:05" of a checkpoint name's "20261122T123005Z".
[[nodiscard]] std::string readable_utc(std::string_view compact);

}  // namespace stillframe::apps
