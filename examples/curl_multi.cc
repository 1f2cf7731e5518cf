// Fetches several URLs at once with libcurl, and prints what became of each. What it shows: a
// foreign library's descriptors inside the loop. Whatever asks to be told when its sockets are
// ready and when its time is over (here curl's multi_socket interface) needs an IoWatcher for each
// socket and one Timer; the loop is free for everything else meanwhile.
#include <millrace/millrace.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <curl/curl.h>

using namespace millrace;

namespace {

class Fetcher {
 public:
  explicit Fetcher(EventLoop& loop)
      : loop_(loop),
        timer_(loop, [this] { act(CURL_SOCKET_TIMEOUT, 0); }),
        multi_(curl_multi_init(), &curl_multi_cleanup) {
    if (!multi_) throw std::runtime_error("curl_multi_init");
    set(CURLMOPT_SOCKETFUNCTION, &Fetcher::on_socket);
    set(CURLMOPT_SOCKETDATA, this);
    set(CURLMOPT_TIMERFUNCTION, &Fetcher::on_timer);
    set(CURLMOPT_TIMERDATA, this);
    set(CURLMOPT_MAX_TOTAL_CONNECTIONS, kMostConnections);
  }
  ~Fetcher() {
    for (const auto& [easy, fetch] : fetches_) curl_multi_remove_handle(multi_.get(), easy);
  }
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;

  // Curl begins when the loop runs.
  void fetch(const std::string& url) {
    Easy easy(curl_easy_init(), &curl_easy_cleanup);
    if (!easy) throw std::runtime_error("curl_easy_init");
    CURL* const key = easy.get();
    Fetch& fetch = fetches_.try_emplace(key, Fetch{url, std::move(easy)}).first->second;
    curl_easy_setopt(key, CURLOPT_URL, url.c_str());
    curl_easy_setopt(key, CURLOPT_WRITEFUNCTION, &Fetcher::on_body);
    curl_easy_setopt(key, CURLOPT_WRITEDATA, &fetch);
    curl_easy_setopt(key, CURLOPT_ERRORBUFFER, fetch.error);
    curl_easy_setopt(key, CURLOPT_NOSIGNAL, 1L);
    check(curl_multi_add_handle(multi_.get(), key));
  }
  int failed() const { return failed_; }

 private:
  static constexpr long kMostConnections = 6;  // as browsers to one server; the others wait

  using Easy = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
  struct Fetch {
    std::string url;
    Easy easy;
    std::size_t body_bytes = 0;
    char error[CURL_ERROR_SIZE] = "";
  };

  // Curl says what to watch a socket for; it takes the watch away before it closes the socket.
  static int on_socket(CURL*, curl_socket_t fd, int what, void* self, void*) {
    try {
      static_cast<Fetcher*>(self)->watch(fd, what);
      return 0;
    } catch (const std::exception&) {
      return -1;  // curl is C: no exception through it. It will say that it was refused.
    }
  }
  void watch(curl_socket_t fd, int what) {
    if (what == CURL_POLL_REMOVE) {
      watchers_.erase(fd);  // possibly the one whose callback is running
      return;
    }
    const Interest interest = (what & CURL_POLL_IN ? Interest::read : Interest::none) |
                              (what & CURL_POLL_OUT ? Interest::write : Interest::none);
    if (const auto found = watchers_.find(fd); found != watchers_.end()) {
      return found->second.set_interest(interest);
    }
    watchers_.try_emplace(fd, loop_, fd, interest, [this, fd](IoEvents events) {
      act(fd, (events.readable() ? CURL_CSELECT_IN : 0) |
                  (events.writable() ? CURL_CSELECT_OUT : 0) |
                  (events.ended() ? CURL_CSELECT_ERR : 0));
    });
  }

  // And when to come back at the latest: -1 never, 0 soon, but not from in here.
  static int on_timer(CURLM*, long timeout_ms, void* self) {
    Timer& timer = static_cast<Fetcher*>(self)->timer_;
    if (timeout_ms < 0) {
      timer.cancel();
    } else {
      timer.start(std::chrono::milliseconds(timeout_ms));
    }
    return 0;
  }

  static std::size_t on_body(char*, std::size_t, std::size_t bytes, void* fetch) {
    static_cast<Fetch*>(fetch)->body_bytes += bytes;
    return bytes;
  }

  // Here curl does its work.
  void act(curl_socket_t fd, int events) {
    int running = 0;
    const CURLMcode code = curl_multi_socket_action(multi_.get(), fd, events, &running);
    if (code != CURLM_OK) return give_up(code);
    int queued = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &queued)) {
      if (message->msg == CURLMSG_DONE) finish(message->easy_handle, message->data.result);
    }
    if (fetches_.empty()) loop_.stop();
  }

  void give_up(CURLMcode code) {
    std::cerr << "curl_multi: " << curl_multi_strerror(code) << '\n';
    ++failed_;
    loop_.stop();
  }

  void finish(CURL* easy, CURLcode result) {
    const Fetch& fetch = fetches_.at(easy);
    if (result == CURLE_OK) {
      long status = 0;
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      std::cout << fetch.url << ": " << status << ", " << fetch.body_bytes << " bytes" << std::endl;
    } else {
      ++failed_;
      const char* why = fetch.error[0] != '\0' ? fetch.error : curl_easy_strerror(result);
      std::cout << fetch.url << ": " << why << std::endl;
    }
    curl_multi_remove_handle(multi_.get(), easy);
    fetches_.erase(easy);
  }

  template <class Value>
  void set(CURLMoption option, Value value) {
    check(curl_multi_setopt(multi_.get(), option, value));
  }
  static void check(CURLMcode code) {
    if (code != CURLM_OK) throw std::runtime_error(curl_multi_strerror(code));
  }

  EventLoop& loop_;
  std::unordered_map<curl_socket_t, IoWatcher> watchers_;
  Timer timer_;
  std::unordered_map<CURL*, Fetch> fetches_;
  int failed_ = 0;
  // Last: while it goes, it still calls the functions above.
  std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Fetches URLs, all at once.", "curl_multi");
  std::vector<std::string> urls;
  app.add_option("URL", urls, "what to fetch")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    EventLoop loop;
    Fetcher fetcher(loop);
    for (const std::string& url : urls) fetcher.fetch(url);
    loop.run();
    return fetcher.failed() == 0 ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << "curl_multi: " << e.what() << '\n';
    return 1;
  }
}
