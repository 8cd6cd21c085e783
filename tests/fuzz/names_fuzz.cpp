// Names on disk, run names and addresses: what is taken is exactly what would be written.
#include "format/names.hpp"
#include "harness.hpp"

namespace stillframe::fuzz {
namespace {

void check_disk_names(std::string_view text) {
  if (const auto name = format::parse_checkpoint_name(text)) {
    require(format::to_string(*name) == text, "a checkpoint's name is not written as it was read");
    require(text.find('/') == std::string_view::npos, "a checkpoint's name leads elsewhere");
  }
  if (const auto partial = format::parse_partial_name(text)) {
    require(format::partial_name(partial->name, partial->run) == text, "a partial name is not written as it was read");
  }
  if (const auto removing = format::parse_removing_name(text)) {
    require(format::removing_name(*removing) == text, "a removing name is not written as it was read");
  }
}

void check_run(std::string_view text) {
  const Status run = format::check_run_name(text);
  require_words(run);
  if (!run.ok()) return;
  const std::string partial = format::partial_name("000042-step001000-20261122T123005Z", text);
  const auto parsed = format::parse_partial_name(partial);
  require(parsed && parsed->run == text, "a run's partial directory is not found again");
}

void check_address(std::string_view text) {
  const MemoryBound bound(text.size(), 64, 16 * 1024);
  const auto address = format::parse_address(text);
  require_words(address);
  if (!address.ok()) return;
  const std::string written = format::to_string(*address);
  const auto again = format::parse_address(written);
  require(again.ok(), "an address that was taken is refused once it is written");
  require(format::to_string(*again) == written, "an address changes each time it is written");
  const bool same_store = again->store == address->store || again->store == address->store + "/";
  require(same_store && again->run == address->run, "an address leads elsewhere once written");
}

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = stillframe::fuzz::text_of(data, size);
  stillframe::fuzz::check_disk_names(text);
  stillframe::fuzz::check_run(text);
  stillframe::fuzz::check_address(text);
  return 0;
}
