// Replays a corpus and seeded mutations of it in builds without libFuzzer:
//   <target> <corpus directory or file …> [--runs N] [--seed S] [--only NUMBER]
// A failing input is named by its file, or by the number that --only takes.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "harness.hpp"
#include "mutator.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern "C" void __sanitizer_set_death_callback(void (*callback)());
#endif

namespace stillframe::fuzz {
namespace {

namespace fs = std::filesystem;

// What a person needs when the process dies; kept ready because a signal handler may only write bytes.
std::array<char, 1024> last_words{};

void say_last_words() {
  const std::string_view text(last_words.data());
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

extern "C" void on_signal(int signal) {
  say_last_words();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void watch_for_death() {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, on_signal);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  __sanitizer_set_death_callback(say_last_words);
#endif
}

struct Arguments {
  std::vector<fs::path> places;
  std::uint64_t runs = 0;
  std::uint64_t seed = 1;
  std::optional<std::uint64_t> only;
};

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Arguments> parse(const std::vector<std::string_view>& words) {
  Arguments arguments;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("--")) {
      arguments.places.emplace_back(words[i]);
      continue;
    }
    const auto value = i + 1 < words.size() ? number(words[i + 1]) : std::nullopt;
    if (!value) return std::nullopt;
    if (words[i] == "--runs") {
      arguments.runs = *value;
    } else if (words[i] == "--seed") {
      arguments.seed = *value;
    } else if (words[i] == "--only") {
      arguments.only = *value;
    } else {
      return std::nullopt;
    }
    ++i;
  }
  if (arguments.places.empty()) return std::nullopt;
  return arguments;
}

// By name, so that the numbers of the mutations stay the same from one machine to the next.
std::vector<fs::path> files_of(const std::vector<fs::path>& places) {
  std::vector<fs::path> files;
  for (const fs::path& place : places) {
    if (!fs::is_directory(place)) {
      files.push_back(place);
      continue;
    }
    std::vector<fs::path> inside;
    for (const auto& entry : fs::directory_iterator(place)) {
      if (entry.is_regular_file()) inside.push_back(entry.path());
    }
    std::sort(inside.begin(), inside.end());
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

std::string content_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) require(false, "cannot read " + file.string());
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// A copy of exactly its size, so that the sanitizer sees a read one byte behind the end.
void run(const std::string& input) {
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

int replay(const Arguments& arguments) {
  std::vector<std::string> corpus;
  for (const fs::path& file : files_of(arguments.places)) {
    std::snprintf(last_words.data(), last_words.size(), "fuzz: the input was %s\n", file.c_str());
    corpus.push_back(content_of(file));
    if (!arguments.only) run(corpus.back());
  }
  require(!corpus.empty(), "the corpus is empty");
  const std::uint64_t first = arguments.only.value_or(0);
  const std::uint64_t end = arguments.only ? first + 1 : arguments.runs;
  for (std::uint64_t i = first; i < end; ++i) {
    std::snprintf(last_words.data(), last_words.size(),
                  "fuzz: the input was a mutation; replay it with --seed %llu --only %llu\n",
                  static_cast<unsigned long long>(arguments.seed), static_cast<unsigned long long>(i));
    run(mutated(corpus, arguments.seed, i));
  }
  std::printf("%zu inputs and %llu mutations of them: no finding\n", corpus.size(),
              static_cast<unsigned long long>(end - first));
  return 0;
}

}  // namespace
}  // namespace stillframe::fuzz

int main(int argc, char** argv) {
  const auto arguments = stillframe::fuzz::parse({argv + 1, argv + argc});
  if (!arguments) {
    std::fprintf(stderr, "usage: %s <corpus directory or file ...> [--runs N] [--seed S] [--only NUMBER]\n", argv[0]);
    return 2;
  }
  stillframe::fuzz::watch_for_death();
  return stillframe::fuzz::replay(*arguments);
}
