// The echo server over io_uring: multishot accept and recv into blocks that the kernel picks from a
// ring, replies sent straight from the block, everything of one turn submitted with one system call
// (the recommendations of liburing's "io_uring and networking in 2023").
#include "peer.h"

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

using peer::Mode, peer::whole_frames;

namespace {

constexpr unsigned kBlocks = 1024;  // a power of two
constexpr unsigned kBlockSize = 16 * 1024;
constexpr int kGroup = 0;
constexpr int kNone = -1;

// There is at most one send under way, so that two cannot overtake each other.
struct Connection {
  explicit Connection(int accepted) : fd(accepted) {}

  int fd;
  bool receiving = true;  // a multishot recv is armed
  bool sending = false;   // one of the three:
  int block = kNone;
  std::string bytes;
  std::shared_ptr<const std::string> shared;

  std::string waiting;  // to be sent next
  std::string partial;  // the beginning of a frame
  std::uint64_t received = 0;
};

enum Operation : std::uintptr_t { recv_into_block, send_bytes };  // in the low bit of user_data

Mode mode;
io_uring ring;
io_uring_buf_ring* blocks;
char* memory;                   // of the blocks
unsigned held = 0;              // blocks that are being sent
std::vector<Connection*> open;  // of the broadcast alone

io_uring_sqe* next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring);
  if (sqe) return sqe;
  io_uring_submit(&ring);
  return io_uring_get_sqe(&ring);
}

void set_user(io_uring_sqe* sqe, Connection& c, Operation operation) {
  sqe->user_data = reinterpret_cast<std::uintptr_t>(&c) | operation;
}

char* block_at(int id) {
  return memory + static_cast<std::size_t>(id) * kBlockSize;
}

void give_back(int id) {
  io_uring_buf_ring_add(blocks, block_at(id), kBlockSize, static_cast<unsigned short>(id),
                        io_uring_buf_ring_mask(kBlocks), 0);
  io_uring_buf_ring_advance(blocks, 1);
}

void arm_accept(int listener) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_multishot_accept(sqe, listener, nullptr, nullptr, 0);
  sqe->user_data = 0;
}

void arm_recv(Connection& c) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_recv_multishot(sqe, c.fd, nullptr, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = kGroup;
  set_user(sqe, c, recv_into_block);
}

// The kernel goes on until everything is sent.
void start_send(Connection& c, const char* from, std::size_t n) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_send(sqe, c.fd, from, n, MSG_NOSIGNAL | MSG_WAITALL);
  set_user(sqe, c, send_bytes);
  c.sending = true;
}

void send_copy(Connection& c, const char* from, std::size_t n) {
  if (c.sending) {
    c.waiting.append(from, n);
  } else {
    c.bytes.assign(from, n);
    start_send(c, c.bytes.data(), n);
  }
}

// Sends what lies in the block and then gives it back. No more than half of the blocks are kept, so
// that peers who do not read leave some to receive into.
void send_block(Connection& c, int id, std::size_t n) {
  if (c.sending || held >= kBlocks / 2) {
    send_copy(c, block_at(id), n);
    return give_back(id);
  }
  ++held;
  c.block = id;
  start_send(c, block_at(id), n);
}

void echo_frames(Connection& c, int id, std::size_t n) {
  const char* from = block_at(id);
  if (c.partial.empty()) {
    const std::size_t whole = whole_frames(from, n);
    c.partial.assign(from + whole, n - whole);
    return whole > 0 ? send_block(c, id, whole) : give_back(id);
  }
  c.partial.append(from, n);
  give_back(id);
  const std::size_t whole = whole_frames(c.partial.data(), c.partial.size());
  if (whole == 0) return;
  if (c.sending) {
    c.waiting.append(c.partial, 0, whole);
    c.partial.erase(0, whole);
  } else {
    c.bytes.swap(c.partial);
    c.partial.assign(c.bytes, whole);
    start_send(c, c.bytes.data(), whole);
  }
}

void broadcast(const Connection& sender, const char* from, std::size_t n) {
  const auto payload = std::make_shared<const std::string>(from, n);
  for (Connection* c : open) {
    if (c == &sender) continue;
    if (c->sending) {
      c->waiting += *payload;
    } else {
      c->shared = payload;
      start_send(*c, payload->data(), n);
    }
  }
}

