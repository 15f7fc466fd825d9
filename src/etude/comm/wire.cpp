#include "etude/comm/wire.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <thread>

#include "etude/base/error.h"

namespace etude {
namespace {

using Nonce = std::array<unsigned char, 32>;
using Proof = std::array<unsigned char, 32>;

/// A stranger has so long to greet.
constexpr timeval kPatience{.tv_sec = 5, .tv_usec = 0};
constexpr int kQueue = 64;

Nonce fresh_nonce() {
  Nonce nonce;
  ETUDE_CHECK(getrandom(nonce.data(), nonce.size(), 0) == static_cast<ssize_t>(nonce.size()),
              "the kernel gives no random bytes");
  return nonce;
}

Proof proof(const std::string& secret, const std::string& who, const Nonce& server, const Nonce& client) {
  std::string text = who;
  text.append(server.begin(), server.end()).append(client.begin(), client.end());
  Proof made;
  unsigned int size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), made.data(), &size);
  return made;
}

bool equal(const Proof& a, const Proof& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

std::string text_of(int error) { return std::generic_category().message(error); }

void set_patience(int fd, const timeval& patience) {
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

/// A connected socket, or -1 with errno.
int dial(const std::string& host, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    errno = EHOSTUNREACH;
    return -1;
  }
  int fd = -1, error = EHOSTUNREACH;
  for (const addrinfo* at = found; at && fd < 0; at = at->ai_next) {
    fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0) continue;
    set_patience(fd, kPatience);
    if (::connect(fd, at->ai_addr, at->ai_addrlen) == 0) break;
    error = errno;
    close(fd);
    fd = -1;
  }
  freeaddrinfo(found);
  errno = error;
  return fd;
}

}  // namespace

Wire::~Wire() { close(fd_); }

std::unique_ptr<Wire> Wire::connect(const std::string& host, int port, const std::string& secret, double seconds) {
  const std::string place = host + ":" + std::to_string(port);
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  bool answered = false;
  for (int error = 0;;) {
    if (const int fd = dial(host, port); fd >= 0) {
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      auto wire = std::make_unique<Wire>(fd);
      if (wire->greet_server(secret)) return wire;
      answered = true;
    } else {
      error = errno;
    }
    if (std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      continue;
    }
    if (answered)
      throw Error(Code::comms, "who answers at " + place + " does not share our secret", "rendezvous",
                  "set ETUDE_SECRET to the same words on all ranks, and MASTER_ADDR and MASTER_PORT to rank 0's");
    throw Error(Code::comms, "nobody answers at " + place + ": " + text_of(error), "rendezvous",
                "start rank 0 too; MASTER_ADDR and MASTER_PORT say where it listens");
  }
}

bool Wire::greet(const std::string& secret) {
  set_patience(fd_, kPatience);
  const Nonce server = fresh_nonce();
  Nonce client;
  Proof theirs;
  if (!send_all(server.data(), server.size()) || !receive_all(client.data(), client.size()) ||
      !receive_all(theirs.data(), theirs.size()) || !equal(theirs, proof(secret, "client", server, client)))
    return false;
  const Proof ours = proof(secret, "server", server, client);
  if (!send_all(ours.data(), ours.size())) return false;
  set_patience(fd_, {});
  return true;
}

bool Wire::greet_server(const std::string& secret) {
  Nonce server;
  if (!receive_all(server.data(), server.size())) return false;
  const Nonce client = fresh_nonce();
  const Proof ours = proof(secret, "client", server, client);
  Proof theirs;
  if (!send_all(client.data(), client.size()) || !send_all(ours.data(), ours.size()) ||
      !receive_all(theirs.data(), theirs.size()) || !equal(theirs, proof(secret, "server", server, client)))
    return false;
  set_patience(fd_, {});
  return true;
}

bool Wire::send(const nlohmann::json& frame) {
  const std::string text = frame.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto size = static_cast<uint32_t>(text.size());
  const std::array<unsigned char, 4> head = {static_cast<unsigned char>(size), static_cast<unsigned char>(size >> 8),
                                             static_cast<unsigned char>(size >> 16),
                                             static_cast<unsigned char>(size >> 24)};
  return text.size() <= kLongest && send_all(head.data(), head.size()) && send_all(text.data(), text.size());
}

std::optional<nlohmann::json> Wire::receive() {
  std::array<unsigned char, 4> head;
  if (!receive_all(head.data(), head.size())) return std::nullopt;
  const uint32_t size = head[0] | static_cast<uint32_t>(head[1]) << 8 | static_cast<uint32_t>(head[2]) << 16 |
                        static_cast<uint32_t>(head[3]) << 24;
  if (size > kLongest) return std::nullopt;
  std::string text(size, '\0');
  if (!receive_all(text.data(), size)) return std::nullopt;
  nlohmann::json frame = nlohmann::json::parse(text, nullptr, false);
  return frame.is_object() ? std::optional(std::move(frame)) : std::nullopt;
}

void Wire::hang_up() { shutdown(fd_, SHUT_RDWR); }

bool Wire::send_all(const void* data, size_t size) {
  for (const char* at = static_cast<const char*>(data); size > 0;) {
    const ssize_t n = ::send(fd_, at, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool Wire::receive_all(void* data, size_t size) {
  for (char* at = static_cast<char*>(data); size > 0;) {
    const ssize_t n = recv(fd_, at, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

Listener::Listener(const std::string& address, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST;
  const std::string place = address + ":" + std::to_string(port);
  if (getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0)
    throw Error(Code::comms, "'" + address + "' is no address", "rendezvous", "digits, such as 127.0.0.1");
  fd_ = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool listens = fd_ >= 0 && bind(fd_, found->ai_addr, found->ai_addrlen) == 0 && listen(fd_, kQueue) == 0;
  const int error = errno;
  freeaddrinfo(found);
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (!listens || getsockname(fd_, reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    if (fd_ >= 0) close(fd_);
    throw Error(Code::comms, "can't listen at " + place + ": " + text_of(error), "rendezvous",
                "another program has this port: set MASTER_PORT to another; or the address is not this machine's");
  }
  port_ = ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(own).sin6_port
                                          : reinterpret_cast<const sockaddr_in&>(own).sin_port);
}

Listener::~Listener() { close(fd_); }

std::unique_ptr<Wire> Listener::accept(int milliseconds) {
  pollfd ready{fd_, POLLIN, 0};
  if (poll(&ready, 1, milliseconds) <= 0) return nullptr;
  const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return nullptr;
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return std::make_unique<Wire>(fd);
}

}  // namespace etude
