#include "mutator.hpp"

#include <algorithm>
#include <array>

namespace stillframe::fuzz {
namespace {

constexpr std::size_t kMostBytes = 1 << 16;
constexpr std::uint64_t kMostChanges = 4;

// splitmix64
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t number) : state_(seed * 0x9e3779b97f4a7c15 ^ number * 0xd1b54a32d192ed03) {}
  std::uint64_t below(std::uint64_t end) {
    std::uint64_t x = (state_ += 0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111eb;
    return (x ^ (x >> 31U)) % end;
  }

 private:
  std::uint64_t state_;
};

class Mutation {
 public:
  Mutation(const std::vector<std::string>& corpus, Random& random)
      : corpus_(corpus), random_(random), text_(corpus[random.below(corpus.size())]) {}

  std::string apply() && {
    for (std::uint64_t left = 1 + random_.below(kMostChanges); left > 0; --left) change();
    if (text_.size() > kMostBytes) text_.resize(kMostBytes);
    return std::move(text_);
  }

 private:
  std::size_t place() { return random_.below(text_.size() + 1); }
  std::size_t length() { return 1 + random_.below(8); }

  void change() {
    switch (random_.below(8)) {
      case 0:
        return flip_bit();
      case 1:
        return overwrite(std::string(1, static_cast<char>(random_.below(256))));
      case 2:
        text_.insert(place(), 1, static_cast<char>(random_.below(256)));
        return;
      case 3:
        text_.erase(std::min(place(), text_.size()), length());
        return;
      case 4:
        return overwrite(extreme());
      case 5:
        return repeat_a_piece();
      case 6:
        return take_from_another();
      default:
        text_.resize(place());
    }
  }

  void flip_bit() {
    if (text_.empty()) return;
    char& byte = text_[random_.below(text_.size())];
    byte = static_cast<char>(byte ^ static_cast<char>(1U << random_.below(8)));
  }

  void overwrite(const std::string& piece) {
    const std::size_t at = place();
    text_.replace(at, std::min(piece.size(), text_.size() - at), piece);
  }

  // Numbers that parsers stumble over, as bytes and as text.
  std::string extreme() {
    static const std::array<std::string, 12> kTexts{"0",
                                                    "-1",
                                                    "9223372036854775808",
                                                    "18446744073709551615",
                                                    "99999999999999999999",
                                                    "1e999",
                                                    "null",
                                                    "[[[[",
                                                    std::string(8, '\xff'),
                                                    std::string(8, '\0'),
                                                    std::string("\xff\xff\xff\x7f", 4),
                                                    std::string("\0\0\0\x80", 4)};
    return kTexts[random_.below(kTexts.size())];
  }

  void repeat_a_piece() {
    const std::string piece = text_.substr(place(), length() * 8);
    const std::size_t at = place();
    for (std::uint64_t left = 1 + random_.below(4); left > 0; --left) text_.insert(at, piece);
  }

  void take_from_another() {
    const std::string& other = corpus_[random_.below(corpus_.size())];
    const std::size_t at = random_.below(other.size() + 1);
    overwrite(other.substr(at, length() * 8));
  }

  const std::vector<std::string>& corpus_;
  Random& random_;
  std::string text_;
};

}  // namespace

std::string mutated(const std::vector<std::string>& corpus, std::uint64_t seed, std::uint64_t number) {
  Random random(seed, number);
  return Mutation(corpus, random).apply();
}

}  // namespace stillframe::fuzz
