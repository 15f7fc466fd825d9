#include "etude/comm/mailbox.h"

#include "etude/base/error.h"

namespace etude {

class Mailbox::View : public Peers {
 public:
  View(Mailbox& box, int me, int size) : box_(box), me_(me), size_(size) {}
  int me() const override { return me_; }
  int size() const override { return size_; }

  void send(int to, const std::string& tag, const std::vector<Tensor>& tensors) override {
    ETUDE_CHECK(to >= 0 && to < size_, "a message to a replica that does not exist");
    std::vector<Tensor> copies;
    copies.reserve(tensors.size());
    int64_t bytes = 0;
    for (const Tensor& t : tensors) {
      copies.push_back(t.detach().clone());
      bytes += static_cast<int64_t>(t.nbytes());
    }
    const bool fresh = box_.messages_.emplace(std::tuple(me_, to, tag), Message{std::move(copies), box_.early_}).second;
    ETUDE_CHECK(fresh, "two messages under one tag in one round: " + tag);
    if (to == me_) return;
    traffic_.bytes += bytes;
    traffic_.messages += 1;
    sent_ = true;
  }

  std::vector<Tensor> receive(int from, const std::string& tag) override {
    auto node = box_.messages_.extract(std::tuple(from, me_, tag));
    return node.empty() ? std::vector<Tensor>{} : std::move(node.mapped().tensors);
  }

  Traffic traffic() const override { return traffic_; }

  void end_round() {
    if (sent_) traffic_.rounds += 1;
    sent_ = false;
  }

 private:
  Mailbox& box_;
  int me_, size_;
  Traffic traffic_;
  bool sent_ = false;
};

Mailbox::Mailbox(int replicas) {
  ETUDE_CHECK(replicas >= 1, "a mailbox needs a replica");
  for (int r = 0; r < replicas; ++r) views_.push_back(std::make_unique<View>(*this, r, replicas));
}
Mailbox::~Mailbox() = default;

Peers& Mailbox::peers(int replica) { return *views_.at(static_cast<size_t>(replica)); }

void Mailbox::end_round() {
  for (auto& view : views_) view->end_round();
  std::erase_if(messages_, [](const auto& entry) { return !entry.second.early; });
}

void Mailbox::end_step() { messages_.clear(); }

}  // namespace etude
