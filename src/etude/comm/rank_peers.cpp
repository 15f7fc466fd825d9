#include "etude/comm/rank_peers.h"

#include "etude/base/torch_pch.h"

namespace etude {

class RankPeers::View : public Peers {
 public:
  View(RankPeers& all, int me) : all_(all), me_(me), ranks_(all.layout_.ranks_of(me)), inside_(all.memory_.peers(me)) {}
  int me() const override { return me_; }
  int size() const override { return all_.layout_.replicas(); }

  void send(int to, const std::string& tag, const std::vector<Tensor>& tensors) override {
    sent_ = sent_ || to != me_;
    if (!is_outside(to)) return inside_.send(to, all_.technique_ + tag, tensors);
    if (!is_head()) return;
    all_.links_->send(all_.layout_.head(to), name(me_, to, tag), tensors);
    for (const Tensor& t : tensors) outside_.bytes += static_cast<int64_t>(t.nbytes());
    outside_.messages += 1;
  }

  std::vector<Tensor> receive(int from, const std::string& tag) override {
    if (!is_outside(from)) return inside_.receive(from, all_.technique_ + tag);
    const std::string own = name(from, me_, tag);
    if (!is_head()) return *required(ranks_.front(), own);
    const std::vector<Tensor> got = all_.links_->receive(all_.layout_.head(from), own).value_or(std::vector<Tensor>{});
    for (size_t i = 1; i < ranks_.size(); ++i) all_.links_->send(ranks_[i], own, got);
    return got;
  }

  Traffic traffic() const override {
    Traffic both = inside_.traffic();
    both += outside_;
    both.rounds = rounds_;
    return both;
  }
  void end_round() {
    if (sent_) rounds_ += 1;
    sent_ = false;
  }

 private:
  bool is_outside(int replica) const {
    if (!all_.links_) return false;
    const auto [first, last] = all_.layout_.hosted(all_.links_->rank());
    return replica < first || replica >= last;
  }
  bool is_head() const { return ranks_.front() == all_.links_->rank(); }
  std::optional<std::vector<Tensor>> required(int rank, const std::string& tag) const {
    auto got = all_.links_->receive(rank, tag);
    if (!got) throw all_.links_->missing(rank);
    return got;
  }
  std::string name(int from, int to, const std::string& tag) const {
    return "exchange/" + all_.step_ + all_.technique_ + std::to_string(from) + "-" + std::to_string(to) + "/" + tag;
  }

  RankPeers& all_;
  int me_;
  std::vector<int> ranks_;
  Peers& inside_;
  Traffic outside_;
  int64_t rounds_ = 0;
  bool sent_ = false;
};

RankPeers::RankPeers(const Layout& layout, Links* links)
    : layout_(layout), links_(links), memory_(layout.replicas()), views_(static_cast<size_t>(layout.replicas())) {
  const auto [first, last] = layout.hosted(links ? links->rank() : 0);
  for (int r = first; r < last; ++r) views_[static_cast<size_t>(r)] = std::make_unique<View>(*this, r);
}
RankPeers::~RankPeers() = default;

Peers& RankPeers::peers(int replica) {
  const auto& view = views_.at(static_cast<size_t>(replica));
  ETUDE_CHECK(view, "a replica that this rank does not host");
  return *view;
}

void RankPeers::begin_step(int64_t step) {
  step_ = std::to_string(step) + "/";
  memory_.begin_step();
}

void RankPeers::begin_exchange() { memory_.begin_rounds(); }

void RankPeers::end_round() {
  for (const auto& view : views_)
    if (view) view->end_round();
  memory_.end_round();
}

}  // namespace etude
