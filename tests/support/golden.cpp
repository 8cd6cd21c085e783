#include "golden.hpp"

#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <utility>

#include "base/bytes.hpp"
#include "codec/codec.hpp"
#include "format/json.hpp"
#include "format/names.hpp"
#include "format/tree.hpp"
#include "golden_parts.hpp"

namespace stillframe::test {
namespace {

using format::DerivedRule;

constexpr std::uint64_t kChunkFloats = kChunkBytes / 4;

class Cases {
 public:
  Golden take() && {
    golden_.files["expected.json"] = "{" + expected_ + "\n}\n";
    return std::move(golden_);
  }

  // The checkpoint's name; its ranks are added with `prefix`, then publish() writes its manifest.
  void begin(const std::string& store, std::uint64_t sequence, std::int64_t step) {
    name_ = format::to_string(format::CheckpointName{sequence, step, "20261122T123005Z"});
    prefix_ = store + "/" + name_ + "/";
    manifest_ = {};
    manifest_.sequence = sequence;
    const std::string digits = std::to_string(sequence);
    manifest_.id = std::string(32 - digits.size(), 'a') + digits;
    manifest_.run = "main";
    manifest_.step = step;
    manifest_.created_utc = "2026-11-22T12:30:05Z";
    manifest_.group = "default";
    manifest_.writer = "stillframe golden";
    golden_.files[store + "/sequence"] = digits + "\n";
  }

  void add(GoldenRank rank, const std::string& tree_json = "") {
    const std::string tree = tree_json.empty() ? format::flat_tree(rank.layout()) : tree_json;
    manifest_.ranks.push_back(rank.finish(prefix_, tree, golden_));
  }

  void publish() {
    golden_.files[prefix_ + "manifest.json"] = format::encode_manifest(manifest_).value();
    expected_ += (expected_.empty() ? "\n " : ",\n ") + ("\"" + prefix_.substr(0, prefix_.size() - 1)) + "\": {";
    bool first = true;
    for (const format::RankManifest& rank : manifest_.ranks) {
      const auto& image = golden_.images[prefix_ + std::to_string(rank.rank)];
      for (const Entry& entry : rank.layout.entries) {
        const std::string title = manifest_.ranks.size() > 1 ? format::table_file(rank.rank).substr(0, 10) + "/" : "";
        expected_ += first ? "\n  " : ",\n  ";
        first = false;
        format::append_json_string(expected_, title + entry.name);
        expected_ += ": \"" + sha256_hex(std::span(image).subspan(entry.offset, entry.bytes)) + "\"";
      }
    }
    expected_ += "\n }";
  }

  format::Manifest& manifest() noexcept { return manifest_; }
  const std::string& name() const noexcept { return name_; }
  const std::string& file(const std::string& name) const { return golden_.files.at(prefix_ + name); }

