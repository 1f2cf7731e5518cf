#include "hosts_file.h"

#include "support/resolver_test.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>

namespace millrace::test {
namespace {

std::string found_in(const HostsFile& hosts, std::string_view name) {
  std::string all;
  for (const SocketAddress& address : hosts.find(name)) {
    if (!all.empty()) all += ' ';
    all += address.host();
  }
  return all;
}

struct ParsedHosts : ::testing::Test {
  std::string find(std::string_view text, std::string_view name) {
    HostsFile hosts("/dev/null");
    hosts.parse(text);
    return found_in(hosts, name);
  }
};

TEST_F(ParsedHosts, GiveAllNamesOfALine) {
  const std::string text = "192.0.2.1 one uno\teins\n";
  for (const char* name : {"one", "uno", "eins"}) EXPECT_EQ(find(text, name), "192.0.2.1");
  EXPECT_EQ(find(text, "two"), "");
}

TEST_F(ParsedHosts, GiveAllAddressesOfANameInTheirOrderAndEachOnce) {
  EXPECT_EQ(find("192.0.2.2 a\n::1 a\n192.0.2.1 b a\n192.0.2.2 a a\n", "a"),
            "192.0.2.2 ::1 192.0.2.1");
}

TEST_F(ParsedHosts, DoNotMindTheCaseNorADotAtTheEnd) {
  EXPECT_EQ(find("192.0.2.1 One.Example.\n", "oNE.example"), "192.0.2.1");
  EXPECT_EQ(find("192.0.2.1 one.example\n", "ONE.example."), "192.0.2.1");
}

TEST_F(ParsedHosts, LeaveOutCommentsBlanksAndWhatMakesNoSense) {
  const std::string text =
      "# 192.0.2.9 a\n\n   \t\r\n#\n192.0.2.1 # a\nnonsense a\n192.0.2.256 a\n127.1 a\n[::1] a\n"
      "localhost a\n192.0.2.2\n  192.0.2.3\ta b..c a/b # a\r\n192.0.2.4 a";
  EXPECT_EQ(find(text, "a"), "192.0.2.3 192.0.2.4");
  EXPECT_EQ(find(text, "b..c"), "");
}

TEST_F(ParsedHosts, MayBeAnyBytes) {
  std::string text;
  for (int i = 0; i < 1024; ++i) text += static_cast<char>(i * 7);
  text += "\n192.0.2.1 a\n";
  text += std::string(3, '\0');
  EXPECT_EQ(find(text, "a"), "192.0.2.1");
}

TEST_F(ParsedHosts, KeepTheScopeOfAnAddress) {
  EXPECT_EQ(find("fe80::1%lo router\n", "router"), "fe80::1%lo");
}

TEST(HostsFile, IsReadAgainOnlyWhenItHasChanged) {
  TemporaryFile file("192.0.2.1 a\n");
  HostsFile hosts(file.path());
  EXPECT_EQ(hosts.refresh(), 0);
  EXPECT_EQ(found_in(hosts, "a"), "192.0.2.1");
  hosts.parse("192.0.2.9 kept\n");
  EXPECT_EQ(hosts.refresh(), 0);
  EXPECT_EQ(found_in(hosts, "kept"), "192.0.2.9");
  file.write("192.0.2.22 a b\n");
  EXPECT_EQ(hosts.refresh(), 0);
  EXPECT_EQ(found_in(hosts, "a"), "192.0.2.22");
  EXPECT_EQ(found_in(hosts, "kept"), "");
}

TEST(HostsFile, IsReadAgainThoughItsSizeAndItsTimeWereKept) {
  TemporaryFile file("192.0.2.1 a\n");
  struct stat before;
  ASSERT_EQ(::stat(file.path().c_str(), &before), 0);
  HostsFile hosts(file.path());
  EXPECT_EQ(hosts.refresh(), 0);
  const timespec times[] = {before.st_atim, before.st_mtim};
  struct stat now;
  do {  // the kernel's clock may not have gone on yet
    file.write("192.0.2.2 a\n");
    ASSERT_EQ(::utimensat(AT_FDCWD, file.path().c_str(), times, 0), 0);
    ASSERT_EQ(::stat(file.path().c_str(), &now), 0);
  } while (now.st_ctim.tv_sec == before.st_ctim.tv_sec &&
           now.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
  EXPECT_EQ(hosts.refresh(), 0);
  EXPECT_EQ(found_in(hosts, "a"), "192.0.2.2");
}

TEST(HostsFile, ThatIsGoneHasNoNames) {
  std::string path;
  HostsFile hosts([&] {
    const TemporaryFile file("192.0.2.1 a\n");
    return path = file.path();
  }());
  EXPECT_EQ(hosts.refresh(), ENOENT);
  EXPECT_EQ(hosts.refresh(), 0);  // nothing has changed
  EXPECT_EQ(found_in(hosts, "a"), "");
}

TEST(HostsFile, KeepsItsNamesWhileThereAreNoDescriptorsToReadItAnew) {
  TemporaryFile file("192.0.2.1 a\n");
  HostsFile hosts(file.path());
  EXPECT_EQ(hosts.refresh(), 0);
  file.write("192.0.2.22 a\n");
  {
    const DescriptorLimit none(0);
    EXPECT_EQ(hosts.refresh(), EMFILE);
    EXPECT_EQ(found_in(hosts, "a"), "192.0.2.1");
  }
  EXPECT_EQ(hosts.refresh(), 0);
  EXPECT_EQ(found_in(hosts, "a"), "192.0.2.22");
}

TEST(HostsFile, IsNoDirectoryAndNothingWithoutAnEnd) {
  EXPECT_EQ(HostsFile("/tmp").refresh(), EISDIR);
  EXPECT_EQ(HostsFile("/dev/zero").refresh(), EFBIG);
}

TEST(HostsFile, ThatIsAPipeIsNotWaitedFor) {
  const std::string path =
      ::testing::TempDir() + "millrace-hosts-pipe-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  HostsFile hosts(path);
  EXPECT_EQ(hosts.refresh(), 0);
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace millrace::test
