#pragma once

/// \file
/// What the workers do: fetch one page.

#include <string>
#include <sys/types.h>
#include <vector>

struct Page {
  std::string url;
  std::string text;
  std::vector<std::string> links;  ///< URLs, in the order of the text
  pid_t fetched_by = 0;            ///< process id
};

/// Fetches http://ADDRESS:PORT/PATH by HTTP/1.0, ADDRESS in numbers. Blocks: as long as the server likes.
/// Errors: std::invalid_argument for another kind of URL; std::system_error when the network fails;
/// std::runtime_error for any answer but 200.
Page fetch(const std::string& url);
