#include "support/fault_fs/faults.hpp"

#include <algorithm>
#include <cerrno>
#include <sstream>

namespace stillframe::test {
namespace {

const std::map<std::string, int> kErrors{{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EINTR", EINTR}, {"EROFS", EROFS},
                                         {"EDQUOT", EDQUOT}, {"EFBIG", EFBIG},   {"EACCES", EACCES}};

}  // namespace

bool Faults::holds(const std::string& op, bool changes) {
  if (held_.contains(op)) return true;
  if (!until_frozen_) return false;
  if (*until_frozen_ == 0) return true;
  if (changes) --*until_frozen_;
  return false;
}

int Faults::failure(const std::string& op) {
  const auto found = failing_.find(op);
  if (found == failing_.end() || found->second.times == 0) return 0;
  if (found->second.times > 0) --found->second.times;
  return found->second.error;
}

std::size_t Faults::write_limit(std::size_t bytes) const noexcept {
  return short_bytes_ == 0 ? bytes : std::min(bytes, short_bytes_);
}

void Faults::release() {
  held_.clear();
  until_frozen_.reset();
  failing_.clear();
}

bool Faults::take(const std::string& line) {
  std::istringstream words(line);
  std::string command;
  words >> command;
  if (command == "hold") {
    for (std::string op; words >> op;) held_.insert(op);
    return !held_.empty();
  }
  if (command == "freeze") {
    std::uint64_t requests = 0;
    words >> requests;
    until_frozen_ = requests;
  } else if (command == "fail") {
    std::string op;
    std::string error;
    Failing failing;
    words >> op >> error >> failing.times;
    if (!kErrors.contains(error)) return false;
    failing.error = kErrors.at(error);
    failing_[op] = failing;
  } else if (command == "short") {
    words >> short_bytes_;
  } else if (command == "space") {
    std::int64_t bytes = 0;
    words >> bytes;
    space_ = bytes < 0 ? std::nullopt : std::optional(static_cast<std::uint64_t>(bytes));
  } else {
    return false;
  }
  return !words.fail();
}

}  // namespace stillframe::test
