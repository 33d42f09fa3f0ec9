#pragma once

/// \file
/// Rows of the table about locks and the like.

namespace bench {

/// Nanoseconds for taking and giving back what nobody else wants.
double lock_uncontended();
double semaphore_uncontended();
/// How often a second two processes together get a lock that both want all the time.
double lock_contended();
/// Microseconds from one process to the other and back, each waiting for a semaphore or an event of its own.
double semaphore_wake();
double event_wake();
/// Microseconds for two processes to meet.
double barrier_2();

}  // namespace bench
