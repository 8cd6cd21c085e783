// A store on the real file system and on the one in memory: the same scenarios hold on both.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "store/store.hpp"
#include "support/checkpoints.hpp"
#include "support/fault_env.hpp"
#include "support/temp_dir.hpp"

#define SF_ASSERT_OK(expr)                                                        \
  do {                                                                            \
    const auto& sf_checked_ = (expr);                                             \
    ASSERT_TRUE(sf_checked_.ok()) << ::stillframe::test::message_of(sf_checked_); \
  } while (false)

namespace stillframe::test {

inline std::string message_of(const Status& status) { return status.message(); }
template <typename T>
std::string message_of(const Result<T>& result) {
  return result.status().message();
}

enum class EnvKind { posix, mem };

class StoreTest : public testing::TestWithParam<EnvKind> {
 protected:
  env::Env& env() { return GetParam() == EnvKind::posix ? env::posix_env() : static_cast<env::Env&>(mem_); }
  std::string store_path() const { return GetParam() == EnvKind::posix ? dir_.path() + "/runs/gpt" : "/runs/gpt"; }
  store::Store make_store() { return store::Store::open_or_create(env(), store_path()).value(); }

  FaultEnv mem_;

 private:
  TempDir dir_;
};

inline std::string env_kind_name(const testing::TestParamInfo<EnvKind>& info) {
  return info.param == EnvKind::posix ? "posix" : "mem";
}

}  // namespace stillframe::test
