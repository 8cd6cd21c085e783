// Re-reading a whole checkpoint past the page cache: every finding is reported, not only the first.
#include "store/checkpoint_files.hpp"
#include "store/reader.hpp"

namespace stillframe::store {
namespace {

constexpr std::size_t kMaxFindings = 1000;

class Verification {
 public:
  Verification(const Store& store, const OpenedManifest& opened,
               const std::function<bool(std::uint64_t, std::uint64_t)>& progress, VerifyReport& report)
      : store_(store), opened_(opened), progress_(progress), report_(report) {
    for (const auto& rank : opened.manifest.ranks) total_bytes_ += rank.layout.bytes;
  }

  Status run() {
    report_.stored_bytes = opened_.text.size();
    for (const auto& rank : opened_.manifest.ranks) SF_TRY(check_rank(rank));
    return Status();
  }

  void add(const std::string& file, std::string tensors, std::int64_t chunk, const std::string& what) {
    ++report_.findings_total;
    if (report_.findings.size() < kMaxFindings) {
      report_.findings.push_back({env::join(report_.name, file), std::move(tensors), chunk, what});
    }
  }

 private:
  Status check_rank(const format::RankManifest& rank) {
    const auto table = read_table(store_.env(), opened_.path, rank, ReadFrom::device);
    if (!table.ok()) add(rank.table.file, {}, -1, table.status().message());
    const auto data = open_data(store_.env(), opened_.path, rank);
    if (!data.ok()) {
      add(rank.data.file, {}, -1, data.status().message());
    } else {
      const Status size = check_data_size(**data, opened_.path, rank);
      if (!size.ok()) add(rank.data.file, {}, -1, size.message());
    }
    report_.stored_bytes += rank.table.bytes + rank.data.bytes;
    if (!table.ok() || !data.ok()) return advance(rank.layout.bytes);
    (*data)->drop_cache();
    return check_chunks(rank, *table, **data);
  }

  Status check_chunks(const format::RankManifest& rank, const format::ChunkTable& table, const env::File& data) {
    for (std::uint64_t chunk = 0; chunk < table.chunks.size(); ++chunk) {
      const auto& record = table.chunks[chunk];
      raw_.resize(record.raw_bytes);
      const Status read = read_record(data, record, raw_, scratch_);
      if (!read.ok()) {
        add(rank.data.file, tensors_of_chunk(rank.layout, chunk), static_cast<std::int64_t>(chunk), read.message());
      }
      ++report_.chunks;
      report_.raw_bytes += record.raw_bytes;
      SF_TRY(advance(record.raw_bytes));
    }
    return Status();
  }

  Status advance(std::uint64_t bytes) {
    done_bytes_ += bytes;
    if (!progress_ || progress_(done_bytes_, total_bytes_)) return Status();
    return Status(Code::deadline, "the verification of '" + report_.name + "' was ended early; nothing was changed");
  }

  const Store& store_;
  const OpenedManifest& opened_;
  const std::function<bool(std::uint64_t, std::uint64_t)>& progress_;
  VerifyReport& report_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t done_bytes_ = 0;
  std::vector<std::byte> raw_;
  std::vector<std::byte> scratch_;
};

}  // namespace

Result<VerifyReport> verify(const Store& store, const std::string& name,
                            const std::function<bool(std::uint64_t, std::uint64_t)>& progress) {
  VerifyReport report;
  report.name = name;
  const auto opened = open_manifest(store, name, ReadFrom::device);
  if (!opened.ok()) {
    if (opened.status().code() == Code::not_found) return opened.status();
    report.findings.push_back({env::join(name, format::kManifestFile), {}, -1, opened.status().message()});
    report.findings_total = 1;
    return report;
  }
  SF_TRY(Verification(store, *opened, progress, report).run());
  report.ok = report.findings_total == 0;
  return report;
}

}  // namespace stillframe::store
