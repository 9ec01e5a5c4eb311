//! Certificates and keys in PEM: what a handshake uses, and what new connections use from now on. Pure: whoever has files
//! reads them.

use std::fmt;
use std::sync::{Arc, RwLock};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore, ServerConfig};

use crate::shard::snapshot::date_of;

/// Texts in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTexts {
    /// The server's certificate, then those that vouch for it.
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    /// Whose certificates clients must show (mutual TLS).
    pub client_ca: Option<Vec<u8>>,
}

/// Which of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsText {
    Certificate,
    Key,
    ClientCa,
}

impl TlsTexts {
    fn parse(&self) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.certificate).map_err(TlsError::pem(TlsText::Certificate))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(TlsError::pem(TlsText::Key))?;
        let builder = ServerConfig::builder();
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(text) => builder.with_client_cert_verifier(verifier(text)?),
        };
        let unusable = |error| TlsError::Unusable { text: TlsText::Certificate, error };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Why clients refuse a certificate at a moment, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfDate {
    Expired { at: u64 },
    NotYet { from: u64 },
}

impl fmt::Display for OutOfDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutOfDate::Expired { at } => write!(f, "it expired on {}", day(*at)),
            OutOfDate::NotYet { from } => write!(f, "it is not valid before {}", day(*from)),
        }
    }
}

fn day(seconds: u64) -> String {
    let (year, month, day) = date_of(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The first certificate of a chain in PEM that does not count at this moment.
pub fn out_of_date(chain: &[u8], now: UnixTime) -> Option<OutOfDate> {
    certificates(chain).ok()?.iter().find_map(|certificate| dates_of(certificate, now))
}

/// Asks the library whether nobody vouches for it: the dates are looked at first, and it has no other door to them.
fn dates_of(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<OutOfDate> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let known = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let nobody = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], now, known) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(OutOfDate::Expired { at: not_after.as_secs() })
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })) => Some(OutOfDate::NotYet { from: not_before.as_secs() }),
        _ => None,
    }
}

/// All of a text, which has one at least.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) }
}

fn verifier(pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(TlsError::pem(TlsText::ClientCa))? {
        let unusable = |error| TlsError::Unusable { text: TlsText::ClientCa, error };
        roots.add(certificate).map_err(unusable)?;
    }
    let built = WebPkiClientVerifier::builder(roots.into()).build();
    built.map_err(|error| TlsError::ClientCa { what: error.to_string() })
}

#[derive(Debug)]
pub enum TlsError {
    /// Not PEM, or without what was looked for.
    Pem {
        text: TlsText,
        error: pem::Error,
    },
    /// A certificate that does not go with its key, or that the library does not know.
    Unusable {
        text: TlsText,
        error: rustls::Error,
    },
    ClientCa {
        what: String,
    },
}

impl TlsError {
    fn pem(text: TlsText) -> impl Fn(pem::Error) -> TlsError {
        move |error| TlsError::Pem { text, error }
    }

    /// Which of the texts cannot be used.
    pub fn text(&self) -> TlsText {
        match self {
            TlsError::Pem { text, .. } | TlsError::Unusable { text, .. } => *text,
            TlsError::ClientCa { .. } => TlsText::ClientCa,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Pem { error, .. } => error.fmt(f),
            TlsError::Unusable { error, .. } => error.fmt(f),
            TlsError::ClientCa { what } => f.write_str(what),
        }
    }
}

impl std::error::Error for TlsError {}

/// What new connections use; those that are open keep what they began with.
pub struct Identity {
    current: RwLock<Arc<ServerConfig>>,
}

impl Identity {
    pub fn new(texts: &TlsTexts) -> Result<Identity, TlsError> {
        Ok(Identity { current: RwLock::new(Arc::new(texts.parse()?)) })
    }

    /// For a connection that begins. The lock is held for as long as a pointer is copied.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.read().expect("nobody panics with it").clone()
    }

    /// For connections that begin from now on. What cannot be used is not, and the old stays.
    pub fn replace(&self, texts: &TlsTexts) -> Result<(), TlsError> {
        let fresh = Arc::new(texts.parse()?);
        *self.current.write().expect("nobody panics with it") = fresh;
        Ok(())
    }
}
