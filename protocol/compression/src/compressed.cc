#include <millrace/byte_order.h>
#include <millrace/compressed.h>
#include <millrace/error.h>

#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include <zstd.h>
#include <zstd_errors.h>

namespace millrace {
namespace {

struct Free {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

// One of each in a thread: making one costs more than a small frame, and takes 160 KiB.
ZSTD_DCtx* decompressor() noexcept {
  thread_local const std::unique_ptr<ZSTD_DCtx, Free> context(ZSTD_createDCtx());
  return context.get();
}

ZSTD_CCtx* compressor() {
  thread_local const std::unique_ptr<ZSTD_CCtx, Free> context(ZSTD_createCCtx());
  if (!context) throw std::bad_alloc();
  return context.get();
}

Decoded no_memory() noexcept {
  Decoded failure = Decoded::corrupt("no memory to decompress a frame");
  failure.error = make_error_code(std::errc::not_enough_memory);
  return failure;
}

}  // namespace

Compression::Compression(const CompressedOptions& options)
    : level_(options.level), max_payload_bytes_(options.max_payload_bytes) {
  if (level_ < ZSTD_minCLevel() || level_ > ZSTD_maxCLevel()) {
    throw std::invalid_argument("CompressedOptions::level is " + std::to_string(level_) +
                                ": not from " + std::to_string(ZSTD_minCLevel()) + " to " +
                                std::to_string(ZSTD_maxCLevel()));
  }
  if (max_payload_bytes_ == 0 || max_payload_bytes_ > ZSTD_MAX_INPUT_SIZE) {
    throw std::invalid_argument("CompressedOptions::max_payload_bytes is " +
                                std::to_string(max_payload_bytes_) + ": not from 1 to " +
                                std::to_string(ZSTD_MAX_INPUT_SIZE));
  }
}

Decoded Compression::decompress(const Decoded& found, Scratch& scratch) const noexcept {
  const ByteView packed = found.frame;
  const std::size_t own = ZSTD_findFrameCompressedSize(packed.data(), packed.size());
  // A frame of zstd may also be one to be skipped: that is no payload.
  const bool is_frame = packed.size() >= 4 &&
                        load<std::uint32_t>(packed.data(), ByteOrder::little) == ZSTD_MAGICNUMBER;
  if (!is_frame || ZSTD_isError(own) || own != packed.size()) {
    return Decoded::corrupt("not compressed with zstd");
  }
  const unsigned long long says = ZSTD_getFrameContentSize(packed.data(), packed.size());
  if (says == ZSTD_CONTENTSIZE_ERROR) return Decoded::corrupt("not compressed with zstd");
  const bool known = says != ZSTD_CONTENTSIZE_UNKNOWN;
  if (known && says > max_payload_bytes_) {
    return Decoded::too_large(says, max_payload_bytes_, "when decompressed");
  }
  // Its pages are the system's until they are written: what a frame says takes no memory.
  const std::size_t room = known ? static_cast<std::size_t>(says) : max_payload_bytes_;
  std::byte* to = nullptr;
  try {
    to = scratch.take(room);
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
  if (!decompressor()) return no_memory();
  const std::size_t size =
      ZSTD_decompressDCtx(decompressor(), to, room, packed.data(), packed.size());
  if (!ZSTD_isError(size)) return Decoded::ready({to, size}, found.consumed);
  // Only zstd knows whether it was the room that was too small.
  if (!known && ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall) {
    return Decoded::too_large(0, max_payload_bytes_, "when decompressed");
  }
  return Decoded::corrupt("cannot be decompressed");
}

ByteView Compression::compress(ByteView payload) const {
  if (payload.size() > max_payload_bytes_) {
    throw std::length_error("frame of " + std::to_string(payload.size()) +
                            " bytes to send, limit " + std::to_string(max_payload_bytes_));
  }
  thread_local Scratch packed;
  const std::size_t room = ZSTD_compressBound(payload.size());
  std::byte* to = packed.take(room);
  const std::size_t size =
      ZSTD_compressCCtx(compressor(), to, room, payload.data(), payload.size(), level_);
  if (ZSTD_isError(size)) throw std::bad_alloc();  // the only thing that can be missing
  return {to, size};
}

}  // namespace millrace
