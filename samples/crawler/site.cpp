#include "site.hpp"

#include <troupe/error.hpp>

#include <arpa/inet.h>
#include <cerrno>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr int num_pages = 8;

void check(bool is_well, const char* attempted) {
  if (!is_well) throw troupe::OSError(errno, attempted);
}

std::string link(const std::string& url) { return "<a href=\"" + url + "\">" + url + "</a>\n"; }

/// Page n leads to pages 2n and 2n+1, and back to the first.
std::string text_of_page(int number, const std::string& site, const std::string& gone) {
  std::string text = "<h1>Page " + std::to_string(number) + "</h1>\n" + link(site + "/page1");
  for (const int next : {2 * number, 2 * number + 1})
    if (next <= num_pages) text += link(site + "/page" + std::to_string(next));
  if (number == num_pages) text += link(site + "/slow") + link(site + "/broken") + link(gone);
  return text;
}

std::string answer(const std::string& path, const std::string& site, const std::string& gone) {
  const std::string end_of_head = "\r\nContent-Type: text/html\r\n\r\n";
  for (int number = 1; number <= num_pages; ++number)
    if (path == "/page" + std::to_string(number))
      return "HTTP/1.0 200 OK" + end_of_head + text_of_page(number, site, gone);
  return (path == "/broken" ? "HTTP/1.0 500 Internal Server Error" : "HTTP/1.0 404 Not Found") + end_of_head;
}

/// Reads until the head of the request is there; returns its path, empty if it is none.
std::string read_path(int line) {
  std::string request;
  while (request.find("\r\n\r\n") == std::string::npos) {
    char block[1024];
    const ssize_t count = ::read(line, block, sizeof block);
    if (count <= 0) return {};
    request.append(block, static_cast<std::size_t>(count));
  }
  const std::size_t begin = request.find(' ') + 1;
  return request.substr(begin, request.find(' ', begin) - begin);
}

}  // namespace

Address bind_to_loopback() {
  Address address{troupe::FileDescriptor{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}, {}};
  check(static_cast<bool>(address.socket), "make a socket");
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  auto* const any_name = reinterpret_cast<sockaddr*>(&name);
  check(::bind(address.socket.get(), any_name, size) == 0, "bind to a free port of 127.0.0.1");
  check(::getsockname(address.socket.get(), any_name, &size) == 0, "look at the port");
  address.url = "http://127.0.0.1:" + std::to_string(ntohs(name.sin_port));
  return address;
}

void serve(const Address& address, const std::string& gone) {
  std::vector<troupe::FileDescriptor> unanswered;
  for (;;) {
    troupe::FileDescriptor line{::accept4(address.socket.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    if (!line && (errno == EINTR || errno == ECONNABORTED)) continue;
    check(static_cast<bool>(line), "accept a connection");
    const std::string path = read_path(line.get());
    if (path == "/slow") {
      unanswered.push_back(std::move(line));
    } else {
      const std::string text = answer(path, address.url, gone);
      (void)::send(line.get(), text.data(), text.size(), MSG_NOSIGNAL);  // who does not listen gets no answer
    }
  }
}
