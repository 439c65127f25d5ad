/* A security key made of software, for OpenSSH (PROTOCOL.u2f, sk-api.h): SSH_SK_PROVIDER loads it in place of hardware.
 * The private key is its own key handle, so this protects nothing. The counter is the time in hundredths of a second. */
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ED25519 1
#define GENERAL_ERROR (-1)
#define UNSUPPORTED (-2)

struct sk_option;
struct sk_enroll_response {
    uint8_t flags;
    uint8_t *public_key;
    size_t public_key_len;
    uint8_t *key_handle;
    size_t key_handle_len;
    uint8_t *signature;
    size_t signature_len;
    uint8_t *attestation_cert;
    size_t attestation_cert_len;
    uint8_t *authdata;
    size_t authdata_len;
};
struct sk_sign_response {
    uint8_t flags;
    uint32_t counter;
    uint8_t *sig_r;
    size_t sig_r_len;
    uint8_t *sig_s;
    size_t sig_s_len;
};

uint32_t sk_api_version(void) { return SK_API_VERSION; }

static uint8_t *copy(const void *data, size_t size) {
    uint8_t *made = malloc(size ? size : 1);
    if (made != NULL) memcpy(made, data, size);
    return made;
}

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application, uint8_t flags,
              const char *pin, struct sk_option **options, struct sk_enroll_response **response) {
    struct sk_enroll_response *made;
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context;
    uint8_t public[32], private[32];
    size_t size = 32;

    if (alg != ED25519) return UNSUPPORTED;
    context = EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, NULL);
    if (EVP_PKEY_keygen_init(context) != 1 || EVP_PKEY_keygen(context, &key) != 1) return GENERAL_ERROR;
    EVP_PKEY_CTX_free(context);
    if (EVP_PKEY_get_raw_public_key(key, public, &size) != 1) return GENERAL_ERROR;
    if (EVP_PKEY_get_raw_private_key(key, private, &size) != 1) return GENERAL_ERROR;
    EVP_PKEY_free(key);
    made = calloc(1, sizeof(*made));
    made->flags = flags;
    made->public_key = copy(public, 32);
    made->public_key_len = 32;
    made->key_handle = copy(private, 32);
    made->key_handle_len = 32;
    made->signature = copy("", 0);
    made->attestation_cert = copy("", 0);
    made->authdata = copy("", 0);
    *response = made;
    return 0;
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t data_len, const char *application, const uint8_t *handle,
            size_t handle_len, uint8_t flags, const char *pin, struct sk_option **options,
            struct sk_sign_response **response) {
    uint8_t signed_data[32 + 1 + 4 + 32], signature[64];
    size_t size = sizeof(signature);
    struct sk_sign_response *made;
    struct timespec now;
    EVP_PKEY *key;
    EVP_MD_CTX *context;
    uint32_t counter;

    if (alg != ED25519 || handle_len != 32) return UNSUPPORTED;
    clock_gettime(CLOCK_REALTIME, &now);
    counter = (uint32_t)(now.tv_sec * 100 + now.tv_nsec / 10000000);
    SHA256((const uint8_t *)application, strlen(application), signed_data);
    signed_data[32] = flags;
    signed_data[33] = counter >> 24;
    signed_data[34] = counter >> 16;
    signed_data[35] = counter >> 8;
    signed_data[36] = counter;
    SHA256(data, data_len, signed_data + 37);
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, handle, handle_len);
    context = EVP_MD_CTX_new();
    if (key == NULL || EVP_DigestSignInit(context, NULL, NULL, NULL, key) != 1) return GENERAL_ERROR;
    if (EVP_DigestSign(context, signature, &size, signed_data, sizeof(signed_data)) != 1) return GENERAL_ERROR;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    made = calloc(1, sizeof(*made));
    made->flags = flags;
    made->counter = counter;
    made->sig_r = copy(signature, size);
    made->sig_r_len = size;
    *response = made;
    return 0;
}

int sk_load_resident_keys(const char *pin, struct sk_option **options, void ***keys, size_t *count) {
    return UNSUPPORTED;
}
