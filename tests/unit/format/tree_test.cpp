#include "format/tree.hpp"

#include <gtest/gtest.h>

namespace stillframe::format {
namespace {

// w: F32 [2, 3]; bytes: U8 [6]; flat: F16 [12]; none: F32 [0].
ImageLayout layout() {
  return lay_out({{"w", DType::f32, {2, 3}, 0, 0},
                  {"bytes", DType::u8, {6}, 0, 0},
                  {"flat", DType::f16, {12}, 0, 0},
                  {"none", DType::f32, {0}, 0, 0}})
      .value();
}

std::string nested(int depth, const std::string& open, const std::string& close) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  text += "1";
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

TEST(StateTree, EveryKindOfNodeIsKnown) {
  const std::string cases[] = {
      "null",
      "true",
      "\"text \\u0000 \\ud83d\\ude00\"",
      "0",
      "-9007199254740991",
      "9007199254740991",
      "1.0",
      "-0.0",
      "1e+20",
      "5e-324",
      "[]",
      "{}",
      "[1, [2, {\"a\": null}]]",
      R"({"$int": "9007199254740992"})",
      R"({"$int": "-123456789012345678901234567890"})",
      R"({"$float": "nan"})",
      R"({"$float": "-inf"})",
      R"({"$float": "bits:7ff8000000000001"})",
      R"({"$float": "bits:fff8000000000000"})",
      R"({"$complex": [1.0, {"$float": "inf"}]})",
      R"({"$tuple": [1, {"$tuple": []}]})",
      R"({"$namedtuple": {"type": "m.Point", "fields": ["x", "y"], "values": [1, [2]]}})",
      R"({"$dict": [[1, "a"], [{"$tuple": [1, null]}, [2]], [{"$bytes": "AAE="}, 3], ["$x", 4]]})",
      R"({"$ordered_dict": [["b", 1], ["a", 2]]})",
      R"({"$set": [1, "a", {"$frozenset": [2]}]})",  // not in the order that a writer gives it, as in a golden file
      R"({"$bytes": ""})",
      R"({"$bytearray": "AQID"})",
      R"({"$bytes": {"entry": "bytes"}})",
      R"({"$bytearray": {"entry": "bytes"}})",
      R"({"$enum": {"type": "m.Colour", "name": "RED", "value": [1]}})",
      R"({"$size": [2, 3]})",
      R"({"$dtype": "torch.float32"})",
      R"({"$device": "cuda:0"})",
      R"({"$ndarray": {"entry": "w", "dtype": "<f4", "shape": [3, 2], "order": "F"}})",
      R"({"$ndarray": {"entry": "none", "dtype": ">f8", "shape": [0, 9], "order": "C"}})",
      R"({"$scalar": {"dtype": "<c16", "bytes": "000102030405060708090a0b0c0d0e0f"}})",
      R"({"$tensor": "w"})",
      R"({"$tensor": {"entry": "w", "parameter": true, "requires_grad": true, "device": "cuda:1"}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [3, 2], "stride": [1, 3], "offset": 0}})",
      R"({"$tensor": {"entry": "w", "dtype": "U8", "shape": [], "stride": [], "offset": 23}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [1000], "stride": [0], "offset": 5}})",
      R"({"$tensor": {"entry": "none", "dtype": "F32", "shape": [0, 4], "stride": [4, 1], "offset": 0}})",
      nested(200, "[", "]"),
      nested(200, "{\"$tuple\": [", "]}"),
      nested(200, "{\"$dict\": [[1, ", "]]}"),
  };
  for (const std::string& text : cases) {
    const Status status = check_tree(text, layout());
    EXPECT_TRUE(status.ok()) << text.substr(0, 200) << "\n  " << status.message();
  }
}

TEST(StateTree, AnythingElseIsRefused) {
  const std::string cases[] = {
      "",
      " ",
      "nul",
      "1 2",
      "[1,]",
      "{\"a\": 1, \"a\": 2}",
      "[NaN]",
      "1e999",
      "\"\\ud800\"",
      "\"\xFF\"",
      "\"a\nb\"",
      "// c\n1",
      "9007199254740992",
      "-9007199254740992",
      "123456789012345678901234567890",
      R"({"$int": "5"})",
      R"({"$int": "09007199254740992"})",
      R"({"$int": ""})",
      R"({"$int": "-"})",
      R"({"$int": 5})",
      R"({"$int": "9007199254740992x"})",
      R"({"$float": "NaN"})",
      R"({"$float": "bits:7ff8000000000000"})",
      R"({"$float": "bits:7ff0000000000000"})",
      R"({"$float": "bits:7FF8000000000001"})",
      R"({"$float": 1.0})",
      R"({"$complex": [1, 2.0]})",
      R"({"$complex": [1.0]})",
      R"({"$tuple": 1})",
      R"({"$tuple": [], "x": 1})",
      R"({"x": 1, "$tuple": []})",
      R"({"$unknown": 1})",
      R"({"$": 1})",
      R"({"$namedtuple": {"type": "m.P", "fields": ["x"], "values": []}})",
      R"({"$namedtuple": {"type": "m.P", "fields": [1], "values": [1]}})",
      R"({"$dict": [[1]]})",
      R"({"$dict": {"a": 1}})",
      R"({"$dict": [[[1], 2]]})",
      R"({"$dict": [[{"a": 1}, 2]]})",
      R"({"$dict": [[{"$tensor": "w"}, 2]]})",
      R"({"$dict": [[{"$tuple": [[1]]}, 2]]})",
      R"({"$dict": [[{"$bytearray": ""}, 2]]})",
      R"({"$dict": [[1, 2], [1, 3]]})",
      R"({"$set": [[1]]})",
      R"({"$set": [1, 1]})",
      R"({"$default_dict": []})",
      R"({"$bytes": "A"})",
      R"({"$bytes": "AB=="})",
      R"({"$bytes": "AA=A"})",
      R"({"$bytes": "AAA "})",
      R"({"$bytes": "===="})",
      R"({"$bytes": {"entry": "w"}})",
      R"({"$bytes": {"entry": "lost"}})",
      "{\"$bytes\": \"" + std::string(5464, 'A') + "\"}",
      R"({"$enum": {"type": "m.C", "name": "RED"}})",
      R"({"$size": [1.0]})",
      R"({"$dtype": "float32"})",
      R"({"$device": ""})",
      R"({"$ndarray": {"entry": "w", "dtype": "<f4", "shape": [7], "order": "C"}})",
      R"({"$ndarray": {"entry": "w", "dtype": "<f4", "shape": [-6], "order": "C"}})",
      R"({"$ndarray": {"entry": "w", "dtype": "|O", "shape": [6], "order": "C"}})",
      R"({"$ndarray": {"entry": "w", "dtype": "<M8", "shape": [3], "order": "C"}})",
      R"({"$ndarray": {"entry": "w", "dtype": "<f4", "shape": [6], "order": "A"}})",
      R"({"$ndarray": {"entry": "w", "dtype": "<f4", "shape": [9223372036854775808, 2], "order": "C"}})",
      R"({"$scalar": {"dtype": "<f4", "bytes": "00"}})",
      R"({"$scalar": {"dtype": "<f4", "bytes": "0000000G"}})",
      R"({"$tensor": "lost"})",
      R"({"$tensor": 1})",
      R"({"$tensor": {"entry": "w", "grad": true}})",
      R"({"$tensor": {"entry": "w", "parameter": 1}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32"}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [7], "stride": [1], "offset": 0}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [6], "stride": [1], "offset": 1}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [2], "stride": [-1], "offset": 1}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [2], "stride": [1], "offset": -1}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [2], "stride": [1, 1], "offset": 0}})",
      R"({"$tensor": {"entry": "w", "dtype": "Q32", "shape": [2], "stride": [1], "offset": 0}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [0], "stride": [1], "offset": 7}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [3, 5], "stride": [9223372036854775808, 1], "offset": 0}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [], "stride": [], "offset": 18446744073709551615}})",
      R"({"$tensor": {"entry": "w", "dtype": "F32", "shape": [1], "stride": [1], "offset": 4611686018427387904}})",
      nested(201, "[", "]"),
      nested(201, "{\"$tuple\": [", "]}"),
      nested(201, "{\"a\": ", "}"),
      std::string(1'000'000, '['),
  };
  for (const std::string& text : cases) {
    EXPECT_EQ(check_tree(text, layout()).code(), Code::corrupt) << text.substr(0, 200);
  }
}

TEST(StateTree, TheMessageSaysWhere) {
  const Status status = check_tree(R"({"opt": {"state": [0, {"$tensor": "lost"}]}})", layout());
  EXPECT_NE(status.message().find("state.opt.state[1]"), std::string::npos) << status.message();
}

TEST(StateTree, AFlatTreeNamesEveryEntry) {
  EXPECT_EQ(flat_tree(lay_out({{"a\"b", DType::f32, {1}, 0, 0}}).value()), R"({"a\"b": {"$tensor": "a\"b"}})");
  EXPECT_TRUE(check_tree(flat_tree(layout()), layout()).ok());
  EXPECT_TRUE(check_tree(flat_tree(ImageLayout{}), ImageLayout{}).ok());
  const ImageLayout dollar = lay_out({{"$w", DType::f32, {1}, 0, 0}, {"b", DType::f32, {1}, 0, 0}}).value();
  EXPECT_TRUE(check_tree(flat_tree(dollar), dollar).ok()) << flat_tree(dollar);
}

}  // namespace
}  // namespace stillframe::format
