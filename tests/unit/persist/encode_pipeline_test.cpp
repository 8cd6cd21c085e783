#include "persist/encode_pipeline.hpp"

#include <gtest/gtest.h>

#include <array>
#include <future>

#include "support/store_fixture.hpp"
#include "support/wait_until.hpp"

namespace stillframe::test {
namespace {

using codec::Level;
using persist::EncodePipeline;

class Pipeline : public testing::Test {
 protected:
  // Chunk `index` of its own content, all of 32-bit elements.
  std::vector<std::byte> chunk(std::size_t index) const {
    std::vector<std::byte> bytes(kChunkBytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>((i / 4 * 7 + index) % 251);
    return bytes;
  }
  static std::vector<ElementRun> words(std::size_t bytes) { return {{static_cast<std::uint32_t>(bytes), 4}}; }

  codec::Decisions decisions_;
  std::unique_ptr<persist::Encoders> pool_ = persist::Encoders::start("test-encode", 3, 8).value();
};

TEST_F(Pipeline, ChunksComeOutInTheOrderInWhichTheyWentIn) {
  std::vector<std::vector<std::byte>> chunks;
  for (std::size_t i = 0; i < 24; ++i) chunks.push_back(chunk(i));
  // Every third one is tiny, so that later chunks are ready before earlier ones.
  for (std::size_t i = 2; i < chunks.size(); i += 3) chunks[i].resize(64);
  EncodePipeline pipeline(*pool_, {Level::standard}, 5);
  std::vector<codec::Decisions> decisions(chunks.size());
  std::size_t submitted = 0;
  for (std::size_t taken = 0; taken < chunks.size(); ++taken) {
    for (; submitted < chunks.size() && !pipeline.full(); ++submitted) {
      pipeline.submit(chunks[submitted], words(chunks[submitted].size()), decisions[submitted]);
    }
    const auto encoded = pipeline.take();
    SF_ASSERT_OK(encoded);
    EXPECT_EQ(encoded->record.raw_hash, base::xxh128(chunks[taken])) << "chunk " << taken;
    EXPECT_EQ(encoded->record.raw_bytes, chunks[taken].size());
    std::vector<std::byte> decoded(chunks[taken].size());
    ASSERT_TRUE(codec::decode(encoded->record.codec, encoded->stored, decoded).ok());
    EXPECT_EQ(decoded, chunks[taken]);
    EXPECT_EQ(encoded->record.stored_crc32c, base::crc32c(encoded->stored));
  }
  EXPECT_TRUE(pipeline.empty());
}

TEST_F(Pipeline, AWatcherSeesEachChunkWithItsHashBeforeItIsTaken) {
  const auto bytes = chunk(3);
  EncodePipeline pipeline(*pool_, {Level::standard}, 2);
  std::optional<base::Hash128> seen;
  pipeline.submit(bytes, words(bytes.size()), decisions_,
                  [&](std::span<const std::byte> raw, const base::Hash128& hash) {
                    EXPECT_EQ(raw.data(), bytes.data());
                    EXPECT_EQ(raw.size(), bytes.size());
                    seen = hash;
                  });
  SF_ASSERT_OK(pipeline.take());
  EXPECT_EQ(seen, base::xxh128(bytes));
  pipeline.submit(bytes, words(bytes.size()), decisions_);
  SF_ASSERT_OK(pipeline.take());
}

// Zeros, or one value of up to 16 bytes again and again, also where the chunk ends in the middle of it.
TEST_F(Pipeline, AConstantChunkIsStoredAsItsPattern) {
  for (const std::size_t length : {std::size_t{kChunkBytes}, std::size_t{1003}, std::size_t{17}}) {
    std::vector<std::byte> bytes(length);
    for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(i % 16 * 3);
    EncodePipeline pipeline(*pool_, {Level::standard}, 1);
    pipeline.submit(bytes, {{static_cast<std::uint32_t>(length), 1}}, decisions_);
    const auto encoded = pipeline.take();
    SF_ASSERT_OK(encoded);
    EXPECT_EQ(encoded->record.location, format::LocationKind::constant);
    EXPECT_TRUE(encoded->stored.empty());
    std::vector<std::byte> decoded(length);
    format::fill_constant(encoded->record.pattern, decoded);
    EXPECT_EQ(decoded, bytes);
    EXPECT_EQ(encoded->record.raw_hash, base::xxh128(bytes));
  }
}

TEST_F(Pipeline, AChunkThatDiffersInItsLastByteIsNoConstantAndUncompressedNoneIs) {
  std::vector<std::byte> bytes(kChunkBytes);
  EncodePipeline raw(*pool_, {Level::raw}, 1);
  raw.submit(bytes, words(bytes.size()), decisions_);
  EXPECT_EQ(raw.take()->stored.size(), bytes.size());
  bytes.back() = std::byte{1};
  EncodePipeline encoded(*pool_, {Level::standard}, 1);
  encoded.submit(bytes, words(bytes.size()), decisions_);
  EXPECT_EQ(encoded.take()->record.location, format::LocationKind::own_bytes);
}

// What was decided is there for the next snapshot's chunk, which then is not sampled: the decisions count their uses.
TEST_F(Pipeline, DecisionsAreThereForTheSameChunkOfTheNextSnapshot) {
  const auto bytes = chunk(1);
  for (const unsigned uses : {0U, 1U, 2U}) {
    EncodePipeline pipeline(*pool_, {Level::standard}, 1);
    pipeline.submit(bytes, words(bytes.size()), decisions_);
    const auto encoded = pipeline.take();
    SF_ASSERT_OK(encoded);
    EXPECT_EQ(encoded->record.codec, static_cast<std::uint8_t>(codec::CodecId::planes));
    EXPECT_EQ(decisions_.level, Level::standard);
    EXPECT_EQ(decisions_.known_runs, 1);
    EXPECT_EQ(decisions_.uses, uses);
  }
}

// However many runs there are; and at rest there are none.
TEST_F(Pipeline, ContextsAreSharedAndLetGoOf) {
  const auto bytes = chunk(1);
  std::vector<codec::Decisions> decisions(24);
  {
    std::vector<std::unique_ptr<EncodePipeline>> pipelines;
    for (int i = 0; i < 6; ++i) {
      pipelines.push_back(std::make_unique<EncodePipeline>(*pool_, persist::Encoding{Level::standard}, 4));
    }
    for (std::size_t i = 0; i < decisions.size(); ++i) {
      pipelines[i % pipelines.size()]->submit(bytes, words(bytes.size()), decisions[i]);
    }
    for (std::size_t i = 0; i < decisions.size(); ++i) SF_ASSERT_OK(pipelines[i % pipelines.size()]->take());
    EXPECT_GE(pool_->idle_contexts(), 1U);
    EXPECT_LE(pool_->idle_contexts(), pool_->threads());
  }
  EXPECT_EQ(pool_->idle_contexts(), 0U);
}

TEST_F(Pipeline, LevelRawMakesNoContext) {
  const auto bytes = chunk(1);
  EncodePipeline pipeline(*pool_, {Level::raw}, 1);
  pipeline.submit(bytes, words(bytes.size()), decisions_);
  SF_ASSERT_OK(pipeline.take());
  EXPECT_EQ(pool_->idle_contexts(), 0U);
}

TEST_F(Pipeline, TakesNoMoreThanItsDepth) {
  const auto bytes = chunk(1);
  codec::Decisions second;
  EncodePipeline pipeline(*pool_, {Level::raw}, 2);
  pipeline.submit(bytes, words(bytes.size()), decisions_);
  EXPECT_FALSE(pipeline.full());
  pipeline.submit(bytes, words(bytes.size()), second);
  EXPECT_TRUE(pipeline.full());
  SF_ASSERT_OK(pipeline.take());
  EXPECT_FALSE(pipeline.full());
}

TEST_F(Pipeline, RunsThatDoNotFitTheChunkAreAnErrorOfThatChunkAlone) {
  const auto bytes = chunk(1);
  codec::Decisions of_second;
  EncodePipeline pipeline(*pool_, {Level::standard}, 2);
  pipeline.submit(bytes, words(bytes.size() + 4), decisions_);
  pipeline.submit(bytes, words(bytes.size()), of_second);
  EXPECT_FALSE(pipeline.take().ok());
  const auto second = pipeline.take();
  SF_ASSERT_OK(second);
  EXPECT_EQ(second->record.raw_hash, base::xxh128(bytes));
}

#if defined(__SANITIZE_THREAD__)
#define SF_WRITES_ON_PURPOSE_INTO_MEMORY_BEING_READ 1
#endif

#ifndef SF_WRITES_ON_PURPOSE_INTO_MEMORY_BEING_READ
TEST_F(Pipeline, MemoryThatChangesWhileItIsWrittenIsNeverPassedOffAsWhatWasHashed) {
  auto bytes = chunk(1);
  std::atomic<bool> stop{false};
  std::atomic<bool> writing{false};
  auto* const word = reinterpret_cast<std::atomic<std::uint32_t>*>(bytes.data() + bytes.size() / 2);
  auto writer = base::Thread::start("test-writer", [&stop, &writing, word] {
    while (!stop) {
      word->fetch_add(0x01010101, std::memory_order_relaxed);
      writing = true;
    }
  });
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(wait_until([&] { return writing.load(); }));
  EncodePipeline pipeline(*pool_, {Level::standard}, 1);
  int refused = 0;
  const base::Deadline patience = base::Deadline::after_ms(kPatienceMs);
  while (refused == 0 && !patience.expired()) {
    pipeline.submit(bytes, words(bytes.size()), decisions_);
    const auto encoded = pipeline.take();
    if (!encoded.ok()) {
      EXPECT_EQ(encoded.status().code(), Code::corrupt);
      EXPECT_NE(encoded.status().message().find("changed while it was written"), std::string::npos);
      ++refused;
      continue;
    }
    std::vector<std::byte> decoded(bytes.size());
    ASSERT_TRUE(codec::decode(encoded->record.codec, encoded->stored, decoded).ok());
    EXPECT_EQ(base::xxh128(decoded), encoded->record.raw_hash);
  }
  stop = true;
  writer->join();
  EXPECT_GT(refused, 0);
}
#endif

TEST_F(Pipeline, DestructionWaitsForWhatIsUnderWay) {
  const auto one_thread = persist::Encoders::start("test-slow", 1, 8).value();
  std::promise<void> go;
  auto bytes = std::make_unique<std::vector<std::byte>>(chunk(1));
  std::array<codec::Decisions, 4> decisions;
  std::atomic<bool> gone{false};
  base::Thread destroyer;
  {
    auto pipeline = std::make_shared<EncodePipeline>(*one_thread, persist::Encoding{Level::standard}, 4);
    one_thread->submit([wait = go.get_future().share()] { wait.wait(); });
    for (auto& one : decisions) pipeline->submit(*bytes, words(bytes->size()), one);
    auto started = base::Thread::start("test-destroy", [&gone, held = std::move(pipeline)]() mutable {
      held.reset();
      gone = true;
    });
    ASSERT_TRUE(started.ok());
    destroyer = std::move(started).value();
  }
  EXPECT_FALSE(gone) << "the pipeline went while its chunks could still be read";
  go.set_value();
  destroyer.join();
  EXPECT_TRUE(gone);
  bytes.reset();  // nothing reads it any more; the address sanitizer would tell
}

}  // namespace
}  // namespace stillframe::test
