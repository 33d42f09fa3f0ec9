#pragma once

/// \file
/// How two sides prove to each other that they know a key, without input and output: messages go in and come out. The
/// protocol is multiprocessing's, that of Python 3.11 and the one with named digests of 3.12:
///
///     one side                                             the other
///     "#CHALLENGE#" + "{sha256}" + 20 random bytes    ───►
///                                                     ◄─── "{sha256}" + HMAC of all after the tag under the key
///                                                          (Python 3.11: the HMAC alone, by MD5)
///     "#WELCOME#" or "#FAILURE#"                      ───►
///
/// and then the same in the other direction. The listener begins.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace troupe {

using Bytes = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

/// Longer messages belong to no handshake.
inline constexpr std::size_t max_handshake_bytes = 256;

/// The side that asks. Thread: caller.
class Challenge {
 public:
  /// Errors: ValueError for an empty key; OSError without random bytes.
  explicit Challenge(BytesView key);
  /// What the other side is asked.
  Bytes question() const;
  /// Whether `answer` proves the key. Takes as long for a wrong one as for a right one.
  bool is_proved_by(BytesView answer) const;
  /// What the other side is told then.
  static Bytes verdict(bool proved);

 private:
  Bytes key_;
  Bytes message_;
};

/// What proves `key` to whoever asked `question`. Errors: AuthenticationError when that is no challenge.
Bytes answer_to(BytesView question, BytesView key);
/// Errors: AuthenticationError unless the other side is content.
void require_welcome(BytesView verdict);

/// Both halves, one after the other. Thread: caller.
class Handshake {
 public:
  enum class Side : std::uint8_t { listener, client };
  Handshake(Side side, BytesView key);

  bool is_done() const noexcept { return step_ == Step::done; }
  /// What is to be sent now, message by message; also after an error.
  std::vector<Bytes> take_output() noexcept;
  /// Takes a message of the other side. Errors: AuthenticationError, which ends the handshake.
  void receive(BytesView message);

 private:
  enum class Step : std::uint8_t { ask, await_answer, await_question, await_welcome, done };
  void next(Step step);

  Side side_;
  Bytes key_;
  Challenge challenge_;
  Step step_;
  std::vector<Bytes> output_;
};

}  // namespace troupe
