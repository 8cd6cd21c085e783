// A store of small checkpoints with the times, metrics and marks that a test asks for.
#pragma once

#include <gmock/gmock.h>

#include <cmath>
#include <string>
#include <vector>

#include "persist/retention_task.hpp"
#include "store/catalog.hpp"
#include "support/fault_env.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {

inline constexpr std::int64_t kNowSeconds = kUtcNs / 1'000'000'000;

struct Wanted {
  std::string run = "main";
  std::int64_t step = 0;
  bool verified = true;
  std::string metrics_json = "{}";
  std::int64_t seconds_ago = 0;
};

class RetentionRig : public testing::Test {
 protected:
  std::string add(const Wanted& wanted) {
    const auto layout = format::lay_out({{"weight", DType::f32, {1000}}}).value();
    const std::uint64_t sequence = store_.claim_sequence(base::Deadline::after_ms(10'000)).value();
    const std::int64_t utc_ns = kUtcNs - wanted.seconds_ago * 1'000'000'000;
    const auto writer = store::CheckpointWriter::begin(store_, wanted.run, sequence, wanted.step, utc_ns).value();
    EXPECT_TRUE(writer->begin_rank(0, layout, store::DataKind::safetensors).ok());
    EXPECT_TRUE(append_image(*writer, layout, image_of(layout, wanted.step), codec::CodecId::raw).ok());
    EXPECT_TRUE(writer->end_rank(format::flat_tree(layout)).ok());
    format::Manifest draft = draft_of(wanted.run, wanted.step);
    draft.metrics_json = wanted.metrics_json;
    const auto published = writer->commit(std::move(draft));
    EXPECT_TRUE(published.ok()) << published.status().message();
    if (wanted.verified) mark(published->name, format::kVerifiedMark);
    return published->name;
  }
  void mark(const std::string& name, std::string_view which) {
    const Status marked = store_.set_mark(name, which, "by the test\n");
    EXPECT_TRUE(marked.ok()) << marked.message();
  }
  [[nodiscard]] std::vector<std::int64_t> steps_left() const {
    std::vector<std::int64_t> steps;
    const auto present = store_.list().value();
    for (const auto& ref : present) steps.push_back(ref.parsed.step);
    return steps;
  }
  [[nodiscard]] std::uint64_t store_bytes() const { return store::store_bytes(store_).value(); }
  // What the removal of one checkpoint of this rig takes off the store.
  [[nodiscard]] std::uint64_t bytes_of(const std::string& name) const {
    const auto fact_list = persist::facts(store_, "main").value();
    for (const auto& fact : fact_list) {
      if (fact.name == name) return fact.stored_bytes;
    }
    return 0;
  }
  [[nodiscard]] static retention::Policy keeping(std::uint32_t keep_last) {
    retention::Policy policy;
    policy.keep_last = keep_last;
    return policy;
  }

  FaultEnv env_;
  store::Store store_ = store::Store::open_or_create(env_, "/runs/gpt").value();
};

}  // namespace stillframe::test
