#include "handshake.hpp"

#include <troupe/error.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <string>
#include <string_view>
#include <sys/random.h>
#include <utility>

namespace troupe {

namespace {

constexpr std::string_view challenge_tag = "#CHALLENGE#";
constexpr std::string_view welcome = "#WELCOME#";
constexpr std::string_view failure = "#FAILURE#";
constexpr std::string_view our_digest = "{sha256}";
constexpr std::size_t num_random_bytes = 20;
/// A challenge of this length names no digest, and its answer neither, even if they begin like one that does.
constexpr std::size_t unnamed_challenge_bytes = 20;
constexpr std::size_t unnamed_answer_bytes = 16;

struct Digest {
  std::string_view name;
  const EVP_MD* (*get)();
};
constexpr Digest md5{"md5", EVP_md5};
constexpr std::array digests{md5, Digest{"sha256", EVP_sha256}, Digest{"sha384", EVP_sha384},
                             Digest{"sha3_256", EVP_sha3_256}, Digest{"sha3_384", EVP_sha3_384}};

std::string_view as_text(BytesView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

BytesView as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

Bytes join(std::initializer_list<BytesView> parts) {
  std::size_t size = 0;
  for (const BytesView part : parts) size += part.size();
  Bytes all(size);
  auto next = all.begin();
  for (const BytesView part : parts) next = std::ranges::copy(part, next).out;
  return all;
}

Bytes hmac(const Digest& digest, BytesView key, BytesView message) {
  Bytes mac(EVP_MAX_MD_SIZE);
  unsigned size = 0;
  if (::HMAC(digest.get(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(message.data()), message.size(),
             reinterpret_cast<unsigned char*>(mac.data()), &size) == nullptr)
    throw AuthenticationError("this system's OpenSSL does not compute the digest " + std::string(digest.name));
  mac.resize(size);
  return mac;
}

/// The digest named at the beginning of a challenge or an answer: "{sha256}...". Null when there is none or an unknown
/// one.
const Digest* named_digest(BytesView message) {
  const std::string_view text = as_text(message);
  if (!text.starts_with('{')) return nullptr;
  const std::size_t end = text.find('}');
  if (end == std::string_view::npos) return nullptr;
  const auto found = std::ranges::find(digests, text.substr(1, end - 1), &Digest::name);
  return found == digests.end() ? nullptr : &*found;
}

}  // namespace

Challenge::Challenge(BytesView key) : key_(key.begin(), key.end()) {
  if (key.empty()) throw ValueError("an authentication key is empty");
  std::array<std::byte, num_random_bytes> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    throw OSError(errno, "drawing random bytes for a challenge");
  message_ = join({as_bytes(our_digest), random});
}

Bytes Challenge::question() const { return join({as_bytes(challenge_tag), message_}); }

bool Challenge::is_proved_by(BytesView answer) const {
  const Digest* digest = &md5;
  BytesView mac = answer;
  if (answer.size() != unnamed_answer_bytes) {
    digest = named_digest(answer);
    if (digest == nullptr) return false;
    mac = answer.subspan(digest->name.size() + 2);
  }
  const Bytes expected = hmac(*digest, key_, message_);
  return mac.size() == expected.size() && ::CRYPTO_memcmp(mac.data(), expected.data(), expected.size()) == 0;
}

Bytes Challenge::verdict(bool proved) { return join({as_bytes(proved ? welcome : failure)}); }

Bytes answer_to(BytesView question, BytesView key) {
  if (key.empty()) throw ValueError("an authentication key is empty");
  if (!as_text(question).starts_with(challenge_tag))
    throw AuthenticationError("expected a challenge; the other side says something else, or knows no key");
  const BytesView message = question.subspan(challenge_tag.size());
  if (message.size() < unnamed_challenge_bytes)
    throw AuthenticationError("the challenge has " + std::to_string(message.size()) + " bytes, at least " +
                              std::to_string(unnamed_challenge_bytes) + " are needed to be safe");
  if (message.size() == unnamed_challenge_bytes) return hmac(md5, key, message);
  const Digest* digest = named_digest(message);
  if (digest == nullptr) throw AuthenticationError("the challenge asks for a digest that is not known here");
  return join({as_bytes("{"), as_bytes(digest->name), as_bytes("}"), hmac(*digest, key, message)});
}

void require_welcome(BytesView verdict) {
  if (as_text(verdict) != welcome)
    throw AuthenticationError("the other side does not accept this one's key: both need the same");
}

Handshake::Handshake(Side side, BytesView key)
    : side_(side), key_(key.begin(), key.end()), challenge_(key), step_(Step::await_question) {
  if (side == Side::listener) next(Step::ask);
}

std::vector<Bytes> Handshake::take_output() noexcept { return std::exchange(output_, {}); }

void Handshake::next(Step step) {
  if (step == Step::ask) {
    output_.push_back(challenge_.question());
    step = Step::await_answer;
  }
  step_ = step;
}

void Handshake::receive(BytesView message) {
  switch (step_) {
    case Step::await_answer: {
      const bool proved = challenge_.is_proved_by(message);
      output_.push_back(Challenge::verdict(proved));
      if (!proved) throw AuthenticationError("the other side does not know this one's key: both need the same");
      return next(side_ == Side::listener ? Step::await_question : Step::done);
    }
    case Step::await_question: output_.push_back(answer_to(message, key_)); return next(Step::await_welcome);
    case Step::await_welcome: require_welcome(message); return next(side_ == Side::listener ? Step::done : Step::ask);
    case Step::ask:
    case Step::done: throw AuthenticationError("the other side says more than belongs to a handshake");
  }
}

}  // namespace troupe
