// What one chunk (1 MiB) costs on its way: the checksums, the copy through a host stream, the encoder with and without the
// inspector behind the alarms.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "device/copy_crew.hpp"
#include "device/device.hpp"
#include "persist/encode_pipeline.hpp"
#include "persist/inspector.hpp"

namespace stillframe {
namespace {

constexpr std::uint64_t kPatienceMs = 60'000;

std::vector<std::byte> chunk_of_data() {
  std::vector<std::byte> data(kChunkBytes);
  std::uint32_t state = 1;
  for (std::byte& byte : data) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 24U);
  }
  return data;
}

template <auto checksum>
void checksum_of_a_chunk(benchmark::State& state) {
  const std::vector<std::byte> data = chunk_of_data();
  for (auto _ : state) benchmark::DoNotOptimize(checksum(data));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kChunkBytes));
}
BENCHMARK(checksum_of_a_chunk<base::xxh128>)->Name("xxh128");
BENCHMARK(checksum_of_a_chunk<base::crc32>)->Name("crc32");
BENCHMARK(checksum_of_a_chunk<base::crc32c>)->Name("crc32c");

// `range(0)` copies are queued before the host waits: 1 shows the hand-over, many the copy itself. By `range(1)` threads.
void copy_through_a_host_stream(benchmark::State& state) {
  const auto crew = device::CopyCrew::start(static_cast<std::size_t>(state.range(1)));
  if (!crew.ok()) return state.SkipWithError(crew.status().message().c_str());
  const auto device = device::make_host_device(*crew);
  const auto stream = device->create_stream("bench");
  if (!stream.ok()) return state.SkipWithError(stream.status().message().c_str());
  const std::vector<std::byte> from(static_cast<std::size_t>(state.range(0)) * kChunkBytes, std::byte{1});
  std::vector<std::byte> to(from.size());
  const auto deadline = base::Deadline::after_ms(kPatienceMs);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      const auto chunk = std::span(to).subspan(static_cast<std::size_t>(i) * kChunkBytes, kChunkBytes);
      const Status queued = (*stream)->copy_to_host(chunk, from.data() + (chunk.data() - to.data()), deadline);
      if (!queued.ok()) {
        return state.SkipWithError(queued.message().c_str());
      }
    }
    const auto event = (*stream)->record();
    if (!event.ok()) return state.SkipWithError(event.status().message().c_str());
    if (const Status reached = (*event)->wait(deadline); !reached.ok()) {
      return state.SkipWithError(reached.message().c_str());
    }
  }
  state.SetBytesProcessed(state.iterations() * state.range(0) * static_cast<std::int64_t>(kChunkBytes));
}
// Float weights, as training leaves them: exponents alike, mantissas random.
std::vector<std::byte> chunk_of_weights() {
  std::vector<std::byte> data = chunk_of_data();
  for (std::size_t i = 3; i < data.size(); i += 4) data[i] = std::byte{0x3c};
  return data;
}

// Chunk 1 of an image in which `tensors` trained tensors share each chunk; 1: a tensor covers several whole ones.
struct Watched {
  format::ImageLayout layout;
  format::TreeFacts facts;
};
Watched watched(std::int64_t tensors) {
  const std::uint64_t bytes = tensors == 1 ? 4 * kChunkBytes : kChunkBytes / static_cast<std::uint64_t>(tensors);
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i * bytes < 4 * kChunkBytes; ++i) {
    entries.push_back({"w" + std::to_string(i), DType::f32, {bytes / 4}, 0, 0});
  }
  Watched result{format::lay_out(std::move(entries)).value(), {}};
  result.facts.trainable.assign(result.layout.entries.size(), true);
  return result;
}

// CPU time of all threads, so that a busy machine does not count. `range(0)`: trained tensors per chunk that are watched, 0 for an encoder without an inspector.
void encode_a_chunk(benchmark::State& state, codec::Level level) {
  const auto pool = persist::Encoders::start("bench", 1, 4);
  if (!pool.ok()) return state.SkipWithError(pool.status().message().c_str());
  const std::vector<std::byte> data = chunk_of_weights();
  const Watched what = watched(std::max<std::int64_t>(1, state.range(0)));
  persist::Inspector inspector(what.layout, what.facts);
  std::array<codec::Decisions, 3> decisions;  // of the chunks that are under way at once
  std::size_t next = 0;
  persist::EncodePipeline pipeline(**pool, {level}, decisions.size());
  persist::ChunkWatcher watcher;
  if (state.range(0) != 0) {
    watcher = [&](std::span<const std::byte> raw, const base::Hash128& hash) { inspector.look(1, raw, hash); };
  }
  for (auto _ : state) {
    while (!pipeline.full()) {
      codec::Decisions& own = decisions.at(next++ % decisions.size());
      pipeline.submit(data, {{static_cast<std::uint32_t>(data.size()), 4}}, own, watcher);
    }
    if (const auto encoded = pipeline.take(); !encoded.ok()) {
      return state.SkipWithError(encoded.status().message().c_str());
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kChunkBytes));
}
// The inspector's part alone.
void inspect_a_chunk(benchmark::State& state) {
  const std::vector<std::byte> data = chunk_of_weights();
  const base::Hash128 hash = base::xxh128(data);
  const Watched what = watched(state.range(0));
  persist::Inspector inspector(what.layout, what.facts);
  for (auto _ : state) inspector.look(1, data, hash);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kChunkBytes));
}
BENCHMARK(inspect_a_chunk)->Arg(1)->Arg(16)->Arg(256);
BENCHMARK_CAPTURE(encode_a_chunk, standard, codec::Level::standard)
    ->Arg(0)
    ->Arg(1)
    ->Arg(16)
    ->Arg(256)
    ->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(encode_a_chunk, fast, codec::Level::fast)->Arg(0)->Arg(1)->Arg(16)->Arg(256)->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(encode_a_chunk, raw, codec::Level::raw)->Arg(0)->Arg(1)->Arg(16)->Arg(256)->MeasureProcessCPUTime();

BENCHMARK(copy_through_a_host_stream)->Name("host_stream_copy")->ArgsProduct({{1, 256}, {1, 2}})->UseRealTime();

}  // namespace
}  // namespace stillframe
