#include <millrace/event_loop.h>
#include <millrace/log.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;
using log::Level;

struct LogTest : ::testing::Test {
  using Line = std::pair<Level, std::string>;

  LogTest() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    log::set_sink([this](Level level, std::string_view line) { lines.emplace_back(level, line); });
  }
  ~LogTest() override {
    log::set_sink({});
    log::set_level(Level::warning);
  }

  std::vector<Line> lines;
};

TEST_F(LogTest, WritesWarningsAndWorseByDefault) {
  log::write(Level::debug, "d");
  log::write(Level::info, "i");
  log::write(Level::warning, "w");
  log::write(Level::error, "e");
  EXPECT_EQ(lines, (std::vector<Line>{{Level::warning, "w"}, {Level::error, "e"}}));
}

TEST_F(LogTest, WritesFromTheLevelThatIsSet) {
  constexpr Level kLevels[] = {Level::debug, Level::info, Level::warning, Level::error};
  for (const Level minimum : kLevels) {
    log::set_level(minimum);
    lines.clear();
    for (const Level level : kLevels) {
      log::write(level, "line");
      EXPECT_EQ(log::enabled(level), level >= minimum);
    }
    EXPECT_EQ(lines.size(), 4 - static_cast<std::size_t>(minimum));
  }
}

TEST_F(LogTest, WritesNothingWhenItIsOff) {
  log::set_level(Level::off);
  log::write(Level::error, "e");
  log::write(Level::off, "o");
  EXPECT_FALSE(log::enabled(Level::error));
  EXPECT_FALSE(log::enabled(Level::off));
  EXPECT_TRUE(lines.empty());
}

TEST_F(LogTest, OffIsNoLevelOfALine) {
  log::set_level(Level::debug);
  log::write(Level::off, "o");
  EXPECT_TRUE(lines.empty());
}

TEST_F(LogTest, GivesTheSinkTheWholeLine) {
  const std::string line("with\0nul and {} and %s", 22);
  log::write(Level::error, line);
  log::write(Level::error, "");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].second, line);
  EXPECT_EQ(lines[1].second, "");
}

TEST_F(LogTest, ANewSinkReplacesTheOldOneAndDestroysIt) {
  const auto held = std::make_shared<int>(0);
  log::set_sink([held](Level, std::string_view) {});
  EXPECT_EQ(held.use_count(), 2);
  std::string seen;
  log::set_sink([&](Level, std::string_view line) { seen = line; });
  EXPECT_EQ(held.use_count(), 1);
  log::write(Level::error, "to the new one");
  EXPECT_EQ(seen, "to the new one");
}

TEST_F(LogTest, ASinkThatThrowsHarmsNobody) {
  log::set_sink([](Level, std::string_view) { throw std::runtime_error("disk full"); });
  log::write(Level::error, "lost");
  log::set_sink([this](Level level, std::string_view line) { lines.emplace_back(level, line); });
  log::write(Level::error, "kept");
  EXPECT_EQ(lines, (std::vector<Line>{{Level::error, "kept"}}));
}

TEST_F(LogTest, ASinkThatBlocksHoldsUpOnlyWhoLogs) {
  std::promise<void> entered, release;
  log::set_sink([&](Level, std::string_view) {
    entered.set_value();
    release.get_future().wait();
  });
  std::thread logger([] { log::write(Level::error, "into a full pipe"); });
  entered.get_future().wait();
  log::set_level(Level::error);
  EXPECT_FALSE(log::enabled(Level::warning));
  log::write(Level::warning, "not written, so that it waits for nobody");
  EventLoop loop;
  bool served = false;
  loop.post([&] { served = true; });
  loop.run_once(0ms);
  EXPECT_TRUE(served);
  release.set_value();
  logger.join();
}

TEST_F(LogTest, ASinkMayReplaceItselfAndWhatItLogsIsDropped) {
  const std::string text = "a text that is too long to be kept inside the string itself";
  log::set_sink([this, text](Level, std::string_view) {
    log::set_sink([this](Level level, std::string_view line) { lines.emplace_back(level, line); });
    log::write(Level::error, "from inside");
    lines.emplace_back(Level::error, text);  // of this sink, which has been replaced
  });
  log::write(Level::error, "first");
  log::write(Level::error, "second");
  EXPECT_EQ(lines, (std::vector<Line>{{Level::error, text}, {Level::error, "second"}}));
}

TEST_F(LogTest, WritesToStandardErrorInTheNameOfMillraceWithoutASink) {
  log::set_sink({});
  ::testing::internal::CaptureStderr();
  log::write(Level::warning, "50 % of {} is %s");
  log::write(Level::info, "not this one");
  spdlog::get("millrace")->flush();
  const std::string written = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(written.find("[millrace]"), std::string::npos) << written;
  EXPECT_NE(written.find("warning"), std::string::npos) << written;
  EXPECT_NE(written.find("50 % of {} is %s\n"), std::string::npos) << written;
  EXPECT_EQ(written.find("not this one"), std::string::npos) << written;
  EXPECT_TRUE(lines.empty());
}

