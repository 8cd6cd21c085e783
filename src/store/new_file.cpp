#include "store/new_file.hpp"

namespace stillframe::store {

Status misuse(const std::string& what) { return Status(Code::invalid_argument, "writing a checkpoint: " + what); }

Status differs(const std::string& file) {
  return Status(Code::internal,
                "'" + file +
                    "' does not decode to what was encoded, so the checkpoint was not published; "
                    "older checkpoints are untouched. This is a defect of Stillframe or of this machine's memory");
}

Status write_new_file_synced(env::Env& env, const std::string& path, std::span<const std::byte> bytes) {
  SF_ASSIGN(const auto file, env.create(path));
  SF_TRY(file->write_at(0, bytes));
  return file->sync();
}

}  // namespace stillframe::store
