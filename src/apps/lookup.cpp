#include "apps/lookup.hpp"

#include "restore/chooser.hpp"

namespace stillframe::apps {
namespace {

Status nothing_there(const store::Store& store, const format::Address& address) {
  const std::string run = address.run.empty() ? "" : " of the run '" + address.run + "'";
  return {Code::not_found,
          "there is no checkpoint" + run + " in the store '" + store.path() + "'; `stillframe ls` shows what there is"};
}

Result<Located> restorable(store::Store store, const format::Address& address) {
  SF_ASSIGN(const auto chooser, restore::Chooser::open(env::posix_env(), address));
  const std::string& name = chooser.current().name();
  SF_ASSIGN(const auto entry, store::read_catalog_entry(store, {name, *format::parse_checkpoint_name(name)}));
  if (!entry) return nothing_there(store, address);
  Summary summary = summarize(store, *entry);
  return Located{std::move(store), std::move(summary), chooser.why()};
}

}  // namespace

Result<Located> locate(const std::string& address_text, LatestIs latest, store::Prefer prefer) {
  SF_ASSIGN(format::Address address, format::parse_address(address_text));
  if (address.run.empty()) address.run = store::kDefaultRun;
  SF_ASSIGN(store::Store store, store::Store::open(env::posix_env(), address.store));
  if (address.select == format::Select::step) {
    SF_ASSIGN(const auto entry, store::find_step(store, address.run, address.step, prefer));
    Summary summary = summarize(store, entry);
    return Located{std::move(store), std::move(summary), {}};
  }
  const bool any_state = address.select == format::Select::latest && latest == LatestIs::newest;
  if (!any_state) return restorable(std::move(store), address);
  SF_ASSIGN(auto newest, summaries(store, address, 1));
  if (newest.empty()) return nothing_there(store, address);
  return Located{std::move(store), std::move(newest.front()), {}};
}

Result<LocatedAll> locate_all(const std::string& address_text) {
  SF_ASSIGN(const format::Address address, format::parse_address(address_text));
  if (names_one(address_text, address)) {
    return Status(Code::invalid_argument,
                  "expected STORE or STORE:RUN, found '" + address_text + "', which names one checkpoint");
  }
  SF_ASSIGN(store::Store store, store::Store::open(env::posix_env(), address.store));
  SF_ASSIGN(auto found, summaries(store, address, 0));
  if (found.empty()) return nothing_there(store, address);
  return LocatedAll{std::move(store), std::move(found)};
}

bool names_one(const std::string& address_text, const format::Address& address) {
  return address.select != format::Select::latest || address_text.ends_with("@latest");
}

Result<std::string> whole_store(const std::string& address_text) {
  SF_ASSIGN(const format::Address address, format::parse_address(address_text));
  if (!address.run.empty() || names_one(address_text, address)) {
    return Status(Code::invalid_argument,
                  "expected the directory of a store, found '" + address_text + "', which names a part of one");
  }
  return address.store;
}

}  // namespace stillframe::apps
