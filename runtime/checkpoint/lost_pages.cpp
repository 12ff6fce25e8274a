//===- lost_pages.cpp - mapped files that are cut short -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/lost_pages.h"

#include "runtime/support/text.h"

#include <atomic>
#include <csignal>
#include <cstring>
#include <sys/uio.h>
#include <unistd.h>

namespace quant::checkpoint {

struct WatchedMapping {
  std::span<const std::byte> bytes;
  std::string path;
  std::atomic<bool> isMapped = true;
  WatchedMapping *next = nullptr;
};

/// Null: not called yet.
static std::atomic<const char *> program = nullptr;
/// The latest one; the others hang on it.
static std::atomic<WatchedMapping *> mappings = nullptr;

/// Runs in the thread that touched the page: nothing here takes a lock or memory.
static void onLostPage(int signal, siginfo_t *info, void *) {
  for (const WatchedMapping *mapping = mappings; mapping; mapping = mapping->next) {
    auto offset = static_cast<const std::byte *>(info->si_addr) - mapping->bytes.data();
    if (!mapping->isMapped || offset < 0 || static_cast<size_t>(offset) >= mapping->bytes.size())
      continue;
    // Several threads may touch lost pages at once: the first one speaks and ends the process, the others wait for that.
    static std::atomic_flag isSaid = ATOMIC_FLAG_INIT;
    while (isSaid.test_and_set())
      ::pause();
    auto part = [](const char *text) { return iovec{const_cast<char *>(text), std::strlen(text)}; };
    iovec message[] = {part(program), part(": error: "), part(mapping->path.c_str()),
                       part(": was cut short while it was read, or the disk failed; restore the file and run again\n")};
    [[maybe_unused]] ssize_t ignored = ::writev(STDERR_FILENO, message, std::size(message));
    ::_exit(1);
  }
  // Not ours: the touch is repeated, and ends the process as it would have.
  ::signal(signal, SIG_DFL);
}

void exitOnLostPages(const char *name) {
  program = name;
  struct sigaction action = {};
  action.sa_sigaction = onLostPage;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

WatchedMapping *watchMapping(const std::filesystem::path &path, std::span<const std::byte> bytes) {
  if (!program)
    return nullptr;
  auto *mapping = new WatchedMapping{bytes, printable(path.native())};
  mapping->next = mappings;
  while (!mappings.compare_exchange_weak(mapping->next, mapping)) {
  }
  return mapping;
}

void unwatchMapping(WatchedMapping *mapping) {
  if (mapping)
    mapping->isMapped = false;
}

} // namespace quant::checkpoint
