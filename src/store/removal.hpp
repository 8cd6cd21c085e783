// Unlinking a directory that is no checkpoint any more (or never was one).
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.hpp"
#include "env/env.hpp"
#include "store/store.hpp"

namespace stillframe::store {

// Unlinks the manifest first, then every other file, then the directory. What another process has already unlinked is
// passed over. Checkpoint directories are flat: a directory inside is refused with its name, and stays.
[[nodiscard]] Status unlink_directory(env::Env& env, const std::string& directory);

// Held while a sequence is claimed or a checkpoint loses its name. deadline, naming the file, when others hold it that
// long.
[[nodiscard]] Result<std::unique_ptr<env::Lock>> lock_store(const Store& store, const base::Deadline& deadline);

// The content of <store>/sequence; 0 when there is none yet. corrupt when it is not a number.
[[nodiscard]] Result<std::uint64_t> read_sequence_file(const Store& store);
// The caller holds lock_store().
[[nodiscard]] Status write_sequence_file(const Store& store, std::uint64_t sequence);

// Takes the final name away so that nobody opens the checkpoint any more: rename to <name>.removing, sync the parent,
// and only then unlink. After a failed sync nothing is unlinked: power loss could bring the final name back over
// missing files.
[[nodiscard]] Status withdraw(const Store& store, const std::string& name);

}  // namespace stillframe::store
