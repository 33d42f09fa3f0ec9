#pragma once

/// \file
/// A small web site on the loopback interface, so that there is something to crawl.

#include <troupe/file_descriptor.hpp>

#include <cstdint>
#include <string>

/// A socket bound to a free port of 127.0.0.1, and its address as a URL without a path.
struct Address {
  troupe::FileDescriptor socket;
  std::string url;
};

/// Errors: troupe::OSError.
Address bind_to_loopback();

/// Answers requests on `address`, for ever: /page1 to /page8, linked as a tree; /slow, which never answers; 500 for
/// /broken; 404. The last page links to /slow, /broken and `gone`.
void serve(const Address& address, const std::string& gone);
