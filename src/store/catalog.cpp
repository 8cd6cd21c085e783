#include "store/catalog.hpp"

#include <unordered_set>

#include "store/checkpoint_files.hpp"

namespace stillframe::store {
namespace {

Result<format::ManifestHead> head_of(const Store& store, const CheckpointRef& ref, const std::string& text) {
  const std::string path = env::join(env::join(store.path(), ref.name), format::kManifestFile);
  auto head = format::decode_manifest_head(text);
  if (!head.ok()) return head.status().with_context("'" + path + "'");
  SF_TRY(check_belongs(*head, ref.parsed, path));
  return head;
}

bool is_ours(const env::DirEntry& entry) {
  return entry.is_directory && (format::parse_checkpoint_name(entry.name) || format::parse_partial_name(entry.name) ||
                                format::parse_removing_name(entry.name));
}

// Sums files up, each once, however many names it has. What goes away meanwhile counts for nothing.
class FileSum {
 public:
  explicit FileSum(env::Env& env) : env_(env) {}

  Status add_file(const std::string& path) {
    const auto info = env_.info(path);
    if (info.status().code() == Code::not_found) return Status();
    if (!info.ok()) return info.status();
    if (info->links <= 1 || seen_.insert(info->file_id).second) bytes_ += info->bytes;
    return Status();
  }

  Status add_directory(const std::string& path) {
    const auto entries = env_.list(path);
    if (entries.status().code() == Code::not_found) return Status();
    if (!entries.ok()) return entries.status();
    for (const auto& entry : *entries) {
      if (!entry.is_directory) SF_TRY(add_file(env::join(path, entry.name)));
    }
    return Status();
  }

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  env::Env& env_;
  std::unordered_set<std::uint64_t> seen_;  // of files with several names
  std::uint64_t bytes_ = 0;
};

}  // namespace

Result<std::optional<CatalogEntry>> read_catalog_entry(const Store& store, const CheckpointRef& ref) {
  CatalogEntry entry{ref, Status(Code::internal, "not read"), 0, {}};
  const auto text = read_manifest_text(store, ref.name);
  if (text.status().code() == Code::not_found) return std::optional<CatalogEntry>();
  if (text.ok()) entry.manifest_bytes = text->size();
  entry.head = text.ok() ? head_of(store, ref, *text) : Result<format::ManifestHead>(text.status());
  const auto marks = store.marks(ref.name);
  if (marks.status().code() == Code::not_found) return std::optional<CatalogEntry>();
  if (marks.ok()) {
    entry.marks = *marks;
  } else if (entry.head.ok()) {
    entry.head = marks.status();  // whether it is bad or pinned cannot be told: nothing may be concluded
  }
  return std::optional<CatalogEntry>(std::move(entry));
}

Result<CatalogEntry> find_step(const Store& store, const std::string& run, std::int64_t step, Prefer prefer) {
  SF_ASSIGN(const auto refs, store.list());
  std::optional<CatalogEntry> found;
  for (const CheckpointRef& ref : refs) {
    if (ref.parsed.step != step) continue;
    SF_ASSIGN(auto entry, read_catalog_entry(store, ref));
    if (!entry || (entry->head.ok() && entry->head->run != run)) continue;
    if (prefer == Prefer::newest || entry->marks.pinned) return *std::move(entry);
    if (!found) found = std::move(entry);
  }
  if (found) return *std::move(found);
  return Status(Code::not_found, "there is no checkpoint of the run '" + run + "' at step " + std::to_string(step) +
                                     " in the store '" + store.path() + "'; `stillframe ls` shows what there is");
}

Result<std::vector<CatalogEntry>> read_catalog(const Store& store) {
  SF_ASSIGN(const auto refs, store.list());
  std::vector<CatalogEntry> catalog;
  catalog.reserve(refs.size());
  for (const CheckpointRef& ref : refs) {
    SF_ASSIGN(auto entry, read_catalog_entry(store, ref));
    if (entry) catalog.push_back(*std::move(entry));
  }
  return catalog;
}

Result<std::uint64_t> store_bytes(const Store& store) {
  SF_ASSIGN(const auto entries, store.env().list(store.path()));
  FileSum sum(store.env());
  for (const auto& entry : entries) {
    const std::string path = env::join(store.path(), entry.name);
    if (is_ours(entry)) SF_TRY(sum.add_directory(path));
    if (!entry.is_directory) SF_TRY(sum.add_file(path));
  }
  return sum.bytes();
}

}  // namespace stillframe::store