 private:
  Golden golden_;
  std::string name_;
  std::string prefix_;
  format::Manifest manifest_;
  std::string expected_;
};

void fill_random(std::span<std::byte> bytes, std::uint32_t seed) {
  for (std::byte& byte : bytes) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<std::byte>(seed >> 24U);
  }
}

template <typename T>
void put(std::span<std::byte> bytes, std::size_t index, T value) {
  std::memcpy(bytes.data() + index * sizeof value, &value, sizeof value);
}

// Every dtype, every node of a state tree, odd names, an empty tensor and a scalar; two ranks.
void container_raw(Cases& cases) {
  cases.begin("container-raw", 42, 1000);
  cases.manifest().world_size = 2;
  cases.manifest().confirmed = true;
  cases.manifest().metrics_json =
      R"({"loss": 0.25, "lr": 1e-05, "best": {"$float": "nan"}, "seen": {"$int": "9007199254740993"}, "epoch": 3,)"
      R"( "note": "ä", "done": false, "none": null})";
  cases.manifest().alarms = {{"non_finite_loss", "the loss was NaN"}, {"frozen", "\"w\" did not move\nsince step 900"}};
  std::vector<Entry> entries{{"empty", DType::f32, {0, 4}, 0, 0},
                             {"scalar", DType::i64, {}, 0, 0},
                             {"nämé \"quoted\"\n/$", DType::u8, {5}, 0, 0},
                             {"array", DType::f32, {3, 2}, 0, 0}};
  for (const DType dtype : {DType::boolean, DType::u8,          DType::i8,          DType::f8_e5m2, DType::f8_e4m3fn,
                            DType::f8_e8m0, DType::f8_e4m3fnuz, DType::f8_e5m2fnuz, DType::i16,     DType::u16,
                            DType::f16,     DType::bf16,        DType::i32,         DType::u32,     DType::f32,
                            DType::c64,     DType::f64,         DType::i64,         DType::u64,     DType::c128}) {
    entries.push_back({"dtype." + std::string(dtype_name(dtype)), dtype, {2, 3}, 0, 0});
  }
  GoldenRank first(0, entries);
  for (const Entry& entry : first.layout().entries) {
    fill_random(first.tensor(entry.name), static_cast<std::uint32_t>(entry.offset) + 1);
  }
  for (std::byte& truth : first.tensor("dtype.BOOL")) truth &= std::byte{1};
  first.add_raw();
  cases.add(std::move(first),
            R"({"model": {"w": {"$tensor": "dtype.F32"}, "tied": {"$tensor": {"entry": "dtype.F32", "dtype": "F32",)"
            R"( "shape": [3, 2], "stride": [1, 3], "offset": 0, "parameter": true, "requires_grad": true}}},)"
            R"( "null": null, "true": true, "text": "a\u0000ä\ud83d\ude00", "int": -9007199254740991,)"
            R"( "big": {"$int": "-123456789012345678901234567890"}, "float": 1.0, "small": 5e-324, "minus": -0.0,)"
            R"( "nan": {"$float": "nan"}, "bits": {"$float": "bits:7ff8000000000001"}, "inf": {"$float": "-inf"},)"
            R"( "complex": {"$complex": [1.0, {"$float": "inf"}]}, "list": [1, [2, {"a": null}]],)"
            R"( "tuple": {"$tuple": [1, {"$tuple": []}]},)"
            R"( "named": {"$namedtuple": {"type": "m.Point", "fields": ["x", "y"], "values": [1, [2]]}},)"
            R"( "dict": {"$dict": [[1, "a"], [{"$tuple": [1, null]}, [2]], ["$x", 4]]},)"
            R"( "ordered": {"$ordered_dict": [["b", 1], ["a", 2]]}, "set": {"$set": [1, "a", {"$frozenset": [2]}]},)"
            R"( "bytes": {"$bytes": "AAE="}, "bytearray": {"$bytearray": {"entry": "nämé \"quoted\"\n/$"}},)"
            R"( "enum": {"$enum": {"type": "m.Colour", "name": "RED", "value": [1]}}, "size": {"$size": [2, 3]},)"
            R"( "dtype": {"$dtype": "torch.float32"}, "device": {"$device": "cuda:0"},)"
            R"( "array": {"$ndarray": {"entry": "array", "dtype": "<f4", "shape": [2, 3], "order": "F"}},)"
            R"( "item": {"$scalar": {"dtype": "<f4", "bytes": "0000803f"}}})");
  GoldenRank second(1, {{"w", DType::f32, {7}, 0, 0}});
  fill_random(second.tensor("w"), 7);
  second.add_raw();
  cases.add(std::move(second));
  cases.publish();
}

// Runs of every width, planes with and without LZ4.
void planes_lz4(Cases& cases) {
  cases.begin("planes-lz4", 1, 10);
  GoldenRank rank(0, {{"width16", DType::c128, {100}, 0, 0},
                      {"width8", DType::f64, {300}, 0, 0},
                      {"width4", DType::f32, {1000}, 0, 0},
                      {"width2", DType::bf16, {1000}, 0, 0},
                      {"width1", DType::u8, {3001}, 0, 0}});
  for (std::size_t i = 0; i < 200; ++i) put(rank.tensor("width16"), i, static_cast<double>(i / 7));
  for (std::size_t i = 0; i < 300; ++i) put(rank.tensor("width8"), i, 1.0 / static_cast<double>(i + 1));
  fill_random(rank.tensor("width4"), 4);
  for (std::size_t i = 3; i < 4000; i += 4) rank.tensor("width4")[i] = std::byte{0x3F};
  for (std::size_t i = 0; i < 1000; ++i) put(rank.tensor("width2"), i, static_cast<std::uint16_t>(0x3F80 + i % 50));
  for (std::size_t i = 0; i < 3001; ++i)
    put(rank.tensor("width1"), i, static_cast<std::uint8_t>(i % 3 == 0 ? i / 90 : 0));
  rank.add_planes();
  cases.add(std::move(rank));
  cases.publish();
}

