#include "env/posix_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "base/unique_fd.hpp"
#include "env/posix_error.hpp"
#include "env/posix_place.hpp"

namespace stillframe::env {
namespace {

constexpr std::uint64_t kLargestOffset = std::numeric_limits<off_t>::max();

bool fits_a_file(std::uint64_t offset, std::size_t bytes) noexcept {
  return offset <= kLargestOffset && bytes <= kLargestOffset - offset;
}

std::string range_of(std::string_view verb, std::size_t bytes, std::uint64_t offset) {
  return std::string(verb) + " " + std::to_string(bytes) + " bytes at offset " + std::to_string(offset) + " of";
}

class PosixFile final : public File {
 public:
  PosixFile(base::UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (given_up_) return given_up();
    if (!fits_a_file(offset, bytes.size())) return errno_status(EFBIG, range_of("write", bytes.size(), offset), path_);
    std::size_t done = 0;
    while (done < bytes.size()) {
      const auto rest = bytes.subspan(done);
      const ssize_t written = ::pwrite(fd_.get(), rest.data(), rest.size(), static_cast<off_t>(offset + done));
      if (written > 0) {
        done += static_cast<std::size_t>(written);
      } else if (written == 0) {
        // No file system should do this; without the check it would spin for ever.
        return errno_status(EIO, range_of("write", rest.size(), offset + done), path_);
      } else if (errno != EINTR) {
        return errno_status(errno, range_of("write", rest.size(), offset + done), path_);
      }
    }
    return {};
  }

  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const override {
    if (!fits_a_file(offset, into.size())) return std::size_t{0};
    std::size_t done = 0;
    while (done < into.size()) {
      const auto rest = into.subspan(done);
      const ssize_t got = ::pread(fd_.get(), rest.data(), rest.size(), static_cast<off_t>(offset + done));
      if (got == 0) break;
      if (got > 0) {
        done += static_cast<std::size_t>(got);
      } else if (errno != EINTR) {
        return errno_status(errno, range_of("read", rest.size(), offset + done), path_);
      }
    }
    return done;
  }

  Result<std::uint64_t> size() const override {
    struct stat info {};
    if (::fstat(fd_.get(), &info) != 0) return errno_status(errno, "read the size of", path_);
    return static_cast<std::uint64_t>(info.st_size);
  }

  Result<FileInfo> info() const override {
    struct stat info {};
    if (::fstat(fd_.get(), &info) != 0) return errno_status(errno, "inspect", path_);
    return info_of(info);
  }

  Status sync() override {
    if (given_up_) return given_up();
    int result = 0;
    do {
      result = ::fdatasync(fd_.get());
    } while (result != 0 && errno == EINTR);
    if (result == 0) return {};
    const int error = errno;
    // The kernel reports a lost page once and then calls it clean: a second sync would succeed without the data.
    given_up_ = true;
    return errno_status(error, "sync", path_);
  }

  void drop_cache() const noexcept override { ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED); }

 private:
  Status given_up() const {
    return {Code::io_error, "'" + path_ +
                                "' was given up: an earlier sync of it failed, so its content is unknown; "
                                "write the data to a fresh file"};
  }

  const base::UniqueFd fd_;
  const std::string path_;
  bool given_up_ = false;
};

}  // namespace

FileInfo info_of(const struct stat& info) noexcept {
  // An odd factor spreads the few device numbers over all bits; inode numbers are small, so two files of two devices
  // hardly ever meet, and two of one device never.
  constexpr std::uint64_t kSpread = 0x9E3779B97F4A7C15;
  const bool is_directory = S_ISDIR(info.st_mode);
  return FileInfo{.bytes = is_directory ? 0 : static_cast<std::uint64_t>(info.st_size),
                  .owner_uid = info.st_uid,
                  .links = info.st_nlink,
                  .file_id = static_cast<std::uint64_t>(info.st_ino) ^ (std::uint64_t{info.st_dev} * kSpread),
                  .is_directory = is_directory,
                  .is_regular_file = S_ISREG(info.st_mode)};
}

Result<std::unique_ptr<File>> create_posix_file(const std::string& path) {
  SF_ASSIGN(const PosixPlace place, posix_place("create file", path));
  base::UniqueFd fd = open_at(place, O_RDWR | O_CREAT | O_EXCL);
  if (!fd.valid()) return errno_status(errno, "create file", path);
  return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(fd), path));
}

Result<std::unique_ptr<File>> open_posix_file(const std::string& path) {
  // O_NONBLOCK: the open of a pipe that somebody put there must not hang; regular files ignore the flag.
  SF_ASSIGN(const PosixPlace place, posix_place("open", path));
  base::UniqueFd fd = open_at(place, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd.valid()) return errno_status(errno, "open", path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return errno_status(errno, "inspect", path);
  if (!S_ISREG(info.st_mode)) return Status(Code::io_error, "cannot open '" + path + "': it is not a regular file");
  return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(fd), path));
}

}  // namespace stillframe::env
