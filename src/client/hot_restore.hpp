// A restore from the memory of a dead predecessor: the image, and the word to the daemon when it is no longer read.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "client/core.hpp"
#include "restore/memory_image.hpp"

namespace stillframe::client {

// Lets go of the image when it goes. From the training thread, as Core's settle().
class HotRestore {
 public:
  // Null when the daemon has none. What makes the memory of no use is an error: then the store is read.
  [[nodiscard]] static Result<std::unique_ptr<HotRestore>> open(std::shared_ptr<Core> core, const base::Deadline& deadline);
  ~HotRestore();
  HotRestore(const HotRestore&) = delete;
  HotRestore& operator=(const HotRestore&) = delete;

  [[nodiscard]] const restore::MemoryImage& image() const noexcept { return *image_; }
  // What a manifest says of a checkpoint that a restore needs: sequence, run, step, time, metrics, entries and tree. Not sealed.
  [[nodiscard]] std::string manifest_text() const;

 private:
  HotRestore(std::shared_ptr<Core> core, std::unique_ptr<restore::MemoryImage> image)
      : core_(std::move(core)), image_(std::move(image)) {}
  const std::shared_ptr<Core> core_;
  std::unique_ptr<restore::MemoryImage> image_;
};

}  // namespace stillframe::client