void broadcast_frames(Connection& c, int id, std::size_t n) {
  c.partial.append(block_at(id), n);
  give_back(id);
  const std::size_t whole = whole_frames(c.partial.data(), c.partial.size());
  if (whole == 0) return;
  broadcast(c, c.partial.data(), whole);
  c.partial.erase(0, whole);
}

void receive(Connection& c, int id, std::size_t n) {
  switch (mode) {
    case Mode::echo:
      return send_block(c, id, n);
    case Mode::framed:
      return echo_frames(c, id, n);
    case Mode::sink:
      c.received += n;
      return give_back(id);
    case Mode::broadcast:
      return broadcast_frames(c, id, n);
  }
}

void close_when_done(Connection& c) {
  if (c.receiving || c.sending) return;
  close(c.fd);
  delete &c;
}

void handle_end(Connection& c, int result) {
  c.receiving = false;
  if (mode == Mode::broadcast) std::erase(open, &c);
  if (mode == Mode::sink && result == 0) {
    const auto count = peer::big_endian(c.received);
    send_copy(c, count.data(), count.size());
  }
  close_when_done(c);
}

void handle_recv(Connection& c, const io_uring_cqe& cqe) {
  if (cqe.res > 0) {
    receive(c, static_cast<int>(cqe.flags >> IORING_CQE_BUFFER_SHIFT),
            static_cast<std::size_t>(cqe.res));
  } else if (cqe.res != -ENOBUFS) {  // by the next turn there are blocks again
    return handle_end(c, cqe.res);
  }
  if (!(cqe.flags & IORING_CQE_F_MORE)) arm_recv(c);
}

void handle_sent(Connection& c, const io_uring_cqe& cqe) {
  c.sending = false;
  c.shared.reset();
  if (c.block != kNone) {
    give_back(std::exchange(c.block, kNone));
    --held;
  }
  if (cqe.res < 0) c.waiting.clear();  // recv has met the error too
  if (c.waiting.empty()) return close_when_done(c);
  c.bytes.swap(c.waiting);
  c.waiting.clear();
  start_send(c, c.bytes.data(), c.bytes.size());
}

void handle(const io_uring_cqe& cqe, int listener) {
  if (cqe.user_data != 0) {
    auto& c = *reinterpret_cast<Connection*>(cqe.user_data & ~std::uintptr_t{send_bytes});
    return cqe.user_data & send_bytes ? handle_sent(c, cqe) : handle_recv(c, cqe);
  }
  if (cqe.res >= 0) {
    auto* c = new Connection(cqe.res);
    if (mode == Mode::broadcast) open.push_back(c);
    arm_recv(*c);
  }
  if (!(cqe.flags & IORING_CQE_F_MORE)) arm_accept(listener);
}

void* map(std::size_t bytes) {
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

void set_up_ring() {
  io_uring_params params{};
  // Completions are made when we ask for them, in the one thread that submits.
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
  params.cq_entries = 8192;
  errno = -io_uring_queue_init_params(2048, &ring, &params);
  if (errno != 0) peer::fail("io_uring");
  io_uring_register_ring_fd(&ring);
  blocks = static_cast<io_uring_buf_ring*>(map(kBlocks * sizeof(io_uring_buf)));
  memory = static_cast<char*>(map(std::size_t{kBlocks} * kBlockSize));
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(blocks);
  registration.ring_entries = kBlocks;
  registration.bgid = kGroup;
  errno = -io_uring_register_buf_ring(&ring, &registration, 0);
  if (errno != 0) peer::fail("io_uring: ring of blocks");
  io_uring_buf_ring_init(blocks);
  for (unsigned id = 0; id < kBlocks; ++id) give_back(static_cast<int>(id));
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = peer::arguments(argc, argv, "liburing " PEER_VERSION);
  mode = arguments.mode;
  set_up_ring();
  // The ring waits for sockets that would block; those that say so themselves it would not.
  const int listener = peer::listen_on(arguments.port, 0);
  arm_accept(listener);
  for (;;) {
    io_uring_submit_and_wait(&ring, 1);
    unsigned head;
    unsigned done = 0;
    io_uring_cqe* cqe;
    io_uring_for_each_cqe(&ring, head, cqe) {
      handle(*cqe, listener);
      ++done;
    }
    io_uring_cq_advance(&ring, done);
  }
}
