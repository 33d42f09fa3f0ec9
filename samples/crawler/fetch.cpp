#include "fetch.hpp"

#include <troupe/file_descriptor.hpp>

#include <arpa/inet.h>
#include <cerrno>
#include <regex>
#include <stdexcept>
#include <string_view>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace {

struct Url {
  sockaddr_in server{};
  std::string path;
};

Url parse(const std::string& text) {
  static const std::regex form{R"(http://([0-9.]+):(\d{1,5})(/\S*))"};
  Url url;
  std::smatch part;
  if (!std::regex_match(text, part, form) || ::inet_pton(AF_INET, part.str(1).c_str(), &url.server.sin_addr) != 1)
    throw std::invalid_argument("not of the form http://ADDRESS:PORT/PATH");
  url.server.sin_family = AF_INET;
  url.server.sin_port = htons(static_cast<in_port_t>(std::stoi(part.str(2))));
  url.path = part.str(3);
  return url;
}

void check(bool is_well, const char* attempted) {
  if (!is_well) throw std::system_error(errno, std::generic_category(), attempted);
}

/// Asks, and returns all that the server answers.
std::string exchange(const Url& url) {
  const troupe::FileDescriptor line{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  check(static_cast<bool>(line), "socket");
  check(::connect(line.get(), reinterpret_cast<const sockaddr*>(&url.server), sizeof url.server) == 0, "connect");
  const std::string request = "GET " + url.path + " HTTP/1.0\r\n\r\n";
  for (std::string_view rest = request; !rest.empty();) {
    const ssize_t count = ::send(line.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    check(count >= 0, "send");
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  std::string answer;
  for (;;) {
    char block[4096];
    const ssize_t count = ::read(line.get(), block, sizeof block);
    check(count >= 0, "read");
    if (count == 0) return answer;
    answer.append(block, static_cast<std::size_t>(count));
  }
}

std::vector<std::string> links_in(const std::string& text) {
  static const std::regex link{R"re(href="([^"]*)")re"};
  std::vector<std::string> links;
  for (std::sregex_iterator it{text.begin(), text.end(), link}; it != std::sregex_iterator{}; ++it)
    links.push_back(it->str(1));
  return links;
}

}  // namespace

Page fetch(const std::string& url) {
  const std::string answer = exchange(parse(url));
  const std::size_t line_end = answer.find("\r\n");
  const std::size_t head_end = answer.find("\r\n\r\n");
  if (head_end == std::string::npos || !answer.starts_with("HTTP/")) throw std::runtime_error("no HTTP answer");
  const std::string status = answer.substr(answer.find(' ') + 1, line_end - answer.find(' ') - 1);
  if (!status.starts_with("200 ")) throw std::runtime_error("the server says " + status);
  Page page{.url = url, .text = answer.substr(head_end + 4), .links = {}, .fetched_by = ::getpid()};
  page.links = links_in(page.text);
  return page;
}
