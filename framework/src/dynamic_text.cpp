#include <troupe/dynamic.hpp>

#include "codec_text.hpp"

#include <ostream>
#include <string>

namespace troupe {

namespace {

constexpr char hex[] = "0123456789abcdef";

/// Appends each kind to a text.
class Printer {
 public:
  explicit Printer(std::string& out) : out_(out) {}

  void print(const Dynamic& value) { std::visit(*this, value.storage()); }

  void operator()(Dynamic::None) { out_ += "none"; }
  void operator()(bool value) { out_ += value ? "true" : "false"; }
  template <std::integral T>
  void operator()(T value) {
    out_ += std::to_string(value);
  }
  template <std::floating_point T>
  void operator()(T value) {
    // 3.0 must not look like the integer 3.
    const std::string text = number_text(value);
    out_ += text;
    if (text.find_first_not_of("-0123456789") == std::string::npos) out_ += ".0";
  }
  void operator()(const std::string& value) { quote(value); }
  void operator()(const Dynamic::Bytes& value) {
    out_ += 'b';
    std::string text;
    for (const std::byte byte : value) text += static_cast<char>(byte);
    quote(text, true);
  }
  void operator()(const Dynamic::List& items) { list(items); }
  template <detail::Number T>
  void operator()(const std::vector<T>& items) {
    between('[', ']', items.size(), [&](std::size_t i) { (*this)(static_cast<T>(items[i])); });
  }
  void operator()(const Dynamic::Map& map) {
    between('{', '}', map.size(), [&](std::size_t i) {
      print(map[i].first);
      out_ += ": ";
      print(map[i].second);
    });
  }
  void operator()(const detail::Box<Dynamic::Struct>& boxed) {
    const Dynamic::Struct& value = *boxed;
    out_ += value.type;
    between('{', '}', value.fields.size(), [&](std::size_t i) {
      if (i < value.names.size()) out_ += value.names[i] + ": ";
      print(value.fields[i]);
    });
  }
  void operator()(const detail::Box<Dynamic::Failure>& value) {
    out_ += (*value).type + "(";
    quote((*value).message);
    out_ += ')';
  }
  void operator()(const detail::Box<Dynamic::Handle>& value) {
    out_ += '<' + (*value).kind + ' ';
    list((*value).address);
    out_ += '>';
  }
  void operator()(const detail::Box<Dynamic::Message>& value) {
    out_ += "<message of " + std::to_string((*value).words.size() * 8) + " bytes>";
  }
  void operator()(const Dynamic::Duration& value) { out_ += std::to_string(value.ticks) + unit_text(value.unit); }
  void operator()(const Dynamic::FloatDuration& value) { out_ += number_text(value.ticks) + unit_text(value.unit); }

 private:
  template <class Item>
  void between(char open, char close, std::size_t size, const Item& item) {
    out_ += open;
    for (std::size_t i = 0; i < size; ++i) {
      if (i > 0) out_ += ", ";
      item(i);
    }
    out_ += close;
  }

  void list(const Dynamic::List& items) {
    between('[', ']', items.size(), [&](std::size_t i) { print(items[i]); });
  }

  /// In quotes, with escapes; bytes beyond ASCII are escaped where the text is no UTF-8 by convention.
  void quote(const std::string& text, bool escape_high = false) {
    out_ += '"';
    for (const char c : text) {
      const auto code = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        (out_ += '\\') += c;
      } else if (c == '\n') {
        out_ += "\\n";
      } else if (c == '\t') {
        out_ += "\\t";
      } else if (code < 0x20 || code == 0x7F || (escape_high && code > 0x7F)) {
        out_ += "\\x";
        (out_ += hex[code / 16]) += hex[code % 16];
      } else {
        out_ += c;
      }
    }
    out_ += '"';
  }

  std::string& out_;
};

}  // namespace

std::string Dynamic::to_string() const {
  std::string text;
  Printer(text).print(*this);
  return text;
}

std::ostream& operator<<(std::ostream& out, const Dynamic& value) { return out << value.to_string(); }

}  // namespace troupe
