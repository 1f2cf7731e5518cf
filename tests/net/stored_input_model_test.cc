// Random receives into StoredInputs that share one loop's receive block, beside strings that know
// what each should hold.
#include "stored_input.h"
#include "support/loop_test.h"
#include "support/mappings.h"
#include "support/random.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace millrace::test {
namespace {

class StoredInputModel {
 public:
  StoredInputModel(Random& random, LoopServices& services) : random_(random), services_(services) {}
  ~StoredInputModel() { input_.clear(services_.blocks()); }

  void step() {
    if (!input_.empty() && stored_.size() >= input_.expected() && random_.one_in(5)) {
      deliver(input_.view());  // again, as after a pause
    } else {
      receive();
    }
    EXPECT_TRUE(input_.view().text() == stored_);
    EXPECT_EQ(input_.expected(), expected_);
    EXPECT_EQ(input_.empty(), stored_.empty() && expected_ == 0);
  }

 private:
  void receive() {
    const auto window = input_.window(services_);
    ASSERT_GT(window.size, 0u);
    if (window.in_place) {
      const std::size_t missing = expected_ > stored_.size() ? expected_ - stored_.size() : 0;
      EXPECT_TRUE(missing < 16 * 1024 || window.size <= missing) << "beyond a large rest";
    }
    const std::size_t most = random_.one_in(3) ? window.size : random_.size_up_to(window.size);
    const std::string bytes = random_.bytes(std::max<std::size_t>(most, 1));
    std::memcpy(window.at, bytes.data(), bytes.size());
    const ByteView all = input_.received(window, bytes.size(), services_);
    stored_ += bytes;
    ASSERT_TRUE(all.text() == stored_);
    if (all.size() >= expected_) {
      deliver(all);
    } else {
      input_.keep(all, {expected_}, services_.blocks());
    }
  }

  // What a handler does: consumes some of it, and says what it needs to go on.
  void deliver(ByteView all) {
    std::size_t consumed = 0;
    if (stored_.size() > 400'000 || random_.one_in(3)) consumed = stored_.size();
    if (consumed == 0 && random_.one_in(2)) consumed = random_.below(stored_.size() + 1);
    const std::size_t rest = stored_.size() - consumed;
    switch (random_.below(6)) {
      case 0:
        expected_ = random_.below(rest + 1);  // is there already
        break;
      case 1:
        expected_ = rest + random_.between(1, 20'000);
        break;
      case 2:
        expected_ = rest + random_.size_up_to(300'000);
        break;
      default:
        expected_ = 0;
        break;
    }
    input_.keep(all.from(consumed), {expected_}, services_.blocks());
    stored_.erase(0, consumed);
  }

  Random& random_;
  LoopServices& services_;
  StoredInput input_;
  std::string stored_;
  std::size_t expected_ = 0;
};

struct StoredInputModelTest : LoopTest {};

TEST_F(StoredInputModelTest, HoldsWhatTheModelsHold) {
  const Mappings mappings;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    LoopServices& services = loop().services();
    {
      StoredInputModel models[] = {{random, services}, {random, services}, {random, services}};
      for (int step = 0; step < 1000 && !HasFailure(); ++step) {
        models[random.below(3)].step();
        if (random.one_in(50)) services.blocks().trim();
      }
    }
    EXPECT_EQ(services.blocks().live_blocks(), 0u);
  }
  for (int i = 0; i < 4; ++i) loop().services().blocks().trim();
  EXPECT_EQ(mappings.bytes(), 0);
}

}  // namespace
}  // namespace millrace::test
