//===- server.h - the HTTP server ----------------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SERVE_SERVER_H
#define QUANT_TOOLS_QUANT_SERVE_SERVER_H

#include "tools/quant-serve/engine.h"
#include "tools/quant-serve/metrics.h"
#include "tools/quant-serve/options.h"
#include "tools/quant-serve/request.h"
#include "tools/text/text_files.h"

#include <atomic>
#include <memory>

namespace httplib {
class Server;
struct Request;
struct Response;
} // namespace httplib

namespace quant::serve {

/// The model as a server sees it.
struct Model {
  std::string name;
  text::TextFiles files;
  int64_t vocab = 0;
  std::vector<int32_t> ends;
};

/// Answers requests; many threads, each for one connection.
class Server {
public:
  /// `apiKey` may be empty: none is asked for. All but `options` are kept.
  Server(const Options &options, std::string apiKey, Model model, Engine &engine);
  ~Server();

  /// Opens the port and gives its number. Errors: the address is taken or not this machine's.
  Result<int> bind();
  /// Answers until stop(), from another thread.
  void listen();
  void stop();

private:
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  void limit();
  void route();
  bool allowed(const httplib::Request &request, httplib::Response &response) const;
  void complete(const httplib::Request &request, httplib::Response &response, bool chat);
  Answer<JobPtr> jobOf(const httplib::Request &request, bool chat);
  Answer<std::vector<generate::Request>> requestsOf(const Call &call);
  Answer<std::vector<int32_t>> promptOf(const Call &call, const Prompt *prompt);
  Answer<int64_t> newTokensOf(const Call &call, size_t promptTokens) const;
  Answer<generate::Completion> completionOf(Engine::Result result, Job &job);
  void whole(const JobPtr &job, httplib::Response &response);
  void stream(const JobPtr &job, const std::function<bool(const std::string &)> &write);

  Options options;
  std::string apiKey;
  int listeningSocket = -1; ///< of the library, which closes it
  Model model;
  std::mutex encoding;
  text::Encoder encoder; ///< under `encoding`; it remembers words from request to request
  Engine &engine;
  Metrics metrics;
  std::atomic<int> clients = 0;
  std::unique_ptr<httplib::Server> http;
};

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_SERVER_H
