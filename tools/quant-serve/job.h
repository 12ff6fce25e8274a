//===- job.h - a request at work ------------------------------ -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SERVE_JOB_H
#define QUANT_TOOLS_QUANT_SERVE_JOB_H

#include "tools/quant-serve/response.h"
#include "tools/quant-serve/server.h"

namespace quant::serve {

/// A request from when it is accepted to its last byte; counts as a client that long.
struct Server::Job {
  explicit Job(std::atomic<int> &clients) : clients(clients) { ++clients; }
  Job(const Job &) = delete;
  ~Job() { --clients; }

  std::atomic<int> &clients;
  Call call;
  std::vector<generate::Request> requests; ///< by choice
  std::optional<Responses> responses;
  Clock::time_point deadline;
  Usage usage;
};

/// JSON as text; what is no UTF-8 in it is replaced.
std::string jsonText(const Json &json);

void answer(httplib::Response &response, const Refusal &refusal);

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_JOB_H
