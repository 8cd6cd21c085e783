// What each processor's way of cutting elements into planes gives is what the plain one gives.
#include "codec/plane_kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>

#include "unit/codec/samples.hpp"

namespace stillframe::codec {
namespace {

constexpr std::array<std::size_t, 5> kEveryWidth{1, 2, 4, 8, 16};

std::vector<const PlaneKernels*> kernels_here() {
  std::vector<const PlaneKernels*> kernels{&plain_kernels()};
  for (const PlaneKernels* one : {avx2_kernels(), avx512_kernels()}) {
    if (one != nullptr) kernels.push_back(one);
  }
  return kernels;
}

// Each plane in a heap block of its exact length, so that the address sanitiser sees a step outside.
struct Planes {
  Planes(std::size_t width, std::size_t count) {
    for (std::size_t p = 0; p < width; ++p) {
      blocks.push_back(std::make_unique<Bytes>(count));
      places.push_back(blocks.back()->data());
    }
  }
  std::vector<std::unique_ptr<Bytes>> blocks;
  std::vector<std::byte*> places;
};

// The definition, one element at a time.
std::byte expected_byte(const Bytes& raw, std::size_t width, std::size_t element, std::size_t plane, bool rotate) {
  const auto at = [&](std::size_t byte) { return std::to_integer<unsigned>(raw[element * width + byte]); };
  if (!rotate) return static_cast<std::byte>(at(plane));
  const std::size_t below = plane == 0 ? width - 1 : plane - 1;
  return static_cast<std::byte>(at(plane) << 1U | at(below) >> 7U);
}

// Elements begin anywhere, at an odd address too, and end with their block.
void expect_split_and_merged(const PlaneKernels& kernels, std::size_t width, std::size_t count, bool rotate) {
  const Bytes raw = noise(width * count, width + count);
  const std::size_t lead = count % 7;
  Bytes elements(lead);
  elements.insert(elements.end(), raw.begin(), raw.end());
  Planes planes(width, count);
  kernels.split[width_index(width)](elements.data() + lead, count, rotate, planes.places.data());
  std::size_t wrong = 0;
  for (std::size_t p = 0; p < width; ++p) {
    for (std::size_t i = 0; i < count; ++i) {
      wrong += (*planes.blocks[p])[i] != expected_byte(raw, width, i, p, rotate) ? 1U : 0U;
    }
  }
  Bytes back(lead + raw.size(), std::byte{0x55});
  kernels.merge[width_index(width)](planes.places.data(), count, rotate, back.data() + lead);
  EXPECT_TRUE(wrong == 0 && std::equal(raw.begin(), raw.end(), back.begin() + static_cast<std::ptrdiff_t>(lead)))
      << kernels.name << ", width " << width << ", " << count << " elements, rotate " << rotate << ": " << wrong
      << " bytes of planes are wrong";
}

TEST(PlaneKernels, EachGivesThePlanesOfTheDefinitionForAnyLength) {
  for (const PlaneKernels* kernels : kernels_here()) {
    for (const std::size_t width : kEveryWidth) {
      for (std::size_t count = 0; count < 200; ++count) {
        expect_split_and_merged(*kernels, width, count, false);
        if (can_rotate(width)) expect_split_and_merged(*kernels, width, count, true);
      }
      expect_split_and_merged(*kernels, width, 65'537, can_rotate(width));
    }
  }
}

TEST(PlaneKernels, TheBestIsOneThatThisProcessorHas) {
  bool found = false;
  for (const PlaneKernels* kernels : kernels_here()) found = found || kernels == &best_kernels();
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace stillframe::codec
