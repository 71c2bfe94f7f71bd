//! TLS as lansync uses it: 1.3 only, raw Ed25519 public keys (RFC 7250) on both sides, nothing resumed.
//!
//! Possession of a key is all that TLS proves here. Tickets and 0-RTT are off: a resumed handshake would take
//! a peer's key from the ticket without asking anybody whether it is still welcome.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::ring::{self, cipher_suite};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};

use crate::id::PeerId;
use crate::keys::FeedKey;

/// The application protocol that both sides must name.
const ALPN: &[u8] = b"lansync/1";

/// DER in front of the 32 byte seed of an Ed25519 key in PKCS#8 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// DER in front of the 32 bytes of an Ed25519 public key (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What a process answers to: one key for each of its nodes, found by the server name that a dialler gives.
///
/// Called for every handshake, by strangers too, so it must be quick and must not block.
pub trait Doors: Send + Sync {
    /// The key to answer with, or `None` to refuse, in which case the dialler learns nothing of us.
    fn open(&self, server_name: &str) -> Option<FeedKey>;
}

/// The cryptography in use. AES-GCM first: ChaCha20 costs a third of the throughput where AES is in hardware.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let cipher_suites = vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() })
    };
    PROVIDER.get_or_init(make).clone()
}

/// For those who dial us: the key behind the door that they name, and any valid key of theirs.
pub(super) fn accepting(doors: Arc<dyn Doors>) -> Result<QuicServerConfig, rustls::Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyPeer))
        .with_cert_resolver(Arc::new(Answering(doors)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    QuicServerConfig::try_from(config).map_err(|_| rustls::Error::General("no initial cipher suite".to_owned()))
}

/// For one dial with `key`: `expectation` judges who answers.
pub(super) fn dialling(key: &FeedKey, expectation: Arc<Expectation>) -> Result<QuicClientConfig, rustls::Error> {
    let resolver = AlwaysResolvesClientRawPublicKeys::new(certified(key)?);
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(expectation)
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    QuicClientConfig::try_from(config).map_err(|_| rustls::Error::General("no initial cipher suite".to_owned()))
}

fn certified(key: &FeedKey) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let pkcs8 = [&PKCS8_PREFIX[..], &key.0.seed()].concat();
    let signing = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))?;
    let spki = [&SPKI_PREFIX[..], &key.peer().0].concat();
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signing)))
}

/// The peer whose raw public key this is.
///
/// Keys of small order are refused: for these anybody can make signatures.
pub(super) fn peer_of(
    certificate: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> Result<PeerId, rustls::Error> {
    let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    if !others.is_empty() {
        return Err(bad());
    }
    let key = certificate.as_ref().strip_prefix(&SPKI_PREFIX).ok_or_else(bad)?;
    let key = <[u8; 32]>::try_from(key).map_err(|_| bad())?;
    let point = ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| bad())?;
    if point.is_weak() { Err(bad()) } else { Ok(PeerId(key)) }
}

fn verify(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(PeerIncompatible::NoSignatureSchemesInCommon.into());
    }
    let key = SubjectPublicKeyInfoDer::from(certificate.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, signed, &provider().signature_verification_algorithms)
}

fn never_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(PeerIncompatible::Tls13RequiredForQuic.into())
}

/// Answers with the key behind the door that is named.
struct Answering(Arc<dyn Doors>);

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering")
    }
}

impl ResolvesServerCert for Answering {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = self.0.open(hello.server_name()?)?;
        certified(&key).inspect_err(|error| tracing::error!(%error, "a feed key is of no use to TLS")).ok()
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes any peer that proves its key.
#[derive(Debug)]
pub(super) struct AnyPeer;

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        peer_of(certificate, others).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Who must answer one dial, and who did answer instead.
#[derive(Debug)]
pub(super) struct Expectation {
    expected: Option<PeerId>,
    wrong: Mutex<Option<PeerId>>,
}

impl Expectation {
    /// Exactly `expected`, or anybody.
    pub(super) fn new(expected: Option<PeerId>) -> Self {
        Self { expected, wrong: Mutex::new(None) }
    }

    /// The peer that answered and should not have.
    pub(super) fn wrong(&self) -> Option<PeerId> {
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Expectation {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let peer = peer_of(certificate, others)?;
        if self.expected.is_some_and(|expected| expected != peer) {
            *self.wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
            return Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
