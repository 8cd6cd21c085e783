// Writes golden stores of the format into an empty directory: make_golden DIR, or make_golden DIR CHUNKS for those of
// version 2 around the chunks in CHUNKS. tests/golden/README.md says when.
#include <filesystem>
#include <fstream>
#include <iostream>

#include "golden.hpp"

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3 || std::filesystem::exists(argv[1])) {
    std::cerr << "make_golden: expected a directory that does not exist yet, and perhaps the chunks of version 2\n";
    return 2;
  }
  const auto golden = argc == 3 ? stillframe::test::make_golden_v2(argv[2]) : stillframe::test::make_golden();
  for (const auto& [path, content] : golden.files) {
    const std::filesystem::path target = std::filesystem::path(argv[1]) / path;
    std::filesystem::create_directories(target.parent_path());
    std::ofstream(target, std::ios::binary) << content;
  }
  return 0;
}
