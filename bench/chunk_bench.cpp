// What one chunk (1 MiB) costs on its way: the checksums, and the copy through a host stream.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/checksum.hpp"
#include "device/device.hpp"

namespace stillframe {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
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

// `range(0)` copies are queued before the host waits: 1 shows the hand-over, many the copy itself.
void copy_through_a_host_stream(benchmark::State& state) {
  const auto device = device::make_host_device();
  const auto stream = device->create_stream("bench");
  if (!stream.ok()) return state.SkipWithError(stream.status().message().c_str());
  const std::vector<std::byte> from = chunk_of_data();
  std::vector<std::byte> to(from.size());
  const auto deadline = base::Deadline::after_ms(kPatienceMs);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      if (const Status queued = (*stream)->copy_to_host(to, from.data(), deadline); !queued.ok()) {
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
BENCHMARK(copy_through_a_host_stream)->Name("host_stream_copy")->Arg(1)->Arg(64)->UseRealTime();

}  // namespace
}  // namespace stillframe
