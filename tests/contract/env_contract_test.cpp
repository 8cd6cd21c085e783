#include "contract/env_contract.hpp"

#include "support/fault_env.hpp"
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

class FaultHarness {
 public:
  FaultHarness() { env_.make_dirs_synced(root()).ignore("the first test that uses the root fails"); }
  env::Env& env() { return env_; }
  std::string root() const { return "/root/of/test"; }

 private:
  FaultEnv env_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Posix, EnvContract, PosixHarness);
INSTANTIATE_TYPED_TEST_SUITE_P(Fault, EnvContract, FaultHarness);

}  // namespace
}  // namespace stillframe::test
