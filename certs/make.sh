#!/bin/sh
# Makes the keys of this directory afresh. Needs openssl 3 and xxd. See README.md.
set -eu
cd "$(dirname "$0")"
mkdir -p right wrong

# An Ed25519 key in PKCS#8 is 16 fixed bytes and the seed. $1: one byte in hex, which the seed repeats.
ed25519() {
    seed=$(printf "$1%.0s" $(seq 32))
    printf '302e020100300506032b657004220420%s' "$seed" | xxd -r -p | openssl pkey -inform DER -outform PEM
}

ed25519 a1 > right/ana.pem
ed25519 b0 > right/bo.pem

openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out wrong/p256.pem
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out wrong/rsa.pem
# Ana's key in an X.509 certificate: a right key in the wrong dress.
openssl req -x509 -key right/ana.pem -subj /CN=ana -days 36500 -out wrong/x509-of-ana.pem
openssl req -x509 -key wrong/p256.pem -subj /CN=p256 -days 36500 -out wrong/x509-of-p256.pem
openssl pkcs8 -topk8 -in right/ana.pem -passout pass:lansync -out wrong/encrypted.pem
head -c 80 right/ana.pem > wrong/truncated.pem
# Bytes behind the key, within the PEM and after it.
{ echo '-----BEGIN PRIVATE KEY-----'
  { openssl pkey -in right/ana.pem -outform DER; printf 'x'; } | openssl base64
  echo '-----END PRIVATE KEY-----'; } > wrong/trailing-der.pem
{ cat right/ana.pem; printf 'and something behind it\n'; } > wrong/trailing.pem
