// Writes the golden files of the format into an empty directory: make_golden DIR. tests/golden/README.md says when.
#include <filesystem>
#include <fstream>
#include <iostream>

#include "golden.hpp"

int main(int argc, char** argv) {
  if (argc != 2 || std::filesystem::exists(argv[1])) {
    std::cerr << "make_golden: expected a directory that does not exist yet\n";
    return 2;
  }
  for (const auto& [path, content] : stillframe::test::make_golden().files) {
    const std::filesystem::path target = std::filesystem::path(argv[1]) / path;
    std::filesystem::create_directories(target.parent_path());
    std::ofstream(target, std::ios::binary) << content;
  }
  return 0;
}
