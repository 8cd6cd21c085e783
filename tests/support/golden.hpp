// The golden files of the format: every byte of tests/golden/v1 and tests/golden/v2/stores, made anew. make_golden
// writes them once; the tests compare what is checked in with what is made here, and what a reader makes of it with the
// images.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace stillframe::test {

struct Golden {
  std::map<std::string, std::string> files;  // path below the version's folder -> content; expected.json with them
  std::map<std::string, std::vector<std::byte>> images;  // "<case>/<checkpoint>/<rank>" -> what it decodes to
};

[[nodiscard]] Golden make_golden();
// Of version 2, around the chunks of codec planes in `chunks` (tests/golden/v2/chunks).
[[nodiscard]] Golden make_golden_v2(const std::string& chunks);

}  // namespace stillframe::test
