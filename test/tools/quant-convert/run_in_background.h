//===- run_in_background.h - quant-convert, to be stopped or killed -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_CONVERT_RUN_IN_BACKGROUND_H
#define QUANT_TEST_TOOLS_QUANT_CONVERT_RUN_IN_BACKGROUND_H

#include "run_convert.h"

#include <csignal>
#include <fcntl.h>
#include <sys/resource.h>

namespace quant::test {

/// A run of quant-convert; killed at the end if it is not waited for.
class Background {
public:
  explicit Background(const std::vector<std::string> &arguments) {
    std::vector<char *> argv = {const_cast<char *>(QUANT_CONVERT)};
    for (const std::string &argument : arguments)
      argv.push_back(const_cast<char *>(argument.c_str()));
    argv.push_back(nullptr);
    int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC), err = ::fileno(errors);
    child = ::fork();
    if (child == 0) {
      ::dup2(null, STDOUT_FILENO);
      ::dup2(err, STDERR_FILENO);
      ::execv(QUANT_CONVERT, argv.data());
      ::_exit(127);
    }
    ::close(null);
  }
  Background(const Background &) = delete;
  Background &operator=(const Background &) = delete;
  ~Background() {
    kill();
    std::fclose(errors);
  }

  bool isRunning() {
    if (!isOver)
      isOver = ::wait4(child, &status, WNOHANG, &usage) == child;
    return !isOver;
  }
  void signal(int number) {
    if (isRunning())
      ::kill(child, number);
  }
  /// SIGKILL. False: it was over before.
  bool kill() {
    signal(SIGKILL);
    wait();
    return WIFSIGNALED(status);
  }
  /// Its exit code and what it said on stderr; -1 if a signal ended it.
  Outcome wait() {
    if (!isOver)
      ::wait4(child, &status, 0, &usage);
    isOver = true;
    std::rewind(errors);
    std::string err;
    for (int c; (c = std::fgetc(errors)) != EOF;)
      err.push_back(static_cast<char>(c));
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, "", err};
  }

  /// The most memory it had at a time, mapped files included; once it is over.
  int64_t peakBytes() const { return int64_t(usage.ru_maxrss) * 1024; }

private:
  std::FILE *errors = std::tmpfile();
  pid_t child;
  int status = 0;
  rusage usage = {};
  bool isOver = false;
};

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_CONVERT_RUN_IN_BACKGROUND_H
