#include "store/verify.hpp"

#include "base/bytes.hpp"
#include "store/data_header.hpp"
#include "store/rank_files.hpp"
#include "store/verification.hpp"

namespace stillframe::store {
namespace {

constexpr std::size_t kMaxFindings = 1000;
constexpr std::size_t kMaxFindingBytes = 4096;

void add_finding(VerifyReport& report, const std::string& file, std::string tensors, std::int64_t chunk,
                 const Status& why) {
  ++report.findings_total;
  report.damaged = report.damaged || why.code() == Code::corrupt;
  if (report.findings.size() < kMaxFindings) {
    report.findings.push_back({env::join(report.name, file), std::move(tensors), chunk, why.message(), why.code()});
  }
}

class Verification {
 public:
  Verification(const Store& store, const OpenedManifest& opened, VerifyDepth depth, const VerifyHooks& hooks,
               VerifyReport& report)
      : store_(store), opened_(opened), depth_(depth), hooks_(hooks), report_(report) {
    for (const auto& rank : opened.manifest.ranks) total_bytes_ += rank.layout.bytes;
  }

  Status run() {
    report_.stored_bytes = opened_.text.size();
    SF_TRY(was_read(opened_.text.size()));
    for (const auto& rank : opened_.manifest.ranks) SF_TRY(check_rank(rank));
    return Status();
  }

 private:
  // Whatever of the rank's files is missing or wrong is a finding; the chunks are read as far as the files are there.
  Status check_rank(const format::RankManifest& rank) {
    RankFiles files;
    auto table = read_table(store_, opened_.path, rank, ReadFrom::device);
    if (!table.ok()) add_finding(report_, rank.table.file, {}, -1, table.status());
    files.data = open_data(rank.data.file, rank.data.bytes);
    if (files.data != nullptr) {
      const Status header =
          check_data_header(*files.data, env::join(opened_.path, rank.data.file), opened_.manifest, rank);
      if (!header.ok()) add_finding(report_, rank.data.file, {}, -1, header);
    }
    for (const format::SharedFile& shared : rank.shared) files.shared.push_back(open_data(shared.file, shared.bytes));
    report_.stored_bytes += rank.table.bytes;
    SF_TRY(was_read(rank.table.bytes + rank.data.start));
    if (depth_ == VerifyDepth::quick || !table.ok()) return advance(rank.layout.bytes);
    files.table = *std::move(table);
    SF_TRY(check_chunks(rank, files));
    files.drop_cache();  // what was read once here is not worth the memory
    return Status();
  }

  // Null, with a finding, when it cannot be opened; one of another size is read as far as it goes.
  std::unique_ptr<env::File> open_data(const std::string& file, std::uint64_t bytes) {
    report_.stored_bytes += bytes;
    const std::string path = env::join(opened_.path, file);
    auto opened = open_promised(store_, path);
    if (!opened.ok()) {
      add_finding(report_, file, {}, -1, opened.status());
      return nullptr;
    }
    if (depth_ == VerifyDepth::full) (*opened)->drop_cache();  // before the first read, the header's
    const Status size = check_size(**opened, path, bytes);
    if (!size.ok()) add_finding(report_, file, {}, -1, size);
    return *std::move(opened);
  }

  Status check_chunks(const format::RankManifest& rank, const RankFiles& files) {
    for (std::uint64_t chunk = 0; chunk < files.table.chunks.size(); ++chunk) {
      const format::ChunkRecord& record = files.table.chunks[chunk];
      if (in_unopened_file(files, record)) {  // its file is a finding already
        SF_TRY(advance(record.raw_bytes));
        continue;
      }
      raw_.resize(record.raw_bytes);
      std::uint64_t told_bytes = 0;
      const auto read = read_chunk(files, chunk, raw_, scratch_, [&](std::uint64_t bytes) {
        told_bytes += bytes;
        return was_read(bytes).ok() && advance(0).ok();
      });
      if (read.status().code() == Code::deadline) return ended();
      if (!read.ok()) {
        add_finding(report_, file_of_chunk(rank, record), tensors_of_chunk(rank.layout, chunk),
                    static_cast<std::int64_t>(chunk), read.status());
      }
      ++report_.chunks;
      report_.raw_bytes += record.raw_bytes;
      SF_TRY(was_read(read.ok() ? *read - told_bytes : record.stored_bytes));
      SF_TRY(advance(record.raw_bytes));
    }
    return Status();
  }

  static bool in_unopened_file(const RankFiles& files, const format::ChunkRecord& record) {
    if (record.location == format::LocationKind::constant) return false;
    if (record.location == format::LocationKind::shared) return files.shared[record.source] == nullptr;
    return files.data == nullptr;
  }

  Status ended() const {
    return Status(Code::deadline, "the verification of '" + report_.name + "' was ended early; nothing was changed");
  }
  Status was_read(std::uint64_t bytes) const { return !hooks_.was_read || hooks_.was_read(bytes) ? Status() : ended(); }
  Status advance(std::uint64_t bytes) {
    done_bytes_ += bytes;
    return !hooks_.progress || hooks_.progress(done_bytes_, total_bytes_) ? Status() : ended();
  }

  const Store& store_;
  const OpenedManifest& opened_;
  const VerifyDepth depth_;
  const VerifyHooks& hooks_;
  VerifyReport& report_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t done_bytes_ = 0;
  std::vector<std::byte> raw_;
  ReadScratch scratch_;
};

}  // namespace

Result<VerifyReport> verify_opened(const Store& store, const OpenedManifest& opened, VerifyDepth depth,
                                   const VerifyHooks& hooks) {
  VerifyReport report;
  report.name = opened.name;
  report.confirmed = opened.manifest.confirmed;
  SF_TRY(Verification(store, opened, depth, hooks, report).run());
  report.ok = report.findings_total == 0;
  return report;
}

Result<VerifyReport> verify_unopened(const std::string& name, const Status& why) {
  if (why.code() == Code::not_found || why.code() == Code::unsupported) return why;
  VerifyReport report;
  report.name = name;
  add_finding(report, std::string(format::kManifestFile), {}, -1, why);
  return report;
}

Result<VerifyReport> verify(const Store& store, const std::string& name, VerifyDepth depth,
                            const std::function<bool(std::uint64_t, std::uint64_t)>& progress) {
  const auto opened = open_manifest(store, name, ReadFrom::device);
  if (!opened.ok()) return verify_unopened(name, opened.status());
  return verify_opened(store, *opened, depth, {progress, {}});
}

std::string first_finding(const VerifyReport& report) {
  if (report.findings.empty()) return {};
  const Finding& first = report.findings.front();
  std::string text = first.file;
  if (first.chunk >= 0) text += ", chunk " + std::to_string(first.chunk);
  if (!first.tensors.empty()) text += " (" + first.tensors + ")";
  text = base::shortened(text + ": " + first.what, kMaxFindingBytes);
  if (report.findings_total > 1) text += "; and " + std::to_string(report.findings_total - 1) + " more";
  return text;
}

}  // namespace stillframe::store
