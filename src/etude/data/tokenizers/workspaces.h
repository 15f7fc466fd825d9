#pragma once
// Memory that outlives calls, one for each thread that calls at the same time.

#include <memory>
#include <mutex>
#include <vector>

namespace etude {

template <class Workspace>
class Workspaces {
 public:
  /// A workspace for as long as the lease lives.
  class Lease {
   public:
    explicit Lease(Workspaces& owner) : owner_(owner) {
      const std::lock_guard lock(owner_.mutex_);
      if (owner_.free_.empty()) {
        workspace_ = std::make_unique<Workspace>();
      } else {
        workspace_ = std::move(owner_.free_.back());
        owner_.free_.pop_back();
      }
    }
    ~Lease() {
      const std::lock_guard lock(owner_.mutex_);
      owner_.free_.push_back(std::move(workspace_));
    }
    Lease(const Lease&) = delete;
    Workspace& operator*() { return *workspace_; }

   private:
    Workspaces& owner_;
    std::unique_ptr<Workspace> workspace_;
  };

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> free_;
};

}  // namespace etude
