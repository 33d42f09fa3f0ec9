#include "queue_rows.hpp"

#include <troupe/process.hpp>
#include <troupe/queue.hpp>

#include "figure.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bench {

namespace {

constexpr std::size_t num_batches = 5;
/// Ends who gets.
constexpr int end = -1;

using Bytes = std::vector<std::byte>;

void put_many(const troupe::Queue<int>& queue, int count) {
  for (int i = 0; i < count; ++i) queue.put(i);
}

void get_all(const troupe::Queue<int>& queue, const troupe::Queue<int>& counts) {
  int count = 0;
  while (queue.get() != end) ++count;
  counts.put(count);
}

/// Items a second from `num` processes to `num` others.
double throughput(int num, int count) {
  return num * count / median_seconds(num_batches, [&] {
           const troupe::Queue<int> queue{10'000};
           const troupe::Queue<int> counts;
           std::vector<troupe::Process> producers;
           std::vector<troupe::Process> consumers;
           for (int i = 0; i < num; ++i) {
             consumers.emplace_back(get_all, queue, counts).start();
             producers.emplace_back(put_many, queue, count).start();
           }
           for (const auto& producer : producers) producer.join();
           for (int i = 0; i < num; ++i) queue.put(end);
           int all = 0;
           for (int i = 0; i < num; ++i) all += counts.get();
           expect(all == num * count, "what came out of the queue");
           for (const auto& consumer : consumers) consumer.join();
         });
}

}  // namespace

double queue_rtt() {
  constexpr int count = 20'000;
  const troupe::Queue<int> there;
  const troupe::Queue<int> back;
  troupe::Process other{[](const troupe::Queue<int>& in, const troupe::Queue<int>& out) {
                          for (int item = in.get(); item != end; item = in.get()) out.put(item);
                        },
                        there, back};
  other.start();
  const double seconds = median_seconds(num_batches, [&] {
    for (int i = 0; i < count; ++i) {
      there.put(i);
      expect(back.get() == i, "the item that came back");
    }
  });
  there.put(end);
  other.join();
  return seconds / count * 1e6;
}

double queue_throughput() { return throughput(1, 500'000); }
double queue_throughput_4x4() { return throughput(4, 100'000); }

double queue_1mib() {
  constexpr int count = 500;
  const troupe::Queue<Bytes> queue{8};
  const troupe::Queue<std::uint64_t> sizes;
  troupe::Process other{[](const troupe::Queue<Bytes>& in, const troupe::Queue<std::uint64_t>& out) {
                          for (;;) {
                            std::uint64_t bytes = 0;
                            for (int i = 0; i < count; ++i) {
                              const Bytes item = in.get();
                              if (item.empty()) return;
                              bytes += item.size();
                            }
                            out.put(bytes);
                          }
                        },
                        queue, sizes};
  other.start();
  const Bytes item(std::size_t{1} << 20U, std::byte{1});
  const double seconds = median_seconds(num_batches, [&] {
    for (int i = 0; i < count; ++i) queue.put(item);
    expect(sizes.get() == count * item.size(), "bytes that came out of the queue");
  });
  queue.put({});
  other.join();
  return static_cast<double>(count * item.size()) / seconds / 1e9;
}

}  // namespace bench
