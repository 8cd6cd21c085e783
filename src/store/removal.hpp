// What the store's own files need under the hood: the store's lock, the sequence file, and taking a directory away that
// is no checkpoint any more (or never was one).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "env/env.hpp"
#include "store/store.hpp"

namespace stillframe::store {

// How long a mark, a removal and the pages beside the checkpoints wait for the store's lock.
inline constexpr std::uint64_t kStoreLockWaitMs = 10'000;

// Held while a sequence is claimed, a checkpoint loses its name, or a mark or page is replaced: so nobody is in the
// middle of that while recovery collects what a crash left of it. deadline, naming the file, when others hold it that
// long.
[[nodiscard]] Result<std::unique_ptr<env::Lock>> lock_store(const Store& store, const base::Deadline& deadline);

// The content of <store>/sequence; 0 when there is none yet. corrupt when it is not a number.
[[nodiscard]] Result<std::uint64_t> read_sequence_file(const Store& store);
// The caller holds lock_store().
[[nodiscard]] Status write_sequence_file(const Store& store, std::uint64_t sequence);

// Takes the final name away so that nobody opens the checkpoint any more: rename to <name>.removing, sync the parent.
// Only after ok may its files be unlinked: power loss could bring the final name back over missing files.
[[nodiscard]] Status take_name_away(const Store& store, const std::string& name);

// Unlinks one file. The bytes that came free (none when it has another name), or nullopt when it was gone already.
[[nodiscard]] Result<std::optional<std::uint64_t>> unlink_file(env::Env& env, const std::string& path);

// Unlinks the manifest first, then every other file, then the directory; returns the bytes that this freed. What
// another process has already unlinked is passed over. Checkpoint directories are flat: a directory inside is refused
// with its name, and stays.
[[nodiscard]] Result<std::uint64_t> unlink_directory(env::Env& env, const std::string& directory);

}  // namespace stillframe::store
