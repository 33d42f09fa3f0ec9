// Shows callbacks: workers fetch pages, a callback in main stores them and has the pool fetch what they link to.
// Run: crawler
// Prints a line per page or failure, in the order of arrival, then what was found. The site is served by the sample.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "fetch.hpp"
#include "site.hpp"

#include <cerrno>
#include <chrono>
#include <exception>
#include <future>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;

/// Fetches a page and all that can be reached from it, each once. All callbacks run on one thread of main, so that
/// what they change needs no lock.
class Crawler {
 public:
  explicit Crawler(troupe::Pool& pool) : calls_(pool.with({.timeout = 1s, .name = "fetch"})) {}

  /// Blocks: until every page is stored or has failed. Once.
  void crawl(const std::string& url) {
    visit(url);
    done_.get_future().get();
  }
  const std::map<std::string, Page>& pages() const { return pages_; }
  std::size_t num_failures() const { return num_failures_; }

 private:
  void visit(const std::string& url) {
    if (!known_.insert(url).second) return;
    ++num_pending_;
    try {
      calls_.callback([this](const Page& page) { store(page); })
          .error_callback([this, url](const std::exception& error) { report(url, error); })
          .apply_async(fetch, url);
    } catch (const std::exception& error) {
      report(url, error);
    }
  }

  void store(const Page& page) {
    pages_[page.url] = page;
    std::cout << "  stored " << page.url << ", links: " << page.links.size() << '\n';
    for (const std::string& link : page.links) visit(link);
    end_one();
  }

  void report(const std::string& url, const std::exception& error) {
    ++num_failures_;
    std::cout << "  failed " << url << ": " << error.what() << '\n';
    end_one();
  }

  void end_one() {
    if (--num_pending_ == 0) done_.set_value();
  }

  const troupe::TaskCalls<> calls_;
  std::set<std::string> known_;
  std::map<std::string, Page> pages_;
  std::size_t num_pending_ = 0;
  std::size_t num_failures_ = 0;
  std::promise<void> done_;
};

void run() {
  Address site = bind_to_loopback();
  const Address gone = bind_to_loopback();  // nobody will listen there
  if (::listen(site.socket.get(), 64) != 0) throw troupe::OSError(errno, "listen on " + site.url);
  const std::string first = site.url + "/page1";
  troupe::Process server{{.name = "server", .daemon = true}, serve, std::move(site), gone.url + "/"};
  server.start();

  troupe::Pool pool{4};
  Crawler crawler{pool};
  crawler.crawl(first);
  pool.close();
  pool.join();  // waits for callbacks as well

  std::set<pid_t> workers;
  for (const auto& [url, page] : crawler.pages()) workers.insert(page.fetched_by);
  std::cout << crawler.pages().size() << " pages stored, " << crawler.num_failures()
            << " failed; any fetched by main: " << std::boolalpha << workers.contains(::getpid()) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  try {
    run();
  } catch (const std::exception& error) {
    std::cerr << "crawler: " << error.what() << '\n';
    return 1;
  }
}
