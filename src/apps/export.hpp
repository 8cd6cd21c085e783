// One checkpoint as a directory of safetensors that appears whole or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "env/env.hpp"
#include "stillframe/status.hpp"
#include "store/reader.hpp"

namespace stillframe::apps {

struct ExportedFile {
  std::string file;
  std::uint64_t bytes = 0;
};

// Writes under `<target>.partial`; publish() gives it the final name. Destroyed before: what was written is removed.
class DirectoryExport {
 public:
  // `target` must not exist, or be an empty directory: invalid_argument. busy when `<target>.partial` exists (another
  // restore is under way, or was cut off).
  [[nodiscard]] static Result<DirectoryExport> begin(env::Env& env, const std::string& target);
  DirectoryExport(DirectoryExport&& other) noexcept;
  DirectoryExport& operator=(DirectoryExport&&) = delete;
  ~DirectoryExport();

  // One rank-00000.safetensors per rank, tree.json and manifest.json, each synced. After corrupt (the checkpoint is
  // damaged) it may be called again with another one. `progress` (may be empty): raw bytes done and total.
  [[nodiscard]] Status write(const store::CheckpointReader& reader,
                             const std::function<void(std::uint64_t, std::uint64_t)>& progress);
  // Synced and renamed: survives power loss when it returns ok.
  [[nodiscard]] Status publish();

  [[nodiscard]] const std::vector<ExportedFile>& files() const noexcept { return files_; }
  [[nodiscard]] const std::string& target() const noexcept { return target_; }

 private:
  DirectoryExport(env::Env& env, std::string target);
  [[nodiscard]] Status write_text(const std::string& file, const std::string& text);
  [[nodiscard]] Status write_rank(const store::CheckpointReader& reader, std::size_t index,
                                  const std::function<void(std::uint64_t)>& progress);
  [[nodiscard]] Status remove_files();

  env::Env* env_;
  std::string target_;
  std::string partial_;
  bool made_ = false;
  std::vector<ExportedFile> files_;
};

}  // namespace stillframe::apps