// Nothing is stored: zeros, a pattern, and a short chunk that cuts it.
void constant(Cases& cases) {
  cases.begin("constant", 1, -1);
  GoldenRank rank(0, {{"zeros", DType::f32, {kChunkFloats}, 0, 0},
                      {"pairs", DType::c64, {kChunkFloats / 2}, 0, 0},
                      {"tail", DType::u8, {101}, 0, 0}});
  for (std::size_t i = 0; i < kChunkFloats; ++i) put(rank.tensor("pairs"), i, i % 2 == 0 ? 1.5F : -2.0F);
  for (std::size_t i = 0; i < 101; ++i) rank.tensor("tail")[i] = static_cast<std::byte>(i % 16 * 11);
  for (int chunk = 0; chunk < 3; ++chunk) rank.add_constant();
  cases.add(std::move(rank));
  cases.publish();
}

// The third checkpoint has all its bytes in files of the first, a container, and the second, a safetensors file.
void shared(Cases& cases) {
  const auto make_rank = [](std::uint32_t seed) {
    GoldenRank rank(0, {{"w", DType::f32, {kChunkFloats}, 0, 0}, {"tail", DType::u8, {500}, 0, 0}});
    for (std::size_t i = 0; i < kChunkFloats; ++i) put(rank.tensor("w"), i, static_cast<float>(i % 256) / 8.0F);
    fill_random(rank.tensor("tail"), seed);
    return rank;
  };
  cases.begin("shared", 1, 10);
  GoldenRank first = make_rank(1);
  first.add_planes();
  first.add_raw();
  cases.add(std::move(first));
  cases.publish();
  const std::string first_name = cases.name();
  const std::string container = cases.file("rank-00000.data");

  cases.begin("shared", 2, 20);
  GoldenRank second(0, {{"tail", DType::u8, {500}, 0, 0}});
  fill_random(second.tensor("tail"), 2);
  second.begin_safetensors("main", 20);
  second.add_raw();
  cases.add(std::move(second));
  cases.publish();
  const std::string second_name = cases.name();
  const std::string safetensors = cases.file("rank-00000.safetensors");

  cases.begin("shared", 3, 30);
  GoldenRank third = make_rank(2);
  const std::uint16_t from_first = third.share(container, first_name);
  const std::uint16_t from_second = third.share(safetensors, second_name);
  third.add_shared(from_first, 0, static_cast<std::uint32_t>(container.size() - 500), 1);
  third.add_shared(from_second, safetensors.size() - 500, 500, 0);
  cases.add(std::move(third));
  cases.publish();
}

