#include "contract/env_contract.hpp"

#include "support/mem_env.hpp"
#include "support/temp_dir.hpp"

namespace stillframe::test {
namespace {

class PosixHarness {
 public:
  env::Env& env() { return env::posix_env(); }
  std::string root() const { return dir_.path(); }

 private:
  TempDir dir_;
};

class MemHarness {
 public:
  MemHarness() { env_.make_dirs_synced(root()).ignore("the first test that uses the root fails"); }
  env::Env& env() { return env_; }
  std::string root() const { return "/root/of/test"; }

 private:
  MemEnv env_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Posix, EnvContract, PosixHarness);
INSTANTIATE_TYPED_TEST_SUITE_P(Mem, EnvContract, MemHarness);

}  // namespace
}  // namespace stillframe::test
