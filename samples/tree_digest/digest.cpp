#include "digest.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace tree_digest {
namespace {

constexpr std::uint64_t batch_bytes = 1024 * 1024;
constexpr std::size_t batch_files = 256;
constexpr std::size_t block_bytes = 256 * 1024;

/// One hash after the other; what libcrypto has to look up is looked up once per process.
class Hash {
 public:
  Hash()
      : algorithm_(EVP_MD_fetch(nullptr, "SHA256", nullptr), &EVP_MD_free),
        context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    check(algorithm_ && context_);
  }

  void begin() { check(EVP_DigestInit_ex2(context_.get(), algorithm_.get(), nullptr) == 1); }
  void add(const std::uint8_t* bytes, std::size_t count) { check(EVP_DigestUpdate(context_.get(), bytes, count) == 1); }
  Sha256 finish() {
    Sha256 result{};
    check(EVP_DigestFinal_ex(context_.get(), result.data(), nullptr) == 1);
    return result;
  }

 private:
  static void check(bool is_well) {
    if (!is_well) throw std::runtime_error("libcrypto cannot compute SHA-256");
  }

  std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)> algorithm_;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

class OpenFile {
 public:
  /// O_NONBLOCK and O_NOFOLLOW matter only if the file was replaced by something else since it was found.
  explicit OpenFile(const std::string& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW)) {
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category());
  }
  ~OpenFile() { ::close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  bool is_regular() const {
    struct stat status{};
    return ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  }
  /// 0 at the end of the file.
  std::size_t read(std::vector<std::uint8_t>& block) const {
    for (;;) {
      const ssize_t count = ::read(descriptor_, block.data(), block.size());
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) throw std::system_error(errno, std::generic_category());
    }
  }

 private:
  int descriptor_;
};

}  // namespace

std::vector<Batch> make_batches(const std::vector<File>& files) {
  std::vector<Batch> batches;
  std::uint64_t bytes = batch_bytes;
  for (std::uint64_t i = 0; i < files.size(); ++i) {
    if (bytes >= batch_bytes || batches.back().paths.size() == batch_files) {
      batches.push_back({i, {}});
      bytes = 0;
    }
    batches.back().paths.push_back(files[i].path);
    bytes += files[i].bytes;
  }
  return batches;
}

FileDigest digest_file(const std::string& path) {
  static Hash hash;
  static std::vector<std::uint8_t> block(block_bytes);
  FileDigest result;
  try {
    const OpenFile file{path};
    if (!file.is_regular()) throw std::runtime_error("is no longer a regular file");
    hash.begin();
    while (const std::size_t count = file.read(block)) {
      hash.add(block.data(), count);
      result.bytes += count;
    }
    result.sha256 = hash.finish();
  } catch (const std::system_error& error) {
    result.error = error.code().message();
  } catch (const std::exception& error) {
    result.error = error.what();
  }
  return result;
}

BatchDigest digest_batch(const Batch& batch) {
  const auto start = std::chrono::steady_clock::now();
  BatchDigest result{.first = batch.first, .files = {}, .worker = ::getpid(), .busy = {}};
  for (const std::string& path : batch.paths) result.files.push_back(digest_file(path));
  result.busy = std::chrono::steady_clock::now() - start;
  return result;
}

}  // namespace tree_digest
