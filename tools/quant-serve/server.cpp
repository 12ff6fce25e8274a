//===- server.cpp - the HTTP server: routes and limits --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/server.h"

#include "runtime/support/text.h"
#include "tools/quant-serve/job.h"
#include "tools/quant-serve/page.h"

#include <fmt/core.h>
#include <httplib.h>
#include <sys/socket.h>

#include <exception>
#include <iostream>
#include <set>

namespace quant::serve {

std::string jsonText(const Json &json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

static void answer(httplib::Response &response, int status, const Json &json) {
  response.status = status;
  response.set_content(jsonText(json), "application/json");
}

void answer(httplib::Response &response, const Refusal &refusal) {
  if (refusal.status == 503)
    response.set_header("Retry-After", "1");
  answer(response, refusal.status, refusal.json());
}

Server::Server(const Options &options, std::string apiKey, Model model, Engine &engine)
    : options(options), apiKey(std::move(apiKey)), model(std::move(model)), encoder(this->model.files.tokenizer), engine(engine),
      http(std::make_unique<httplib::Server>()) {
  limit();
  route();
}

Server::~Server() = default;

Result<int> Server::bind() {
  int port = options.port == 0                                ? http->bind_to_any_port(options.host)
             : http->bind_to_port(options.host, options.port) ? options.port
                                                              : -1;
  if (port < 0)
    return fail(fmt::format("cannot listen at {} port {}: another program has it, or the address is not this machine's",
                            options.host, options.port));
  // The library lets five connections wait to be accepted: a crowd of clients at once would lose some.
  ::listen(listeningSocket, SOMAXCONN);
  return port;
}

void Server::listen() { http->listen_after_bind(); }
void Server::stop() { http->stop(); }

/// A thread for each client that may be at work or wait, and some to turn others away.
void Server::limit() {
  constexpr int kMoreThreads = 8, kReadSeconds = 10, kWriteSeconds = 30, kIdleSeconds = 2;
  auto threads = static_cast<size_t>(options.maxClients + kMoreThreads);
  http->new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  http->set_payload_max_length(static_cast<size_t>(options.maxBody) << 20);
  http->set_read_timeout(kReadSeconds);
  http->set_write_timeout(kWriteSeconds);
  http->set_keep_alive_timeout(kIdleSeconds);
  http->set_tcp_nodelay(true);
  // Not the library's SO_REUSEPORT: a second server at the same port shall be refused.
  http->set_socket_options([this](int socket) {
    listeningSocket = socket;
    int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
}

/// Compares in a time that does not depend on where they differ.
static bool sameKey(std::string_view given, std::string_view key) {
  unsigned different = given.size() != key.size();
  for (size_t i = 0; i < given.size(); ++i)
    different |= static_cast<unsigned>(given[i] ^ key[key.empty() ? 0 : i % key.size()]);
  return !different;
}

/// Refuses what has no key, where one is asked for. The page, and whether the server is there, are for all.
bool Server::allowed(const httplib::Request &request, httplib::Response &response) const {
  bool open = apiKey.empty() || !(request.path.starts_with("/v1/") || request.path == "/metrics");
  if (open || sameKey(request.get_header_value("Authorization"), "Bearer " + apiKey))
    return true;
  answer(response, {401, "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'", {}, "invalid_api_key"});
  return false;
}

static Json modelJson(const std::string &name) {
  return {{"id", name}, {"object", "model"}, {"created", 0}, {"owned_by", "quant"}};
}

/// What is said of a request that no handler answered.
static Refusal unanswered(int status, int64_t mostMegabytes) {
  switch (status) {
  case 404:
    return {404, "no such path; there are /v1/models, /v1/completions, /v1/chat/completions, /health and /metrics", {}, {}};
  case 413:
    return {413, fmt::format("the body is larger than {} MiB", mostMegabytes), {}, {}};
  default:
    return {status, "the request cannot be read as HTTP", {}, {}};
  }
}

void Server::route() {
  using httplib::Request, httplib::Response;
  http->set_pre_routing_handler([this](const Request &request, Response &response) {
    return allowed(request, response) ? httplib::Server::HandlerResponse::Unhandled : httplib::Server::HandlerResponse::Handled;
  });
  httplib::Server::Handler explain = [this](const Request &, Response &response) {
    if (response.body.empty())
      answer(response, unanswered(response.status, options.maxBody));
  };
  http->set_error_handler(explain);
  http->set_exception_handler([](const Request &, Response &response, std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception &error) {
      std::cerr << "quant-serve: error: " << printable(error.what()) << '\n';
    } catch (...) {
      std::cerr << "quant-serve: error: thrown by a request\n";
    }
    answer(response, {500, "the server failed; its log has more", {}, {}});
  });
  http->set_logger([this](const Request &request, const Response &response) {
    static const std::set<std::string> paths = {"/",          "/health",         "/metrics",
                                                "/v1/models", "/v1/completions", "/v1/chat/completions"};
    metrics.countAnswer(paths.contains(request.path) ? request.path : "other", response.status);
  });
  http->Get("/", [](const Request &, Response &response) {
    response.set_header("Content-Security-Policy",
                        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'");
    response.set_content(std::string(kPage), "text/html; charset=utf-8");
  });
  http->Get("/health", [](const Request &, Response &response) { answer(response, 200, {{"status", "ok"}}); });
  http->Get("/metrics", [this](const Request &, Response &response) {
    response.set_content(metrics.text(engine.counts()), "text/plain; version=0.0.4");
  });
  http->Get("/v1/models", [this](const Request &, Response &response) {
    answer(response, 200, {{"object", "list"}, {"data", Json::array({modelJson(model.name)})}});
  });
  http->Get("/v1/models/(.+)", [this](const Request &request, Response &response) {
    if (request.matches[1] == model.name)
      return answer(response, 200, modelJson(model.name));
    answer(response, Refusal{404, "this model is not here", "model", "model_not_found"});
  });
  http->Post("/v1/completions", [this](const Request &request, Response &response) { complete(request, response, false); });
  http->Post("/v1/chat/completions", [this](const Request &request, Response &response) { complete(request, response, true); });
}

} // namespace quant::serve
