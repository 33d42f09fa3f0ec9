// The door to CAF: a run loop that is a CAF execution unit, and one actor class that hands its messages to an Actor.
//
//   post ──► CAF mailbox ──► idle: exec_later(actor) ──► this thread's RunLoop resumes it until its mailbox is empty
//                        └─► running elsewhere: that thread finds the message when it is done with the one before

#include <troupe/actor.hpp>
#include <troupe/runtime.hpp>
#include <troupe/thread_storage.hpp>

#include "actor_system.hpp"

#include <caf/actor_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/intrusive/lifo_inbox.hpp>
#include <caf/mailbox_element.hpp>
#include <caf/make_actor.hpp>
#include <caf/monitorable_actor.hpp>
#include <caf/resumable.hpp>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <typeinfo>
#include <utility>

namespace troupe {

namespace {

// A Mail in CAF's mailbox. Each thread keeps one that it has handled for the next that it posts.
class Letter final : public caf::mailbox_element {
 public:
  static caf::mailbox_element_ptr write(Mail mail) {
    Letter*& spare = spare_of_this_thread().letter;
    Letter* letter = spare != nullptr ? std::exchange(spare, nullptr) : new Letter;
    letter->mail = std::move(mail);
    return caf::mailbox_element_ptr{letter};
  }

  Mail mail;

  // What CAF would ask for if it handled the message itself.
  caf::type_erased_tuple& content() override { return nothing_; }
  const caf::type_erased_tuple& content() const override { return nothing_; }
  caf::message move_content_to_message() override { return {}; }
  caf::message copy_content_to_message() const override { return {}; }

  void request_deletion(bool) const noexcept override {
    auto* self = const_cast<Letter*>(this);
    self->mail = {};  // what this lets go of may post in turn
    Letter*& spare = spare_of_this_thread().letter;
    delete std::exchange(spare, self);
  }

 private:
  struct Spare {
    Spare() = default;
    ~Spare() { delete letter; }
    Spare(const Spare&) = delete;
    Spare& operator=(const Spare&) = delete;
    Letter* letter = nullptr;
  };
  static Spare& spare_of_this_thread() { return ThreadStorage<Spare>::get(); }

  caf::empty_type_erased_tuple nothing_;
};

// Runs the actors that become ready on this thread, in order, before `post` returns.
class RunLoop final : public caf::execution_unit {
 public:
  void exec_later(caf::resumable* actor) override { ready_.push_back(actor); }

  void deliver(caf::actor_control_block* target, Mail mail) {
    system_ = &actor_system();
    target->enqueue(Letter::write(std::move(mail)), this);
    if (running_) return;  // called from a handler: the loop below us goes on with it
    running_ = true;
    while (!ready_.empty()) {
      caf::resumable* actor = ready_.front();
      ready_.pop_front();
      if (actor->resume(this, max_messages) == caf::resumable::resume_later)
        ready_.push_back(actor);
      else
        caf::intrusive_ptr_release(actor);
    }
    running_ = false;
  }

  bool* running() noexcept { return &running_; }

  static RunLoop& of_this_thread() { return ThreadStorage<RunLoop>::get(); }

 private:
  static constexpr std::size_t max_messages = 64;  // before another ready actor gets its turn

  std::deque<caf::resumable*> ready_;
  bool running_ = false;
};

[[noreturn]] void end_process(const char* what) {
  std::fprintf(stderr, "troupe: an actor failed and cannot go on: %s\n", what);
  std::abort();
}

struct InboxPolicy {
  using mapped_type = caf::mailbox_element;
  using unique_pointer = caf::mailbox_element_ptr;
};

// A CAF actor with CAF's inbox and none of what event_based_actor adds (behaviour stacks, requests, streams, clock
// readings): those cost 200 ns a message, this costs 50.
class Cell final : public caf::monitorable_actor, public caf::resumable {
 public:
  Cell(caf::actor_config& config, std::unique_ptr<Actor> behaviour)
      : monitorable_actor(config), behaviour_(std::move(behaviour)) {
    inbox_.try_block();
  }

  void enqueue(caf::mailbox_element_ptr element, caf::execution_unit* unit) override {
    // An idle inbox: whoever delivers runs the actor. The run loop holds it alive meanwhile.
    if (inbox_.push_front(std::move(element)) == caf::intrusive::inbox_result::unblocked_reader) {
      intrusive_ptr_add_ref(ctrl());
      unit->exec_later(this);
    }
  }

  resume_result resume(caf::execution_unit*, std::size_t) override {
    do {
      caf::mailbox_element* newest = inbox_.take_head();
      caf::mailbox_element* oldest = nullptr;
      while (newest != nullptr) {  // the inbox is a stack: turn it round to keep the order of arrival
        auto* next = static_cast<caf::mailbox_element*>(newest->next);
        newest->next = oldest;
        oldest = newest;
        newest = next;
      }
      while (oldest != nullptr) {
        const caf::mailbox_element_ptr current{oldest};
        oldest = static_cast<caf::mailbox_element*>(oldest->next);
        auto& element = *current;
        if (typeid(element) == typeid(Letter)) receive(static_cast<Letter&>(element).mail);
      }
    } while (!inbox_.try_block());
    return awaiting_message;
  }

  void on_destroy() override {
    if (!getf(is_cleaned_up_flag)) {
      cleanup(caf::exit_reason::unreachable, nullptr);
      monitorable_actor::on_destroy();
    }
  }

  subtype_t subtype() const override { return scheduled_actor; }
  void intrusive_ptr_add_ref_impl() override { intrusive_ptr_add_ref(ctrl()); }
  void intrusive_ptr_release_impl() override { intrusive_ptr_release(ctrl()); }

 private:
  void receive(Mail& mail) noexcept {
    try {
      behaviour_->receive(mail);
    } catch (const std::exception& error) {
      end_process(error.what());
    } catch (...) {
      end_process("an exception of unknown type");
    }
  }

  caf::intrusive::lifo_inbox<InboxPolicy> inbox_;
  std::unique_ptr<Actor> behaviour_;
};

caf::actor_control_block* block(void* cell) { return static_cast<caf::actor_control_block*>(cell); }

}  // namespace

UserCodeScope::UserCodeScope() noexcept
    : running_(RunLoop::of_this_thread().running()), was_running_(std::exchange(*running_, false)) {}

UserCodeScope::~UserCodeScope() { *running_ = was_running_; }

ActorRef::ActorRef(std::unique_ptr<Actor> behaviour) {
  detail::require_runtime();
  auto& system = actor_system();
  caf::actor_config config;
  cell_ = caf::make_actor<Cell, caf::strong_actor_ptr>(system.next_actor_id(), system.node(), &system, config,
                                                       std::move(behaviour))
              .release();
}

ActorRef::ActorRef(const ActorRef& other) : cell_(other.cell_) {
  if (cell_ != nullptr) caf::intrusive_ptr_add_ref(block(cell_));
}

ActorRef::ActorRef(ActorRef&& other) noexcept : cell_(std::exchange(other.cell_, nullptr)) {}

ActorRef& ActorRef::operator=(ActorRef other) noexcept {
  std::swap(cell_, other.cell_);
  return *this;
}

ActorRef::~ActorRef() {
  if (cell_ != nullptr) caf::intrusive_ptr_release(block(cell_));
}

std::uint64_t ActorRef::id() const noexcept { return cell_ == nullptr ? 0 : block(cell_)->id(); }

void ActorRef::post(Mail mail) const { RunLoop::of_this_thread().deliver(block(cell_), std::move(mail)); }

}  // namespace troupe
