#include "base/bytes.hpp"
#include "env/env.hpp"
#include "env/make_dirs.hpp"

namespace stillframe::env {
namespace {

std::string last_component(const std::string& path) {
  const std::size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return "";
  const std::size_t slash = path.rfind('/', end);
  return path.substr(slash + 1, end - slash);
}

// The directory `path` leads to, through links; not_found when there is none, io_error when it is something else.
Result<std::string> real_directory(Env& env, const std::string& path) {
  SF_ASSIGN(std::string real, env.real_path(path));
  SF_ASSIGN(const FileInfo info, env.info(real));
  if (info.is_directory) return real;
  return Status(Code::io_error, "'" + path + "' is not a directory");
}

Status make_one_synced(Env& env, const std::string& directory) {
  if (Status made = env.make_dir(directory); !made.ok()) {
    if (made.code() != Code::busy) return made;
    if (!real_directory(env, directory).ok()) {
      return {Code::io_error,
              "cannot make directory '" + directory + "': something that is not a directory has this name"};
    }
  }
  SF_TRY(env.sync_dir(directory));
  return env.sync_dir(parent_dir(directory));
}

// A `.tmp` left behind by a crash is in the way of the next one and holds nothing that anybody was promised.
Result<std::unique_ptr<File>> create_fresh(Env& env, const std::string& path) {
  auto file = env.create(path);
  if (file.ok() || file.status().code() != Code::busy) return file;
  SF_TRY(env.remove_file(path));
  return env.create(path);
}

Status write_and_publish(Env& env, const std::string& temporary, const std::string& path,
                         std::span<const std::byte> bytes) {
  {
    SF_ASSIGN(const auto file, create_fresh(env, temporary));
    SF_TRY(file->write_at(0, bytes));
    SF_TRY(file->sync());
  }
  return env.rename(temporary, path);
}

// What stands already may have been made by a process that died before it synced, or by a script that never does. So
// the name of each directory that belongs to this user is synced, up to the first that does not. Best effort: a parent
// may be another's, unreadable, or on a read-only file system.
void sync_names_of_own(Env& env, const std::string& real_directory) {
  std::string directory = real_directory;
  while (parent_dir(directory) != directory) {
    const auto info = env.info(directory);
    if (!info.ok() || info->owner_uid != env.user_id()) return;
    directory = parent_dir(directory);
    env.sync_dir(directory).ignore("whatever refuses to be synced here was not made by us just now");
  }
}

}  // namespace

Status make_dirs_synced_over(Env& env, const std::string& path) {
  std::vector<std::string> missing;
  std::string current = path;
  Result<std::string> base = real_directory(env, current);
  while (!base.ok()) {
    const std::string above = parent_dir(current);
    if (base.status().code() != Code::not_found || above == current) return std::move(base).status();
    missing.push_back(last_component(current));
    current = above;
    base = real_directory(env, current);
  }
  sync_names_of_own(env, *base);
  for (std::string directory = *base; !missing.empty(); missing.pop_back()) {
    directory = join(directory, missing.back());
    SF_TRY(make_one_synced(env, directory));
  }
  return {};
}

Result<std::string> resolve_directory_of(Env& env, const std::string& path) {
  SF_ASSIGN(const std::string real, env.real_path(parent_dir(path)));
  return join(real, last_component(path));
}

Result<std::string> read_whole(Env& env, const std::string& path, std::uint64_t limit_bytes) {
  SF_ASSIGN(const auto file, env.open(path));
  SF_ASSIGN(const std::uint64_t size, file->size());
  if (size > limit_bytes) {
    return Status(Code::corrupt, "'" + path + "' holds " + base::human_bytes(size) + ", more than the " +
                                     base::human_bytes(limit_bytes) + " such a file may hold; it was not read");
  }
  std::string text(size, '\0');
  SF_ASSIGN(const std::size_t got, file->read_at(0, std::as_writable_bytes(std::span(text))));
  text.resize(got);
  return text;
}

Status replace_file_synced(Env& env, const std::string& path, std::span<const std::byte> bytes) {
  const std::string temporary = path + ".tmp";
  if (Status written = write_and_publish(env, temporary, path, bytes); !written.ok()) {
    env.remove_file(temporary).ignore(
        "the first error is the one to report; the next replacement removes what is left");
    return written.with_context("replacing '" + path + "', which keeps its old content");
  }
  return env.sync_dir(parent_dir(path)).with_context("replaced '" + path + "', but it may not survive a power loss");
}

std::string parent_dir(const std::string& path) {
  const std::size_t last_of_name = path.find_last_not_of('/');
  if (last_of_name == std::string::npos) return path.empty() ? "." : "/";
  const std::size_t slash = path.rfind('/', last_of_name);
  if (slash == std::string::npos) return ".";
  const std::size_t last_of_parent = path.find_last_not_of('/', slash);
  return last_of_parent == std::string::npos ? "/" : path.substr(0, last_of_parent + 1);
}

std::string join(std::string_view dir, std::string_view name) {
  std::string path(dir);
  if (!path.empty() && path.back() != '/') path += '/';
  return path.append(name);
}

}  // namespace stillframe::env