std::vector<float> awkward_floats() {
  std::vector<float> floats;
  for (const float one :
       {0.0F, 1.0F, 65504.0F, 65519.0F, 65520.0F, 1e30F, 3.4028235e38F, 6.1035156e-05F, 6.097555e-05F, 5.9604645e-08F,
        2.9802322e-08F, 2.9802326e-08F, 1e-40F, 1.00048828125F, 1.00146484375F, 1.00390625F, 1.01171875F,
        std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    floats.push_back(one);
    floats.push_back(-one);
  }
  std::uint32_t random = 1;
  while (floats.size() < 300) {
    random = random * 1664525 + 1013904223;
    floats.push_back(static_cast<float>(random >> 8U) / 65536.0F - 128.0F);
  }
  return floats;
}

// The second chunk is made from the first by all three rules; a source is also a constant.
void derived(Cases& cases) {
  constexpr std::uint32_t kFloats = 300;
  cases.begin("derived", 1, 10);
  GoldenRank rank(0, {{"master", DType::f32, {kChunkFloats}, 0, 0},
                      {"ones", DType::f32, {kChunkFloats}, 0, 0},
                      {"copy", DType::f32, {kFloats}, 0, 0},
                      {"bf16", DType::bf16, {kFloats}, 0, 0},
                      {"f16", DType::f16, {kFloats}, 0, 0},
                      {"ones_bf16", DType::bf16, {16}, 0, 0}});
  const std::vector<float> floats = awkward_floats();
  for (std::size_t i = 0; i < kChunkFloats; ++i) put(rank.tensor("master"), i, i < kFloats ? floats[i] : 0.5F);
  for (std::size_t i = 0; i < kChunkFloats; ++i) put(rank.tensor("ones"), i, 1.0F);
  const std::vector<format::DerivedPiece> pieces{{0, 4 * kFloats, DerivedRule::copy},
                                                 {0, 2 * kFloats, DerivedRule::bf16_of_f32},
                                                 {0, 2 * kFloats, DerivedRule::f16_of_f32},
                                                 {kChunkBytes - 32, 32, DerivedRule::bf16_of_f32}};
  std::span<std::byte> out = rank.tensor("copy");
  const auto master = rank.tensor("master").first(4 * kFloats);
  std::memcpy(out.data(), master.data(), master.size());
  (void)format::apply_rule(DerivedRule::bf16_of_f32, master, rank.tensor("bf16"));
  (void)format::apply_rule(DerivedRule::f16_of_f32, master, rank.tensor("f16"));
  for (std::size_t i = 0; i < 16; ++i) {
    put(rank.tensor("ones_bf16"), i, static_cast<std::uint16_t>(i < 8 ? 0x3F00 : 0x3F80));  // 0.5, then 1.0
  }
  rank.add_planes();
  rank.add_constant();
  rank.add_derived(pieces);
  cases.add(std::move(rank));
  cases.publish();
}

void safetensors(Cases& cases) {
  cases.begin("safetensors", 1, 10);
  GoldenRank rank(0, {{"layer.weight", DType::f32, {8, 16}, 0, 0},
                      {"layer.half", DType::bf16, {33}, 0, 0},
                      {"phase", DType::c128, {2}, 0, 0},
                      {"mask", DType::boolean, {5}, 0, 0},
                      {"empty", DType::u8, {0}, 0, 0}});
  for (const Entry& entry : rank.layout().entries) fill_random(rank.tensor(entry.name), 99);
  for (std::byte& truth : rank.tensor("mask")) truth &= std::byte{1};
  rank.begin_safetensors("main", 10);
  rank.add_raw();
  cases.add(std::move(rank));
  cases.publish();
}

constexpr std::uint8_t kPlanes = 2;  // docs/format-v2.md

std::string stored_chunk(const std::string& chunks, const std::string& name) {
  std::ifstream file(chunks + "/" + name + ".stored", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A tensor of 32-bit floats that is this chunk.
GoldenRank rank_of(std::uint32_t rank, std::uint64_t floats, const std::string& stored) {
  GoldenRank made(rank, {{"w", DType::f32, {floats}, 0, 0}});
  (void)codec::decode(kPlanes, base::as_bytes(stored), made.tensor("w"));
  return made;
}

// Weights, moments and nibbles of three ranks; the fourth would be version 1. Then the first one's chunk, shared.
void planes(Cases& cases, const std::string& chunks) {
  struct Part {
    std::string chunk;
    std::uint64_t floats = 0;
  };
  const std::vector<Part> parts{{"weights", 5000}, {"moments", 6001}, {"nibbles", 3003}};
  cases.begin("planes", 1, 10);
  cases.manifest().world_size = 4;
  cases.manifest().writer = "stillframe golden, level default";
  for (std::uint32_t rank = 0; rank < parts.size(); ++rank) {
    const std::string stored = stored_chunk(chunks, parts[rank].chunk);
    GoldenRank made = rank_of(rank, parts[rank].floats, stored);
    made.add_stored(kPlanes, stored);
    cases.add(std::move(made));
  }
  GoldenRank last(3, {{"w", DType::u8, {7}, 0, 0}});
  fill_random(last.tensor("w"), 3);
  last.add_raw();
  cases.add(std::move(last));
  cases.publish();
  const std::string first_name = cases.name();
  const std::string container = cases.file("rank-00000.data");

  cases.begin("planes", 2, 20);
  GoldenRank shares = rank_of(0, parts[0].floats, container);
  const std::uint16_t from = shares.share(container, first_name);
  shares.add_shared(from, 0, static_cast<std::uint32_t>(container.size()), kPlanes);
  cases.add(std::move(shares));
  cases.publish();
}

}  // namespace

Golden make_golden_v2(const std::string& chunks) {
  Cases cases;
  planes(cases, chunks);
  return std::move(cases).take();
}

Golden make_golden() {
  Cases cases;
  container_raw(cases);
  planes_lz4(cases);
  constant(cases);
  shared(cases);
  derived(cases);
  safetensors(cases);
  return std::move(cases).take();
}

}  // namespace stillframe::test
