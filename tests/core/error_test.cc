#include <millrace/error.h>

#include <cerrno>
#include <set>
#include <string>
#include <system_error>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

constexpr error kAll[] = {
    error::aborted,
    error::owner_destroyed,
    error::handler_exception,
    error::send_queue_overflow,
    error::receive_buffer_overflow,
    error::idle_timeout,
    error::first_byte_timeout,
    error::message_timeout,
    error::write_stalled,
    error::linger_timeout,
    error::lifetime_exceeded,
    error::drain_deadline,
    error::frame_too_large,
    error::frame_corrupt,
    error::frame_truncated,
    error::child_ignored,
    error::child_reaped,
};

TEST(Error, EachIsAnErrorCodeOfTheCategoryMillrace) {
  for (const error e : kAll) {
    const std::error_code code = e;
    EXPECT_TRUE(code) << "an error must not look like success";
    EXPECT_TRUE(code == e);
    EXPECT_STREQ(code.category().name(), "millrace");
    EXPECT_EQ(&code.category(), &error_category());
  }
}

TEST(Error, EachHasAMessageOfItsOwnThatAPersonCanRead) {
  std::set<std::string> messages;
  for (const error e : kAll) {
    const std::string message = make_error_code(e).message();
    EXPECT_GE(message.size(), 10u) << message;
    EXPECT_EQ(message.find("unknown"), std::string::npos) << message;
    EXPECT_TRUE(messages.insert(message).second) << "said twice: " << message;
  }
}

TEST(Error, AnUnknownNumberIsShown) {
  EXPECT_EQ(std::error_code(999, error_category()).message(), "unknown millrace error 999");
}

TEST(Error, OursAndTheSystemsAreDifferent) {
  const auto number = static_cast<int>(error::owner_destroyed);
  EXPECT_NE(make_error_code(error::owner_destroyed), system_error_code(number));
  EXPECT_FALSE(make_error_code(error::aborted) == std::errc::connection_aborted);
}

TEST(Error, TheSystemsCompareWithPortableConditions) {
  EXPECT_TRUE(system_error_code(ECONNRESET) == std::errc::connection_reset);
  EXPECT_EQ(system_error_code(ECONNRESET).category(), std::system_category());
  EXPECT_FALSE(system_error_code(0));
}

TEST(Error, ThrownOnesNameTheCallAndWhatItWasAbout) {
  try {
    throw_system_error(EACCES, "bind 127.0.0.1:80");
    FAIL() << "nothing thrown";
  } catch (const std::system_error& e) {
    EXPECT_STREQ(e.what(), "bind 127.0.0.1:80: Permission denied");
    EXPECT_EQ(e.code(), system_error_code(EACCES));
  }
}

}  // namespace
}  // namespace millrace::test
