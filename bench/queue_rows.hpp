#pragma once

/// \file
/// Rows of the table about queues.

namespace bench {

/// Microseconds for an item to another process and one back.
double queue_rtt();
/// Small items a second from one process to another, and from four to four.
double queue_throughput();
double queue_throughput_4x4();
/// GB a second of items of 1 MiB.
double queue_1mib();

}  // namespace bench
