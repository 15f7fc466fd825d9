#pragma once
// Authenticated connections: TCP, a shared secret that neither side ever sends, frames of JSON. Traffic is neither
// encrypted nor signed after the greeting: it belongs on loopback or on a network of one's own.
//
// The greeting: the server sends 32 random bytes s, the client answers 32 random bytes c and HMAC-SHA-256(secret,
// "client" s c), the server HMAC-SHA-256(secret, "server" s c). A frame is its length, 4 bytes little-endian, and that
// many bytes of JSON.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace etude {

/// One end of a connection. One thread sends and receives at a time.
class Wire {
 public:
  static constexpr uint32_t kLongest = 1 << 20;  ///< bytes of a frame

  explicit Wire(int fd) : fd_(fd) {}
  ~Wire();
  Wire(const Wire&) = delete;

  /// A connection to whoever listens there, greeted. Tries again for `seconds`.
  /// Errors: Code::comms when nobody answers, or knows the secret.
  static std::unique_ptr<Wire> connect(const std::string& host, int port, const std::string& secret, double seconds);
  /// The server's side of the greeting: whether the client knows the secret. Never throws.
  bool greet(const std::string& secret);

  /// False when the other side has gone.
  bool send(const nlohmann::json& frame);
  /// Waits for a frame; nothing when the other side has gone, or sent none.
  std::optional<nlohmann::json> receive();
  /// Ends what another thread waits for.
  void hang_up();

 private:
  bool greet_server(const std::string& secret);
  bool send_all(const void* data, size_t size);
  bool receive_all(void* data, size_t size);
  int fd_;
};

/// A listening socket. Errors: Code::comms when the address or the port can't be had.
class Listener {
 public:
  /// `address`: digits of an address of this machine; port 0: any.
  Listener(const std::string& address, int port);
  ~Listener();
  Listener(const Listener&) = delete;
  int port() const { return port_; }
  /// A new connection, or null after `milliseconds`.
  std::unique_ptr<Wire> accept(int milliseconds);

 private:
  int fd_ = -1, port_ = 0;
};

}  // namespace etude
