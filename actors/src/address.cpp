#include <troupe/address.hpp>
#include <troupe/error.hpp>

namespace troupe {

Address::Address(std::string path) : path_(std::move(path)), family_(Family::af_unix) {
  if (path_.starts_with("\\\\"))
    throw ValueError("\"" + path_ +
                     "\" names a pipe of Windows, which this system has not: use a path or {host, port}");
}

std::string Address::to_string() const {
  if (family_ == Family::af_inet) return host_ + ":" + std::to_string(port_);
  return is_abstract() ? std::string(path_).replace(0, 1, 1, '@') : path_;
}

}  // namespace troupe
