#include <openssl/evp.h>

#include "etude/base/error.h"
#include "etude/base/file.h"

namespace etude::file {

struct Sha256State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Sha256State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<Sha256State>()) {
  ETUDE_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1, "OpenSSL has no SHA-256");
}

Sha256::~Sha256() = default;

void Sha256::add(const void* data, size_t size) {
  ETUDE_CHECK(EVP_DigestUpdate(state_->context, data, size) == 1, "SHA-256 failed");
}

std::string Sha256::hex() {
  unsigned char digest[32];
  ETUDE_CHECK(EVP_DigestFinal_ex(state_->context, digest, nullptr) == 1, "hex() may be called once");
  std::string out;
  for (const unsigned char byte : digest) {
    constexpr const char* kHex = "0123456789abcdef";
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.hex();
}

}  // namespace etude::file