TEST_F(LogTest, WritesDebugLinesToStandardErrorWhenAskedTo) {
  log::set_sink({});
  log::set_level(Level::debug);
  ::testing::internal::CaptureStderr();
  log::write(Level::debug, "a detail");
  spdlog::get("millrace")->flush();
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("a detail"), std::string::npos);
}

TEST_F(LogTest, NamesEachLevelOnStandardError) {
  log::set_sink({});
  log::set_level(Level::debug);
  ::testing::internal::CaptureStderr();
  for (const Level level : {Level::debug, Level::info, Level::warning, Level::error}) {
    log::write(level, "a line");
  }
  spdlog::get("millrace")->flush();
  const std::string written = ::testing::internal::GetCapturedStderr();
  for (const char* name : {"debug", "info", "warning", "error"}) {
    EXPECT_NE(written.find(name), std::string::npos) << name << " is missing in\n" << written;
  }
}

// In a process of its own: the logger is looked up at the first line.
TEST_F(LogTest, UsesTheLoggerNamedMillraceThatTheApplicationHasRegistered) {
  const auto program = [] {
    log::set_sink({});
    std::ostringstream written;
    spdlog::register_logger(std::make_shared<spdlog::logger>(
        "millrace", std::make_shared<spdlog::sinks::ostream_sink_mt>(written)));
    log::write(Level::error, "to the application");
    std::_Exit(written.str().find("to the application") != std::string::npos ? 0 : 1);
  };
  EXPECT_EXIT(program(), ::testing::ExitedWithCode(0), "");
}

TEST_F(LogTest, AnExitHandlerMayLog) {
  const auto program = [] {
    log::set_sink({});
    // Runs after static objects that were made later are gone.
    std::atexit([] {
      log::write(Level::error, "a late line");
      std::_Exit(0);
    });
    log::write(Level::error, "an early line");
    std::exit(1);
  };
  EXPECT_EXIT(program(), ::testing::ExitedWithCode(0), "a late line");
}

TEST_F(LogTest, ManyThreadsWriteOneAtATime) {
  std::atomic<int> inside{0};
  std::atomic<int> overlaps{0};
  int written = 0;  // not atomic: the log keeps the callers apart
  log::set_sink([&](Level, std::string_view) {
    if (++inside != 1) ++overlaps;
    ++written;
    --inside;
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int n = 0; n < 1000; ++n) log::write(Level::error, "line");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(written, 4000);
}

TEST_F(LogTest, IsConfiguredInAnyThreadWhileOthersWrite) {
  std::atomic<bool> done{false};
  std::atomic<int> written{0};
  std::thread writer([&] {
    while (!done) {
      if (log::enabled(Level::error)) log::write(Level::error, "line");
    }
  });
  for (int i = 0; i < 500; ++i) {
    log::set_sink([&](Level, std::string_view) { ++written; });
    log::set_level(i % 2 == 0 ? Level::debug : Level::error);
  }
  while (written == 0) std::this_thread::yield();
  done = true;
  writer.join();
  log::set_sink([](Level, std::string_view) {});
}

struct RateLimitTest : ::testing::Test {
  using Clock = log::RateLimit::Clock;
  const Clock::time_point start = Clock::time_point(1000s);
};

TEST_F(RateLimitTest, LetsTheFirstLineThrough) {
  log::RateLimit limit;
  EXPECT_TRUE(limit.allow(start));
  EXPECT_EQ(limit.suppressed(), 0u);
}

TEST_F(RateLimitTest, LetsOneLineThroughPerInterval) {
  log::RateLimit limit(10s);
  int through = 0;
  for (int ms = 0; ms < 60'000; ms += 5)
    through += limit.allow(start + std::chrono::milliseconds(ms));
  EXPECT_EQ(through, 6);
}

TEST_F(RateLimitTest, IsOneSecondByDefault) {
  log::RateLimit limit;
  EXPECT_TRUE(limit.allow(start));
  EXPECT_FALSE(limit.allow(start + 999ms));
  EXPECT_TRUE(limit.allow(start + 1000ms));
}

TEST_F(RateLimitTest, SaysHowManyWereHeldBackSinceTheLastLine) {
  log::RateLimit limit(1s);
  limit.allow(start);
  for (int i = 0; i < 41; ++i) EXPECT_FALSE(limit.allow(start + 1ms));
  EXPECT_TRUE(limit.allow(start + 2s));
  EXPECT_EQ(limit.suppressed(), 41u);
  EXPECT_TRUE(limit.allow(start + 4s));
  EXPECT_EQ(limit.suppressed(), 0u);
}

TEST_F(RateLimitTest, DoesNotCatchUpAfterASilence) {
  log::RateLimit limit(1s);
  limit.allow(start);
  EXPECT_TRUE(limit.allow(start + 1h));
  EXPECT_FALSE(limit.allow(start + 1h));
}

TEST_F(RateLimitTest, OfNoIntervalHoldsNothingBack) {
  log::RateLimit limit(0s);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limit.allow(start));
}

}  // namespace
}  // namespace millrace::test
