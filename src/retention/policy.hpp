// The policy of a run: its words, their types and ranges, and its text forms. Pure. docs/retention.md is the page for
// people.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "stillframe/retention.hpp"
#include "stillframe/status.hpp"

namespace stillframe::retention {

using Policy = Retention;

// invalid_argument for the first value out of its range: "<word>: expected …, found …".
[[nodiscard]] Status check(const Policy& policy);

enum class WordType : std::uint8_t {
  count,     // integer
  duration,  // integer of seconds, or with one of the suffixes s, m, h, d
  bytes,     // integer, or with one of the suffixes kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (of 1024)
  best,      // list of <metric>[:min|max[:<count>]], separated by commas; min and 1 when left out
  steps,     // list of integers, separated by commas
};

struct Word {
  std::string_view name;  // "keep_last": the TOML key, the Python argument, and, with dashes, the flag
  WordType type = WordType::count;
  std::string_view unit;  // "checkpoints", "steps", "seconds", "bytes"
  std::string_view help;  // one line
  std::string expected;   // "an integer from 1 to 1000000": for errors
};
// Every word, in the order of the reference configuration. Lives for the process.
[[nodiscard]] std::span<const Word> words();

// Sets one word from its text; an empty text empties a list. invalid_argument "<word>: expected …, found …" for an
// unknown word or an ill value, and then nothing is changed.
[[nodiscard]] Status set_word(Policy& policy, std::string_view word, std::string_view text);

// One JSON object with every word, in the order of words(); lists are arrays, a best rule is
// {"metric": "loss", "mode": "min", "count": 1}.
[[nodiscard]] std::string policy_to_json(const Policy& policy);
// A word left out has its default. invalid_argument, naming the word, for anything else that policy_to_json() would not
// write: unknown or doubled words, ill types, values that check() refuses, more than 64 KiB.
[[nodiscard]] Result<Policy> policy_from_json(std::string_view json);

}  // namespace stillframe::retention
