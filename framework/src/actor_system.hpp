#pragma once

/// \file
/// The process's CAF actor system, without threads of its own.

#include <caf/actor_system.hpp>

namespace troupe {

/// Made on first use, inherited by processes forked while there is one thread, never destroyed: actors may be
/// referred to by static objects. Thread: any.
caf::actor_system& actor_system();

}  // namespace troupe
