// What the capture proof means for a snapshot.
#include <utility>

#include "capture/copier.hpp"

namespace stillframe::capture {
namespace {

// The copier thread reads so much in about 10 ms.
constexpr std::uint64_t kCheckedInAMomentBytes = 64ULL << 20;

}  // namespace

std::vector<CheckWay> Copier::check_ways() const {
  const std::lock_guard lock(mutex_);
  return streams_.proof().ways();
}

// All is copied, and yet the seal is more than a moment away.
bool Copier::is_checked_for_long() const {
  return streams_.proof().is_checking() && job_->plan->layout.bytes > kCheckedInAMomentBytes;
}

// What is torn is never sealed.
Status Copier::prove() {
  CaptureProof& proof = streams_.proof();
  if (proof.torn().empty()) {
    if (!proof.is_checking()) return {};
    trainer_.set_checked(handle_);
    job_->progress->set_checked();
    return {};
  }
  proof.start_over();
  std::vector<std::string> names = names_of(*job_->plan, proof.torn());
  const std::string what = describe_torn(names);
  job_->progress->set_torn(std::move(names), what);
  return {Code::corrupt, what};
}

}  // namespace stillframe::capture
