#pragma once

#include <troupe/connection.hpp>

#include "link.hpp"

#include <memory>
#include <utility>

namespace troupe {

/// Makes connections of links.
class ConnectionFactory {
 public:
  static Connection make(std::unique_ptr<Link> link) noexcept { return Connection{std::move(link)}; }
};

}  // namespace troupe
