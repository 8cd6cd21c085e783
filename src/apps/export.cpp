#include "apps/export.hpp"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/bytes.hpp"
#include "interop/safetensors.hpp"

namespace stillframe::apps {
namespace {

std::string rank_file(std::uint32_t rank) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "rank-%05u.safetensors", rank);
  return text.data();
}

// "format" is what other libraries ask for before they read the tensors as PyTorch's.
format::SafetensorsMetadata metadata_of(const store::CheckpointReader& reader, std::uint32_t rank) {
  const format::Manifest& manifest = reader.manifest();
  return {{"format", "pt"},
          {"stillframe.checkpoint", reader.name()},
          {"stillframe.rank", std::to_string(rank)},
          {"stillframe.run", manifest.run},
          {"stillframe.step", std::to_string(manifest.step)}};
}

Result<std::string> tree_text(const format::Manifest& manifest) {
  nlohmann::ordered_json ranks = nlohmann::ordered_json::array();
  for (const format::RankManifest& rank : manifest.ranks) {
    auto tree = nlohmann::ordered_json::parse(rank.tree_json, nullptr, false);
    if (tree.is_discarded()) return Status(Code::corrupt, "the state tree of the checkpoint is not JSON");
    ranks.push_back({{"rank", rank.rank}, {"file", rank_file(rank.rank)}, {"tree", std::move(tree)}});
  }
  return nlohmann::ordered_json{{"ranks", std::move(ranks)}}.dump(1) + "\n";
}

Status check_target(env::Env& env, const std::string& given) {
  const auto target = env::resolve_directory_of(env, given);
  if (target.status().code() == Code::not_found) return {};
  SF_TRY(target.status());
  SF_ASSIGN(const bool there, env.exists(*target));
  if (!there) return {};
  const auto entries = env.list(*target);
  if (!entries.ok())
    return Status(Code::invalid_argument, "the target is not a directory: " + entries.status().message());
  if (entries->empty()) return {};
  return {Code::invalid_argument,
          "the directory " + given + " is not empty; nothing was touched: name a new or empty one"};
}

}  // namespace

DirectoryExport::DirectoryExport(env::Env& env, std::string target)
    : env_(&env), target_(std::move(target)), partial_(target_ + ".partial") {}

DirectoryExport::DirectoryExport(DirectoryExport&& other) noexcept
    : env_(other.env_),
      target_(std::move(other.target_)),
      partial_(std::move(other.partial_)),
      made_(std::exchange(other.made_, false)),
      files_(std::move(other.files_)) {}

DirectoryExport::~DirectoryExport() {
  if (!made_) return;
  remove_files().ignore("the error that led here is the one to report");
  env_->remove_dir(partial_).ignore("the error that led here is the one to report");
}

Result<DirectoryExport> DirectoryExport::begin(env::Env& env, const std::string& target) {
  std::string trimmed = target;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const std::string last = trimmed.substr(trimmed.find_last_of('/') + 1);
  if (last.empty() || last == "." || last == "..") {
    return Status(Code::invalid_argument, "expected a directory with a name of its own, found \"" + target + "\"");
  }
  SF_TRY(check_target(env, trimmed));
  const std::string parent = trimmed.find('/') == std::string::npos ? "." : env::parent_dir(trimmed);
  SF_TRY(env.make_dirs_synced(parent));
  SF_ASSIGN(const std::string real_parent, env.real_path(parent));
  DirectoryExport result(env, env::join(real_parent, last));
  const Status made = env.make_dir(result.partial_);
  if (made.code() == Code::busy) {
    return Status(Code::busy, result.partial_ +
                                  " exists: another restore is writing it, or one was cut off. If none is "
                                  "running, remove that directory and repeat");
  }
  SF_TRY(made);
  result.made_ = true;
  return result;
}

Status DirectoryExport::write(const store::CheckpointReader& reader,
                              const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  SF_TRY(remove_files());
  const format::Manifest& manifest = reader.manifest();
  std::uint64_t total = 0;
  for (const format::RankManifest& rank : manifest.ranks) total += rank.layout.bytes;
  std::uint64_t before = 0;
  for (std::size_t i = 0; i < manifest.ranks.size(); ++i) {
    SF_TRY(write_rank(reader, i, [&](std::uint64_t done) {
      if (progress) progress(before + done, total);
    }));
    before += manifest.ranks[i].layout.bytes;
  }
  SF_ASSIGN(const std::string tree, tree_text(manifest));
  SF_TRY(write_text("tree.json", tree));
  return write_text("manifest.json", reader.manifest_text());
}

Status DirectoryExport::write_rank(const store::CheckpointReader& reader, std::size_t index,
                                   const std::function<void(std::uint64_t)>& progress) {
  const std::uint32_t rank = reader.manifest().ranks[index].rank;
  const std::string file = rank_file(rank);
  SF_ASSIGN(const auto out, env_->create(env::join(partial_, file)));
  files_.push_back({file, 0});
  SF_ASSIGN(files_.back().bytes, interop::write_safetensors(reader, index, metadata_of(reader, rank), *out, progress));
  return {};
}

Status DirectoryExport::write_text(const std::string& file, const std::string& text) {
  SF_ASSIGN(const auto out, env_->create(env::join(partial_, file)));
  files_.push_back({file, text.size()});
  SF_TRY(out->write_at(0, base::as_bytes(text)));
  return out->sync();
}

Status DirectoryExport::remove_files() {
  while (!files_.empty()) {
    SF_TRY(env_->remove_file(env::join(partial_, files_.back().file)));
    files_.pop_back();
  }
  return {};
}

Status DirectoryExport::publish() {
  SF_TRY(env_->sync_dir(partial_));
  SF_ASSIGN(const bool empty_target, env_->exists(target_));
  if (empty_target) SF_TRY(env_->remove_dir(target_));
  SF_TRY(env_->rename_no_replace(partial_, target_));
  made_ = false;
  return env_->sync_dir(env::parent_dir(target_));
}

}  // namespace stillframe::apps
