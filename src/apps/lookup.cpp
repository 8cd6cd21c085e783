#include "apps/lookup.hpp"

#include "apps/summary.hpp"

namespace stillframe::apps {

Result<Located> locate(const std::string& address_text) {
  SF_ASSIGN(format::Address address, format::parse_address(address_text));
  if (address.run.empty()) address.run = "main";
  SF_ASSIGN(store::Store store, store::Store::open(env::posix_env(), address.store));
  SF_ASSIGN(auto newest, summaries(store, address, 1));
  if (newest.empty()) return Status(Code::not_found, "no checkpoint " + format::to_string(address));
  return Located{std::move(store), std::move(newest.front().name)};
}

}  // namespace stillframe::apps
