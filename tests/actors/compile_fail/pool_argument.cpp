// Must not compile: the argument cannot travel to the worker.

#include <troupe/pool.hpp>

class Session {
 public:
  explicit Session(int number);

 private:
  int number_;
};

int inspect(const Session& session);

int call(troupe::Pool& pool, const Session& session) { return pool.apply(inspect, session); }
