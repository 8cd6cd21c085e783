// Small seeded mutations of one input, for builds without libFuzzer: enough to keep a target honest, not to explore.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stillframe::fuzz {

// The same seed and number give the same input for the same corpus (which must not be empty).
[[nodiscard]] std::string mutated(const std::vector<std::string>& corpus, std::uint64_t seed, std::uint64_t number);

}  // namespace stillframe::fuzz
