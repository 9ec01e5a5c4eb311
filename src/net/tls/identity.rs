//! Certificates and keys: from PEM files to what a handshake uses, and anew when the files change.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that vouch for it.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Whose certificates clients must show (mutual TLS).
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).map(PathBuf::as_path)
    }

    /// When each was changed last: what is read is read anew when one of these differs.
    fn changed(&self) -> Vec<Option<SystemTime>> {
        self.all().map(|path| fs::metadata(path).and_then(|data| data.modified()).ok()).collect()
    }

    fn load(&self) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(TlsError::pem(&self.key))?;
        let builder = ServerConfig::builder();
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(verifier(path)?),
        };
        let unusable = |error| TlsError::Unusable { path: self.certificate.clone(), error };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(TlsError::pem(path))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(TlsError::pem(path))?;
    if found.is_empty() {
        return Err(TlsError::pem(path)(pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn verifier(path: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let unusable = |error| TlsError::Unusable { path: path.to_owned(), error };
        roots.add(certificate).map_err(unusable)?;
    }
    WebPkiClientVerifier::builder(roots.into())
        .build()
        .map_err(|error| TlsError::ClientCa { path: path.to_owned(), what: error.to_string() })
}

#[derive(Debug)]
pub enum TlsError {
    Unreadable {
        path: PathBuf,
        error: io::Error,
    },
    /// Not PEM, or without what was looked for.
    Pem {
        path: PathBuf,
        error: pem::Error,
    },
    /// A certificate that does not go with its key, or that the library does not know.
    Unusable {
        path: PathBuf,
        error: rustls::Error,
    },
    ClientCa {
        path: PathBuf,
        what: String,
    },
}

impl TlsError {
    fn pem(path: &Path) -> impl Fn(pem::Error) -> TlsError {
        let path = path.to_owned();
        move |error| match error {
            pem::Error::Io(error) => TlsError::Unreadable { path: path.clone(), error },
            error => TlsError::Pem { path: path.clone(), error },
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Unreadable { path, error } => write!(f, "{}: {error}", path.display()),
            TlsError::Pem { path, error } => write!(f, "{}: {error}", path.display()),
            TlsError::Unusable { path, error } => write!(f, "{}: {error}", path.display()),
            TlsError::ClientCa { path, what } => write!(f, "{}: {what}", path.display()),
        }
    }
}

impl std::error::Error for TlsError {}

/// What new connections use; those that are open keep what they began with.
pub struct Identity {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    changed: RwLock<Vec<Option<SystemTime>>>,
}

impl Identity {
    pub fn load(files: TlsFiles) -> Result<Identity, TlsError> {
        let changed = files.changed();
        let current = Arc::new(files.load()?);
        Ok(Identity { files, current: RwLock::new(current), changed: RwLock::new(changed) })
    }

    /// For a connection that begins. The lock is held for as long as a pointer is copied.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.read().expect("nobody panics with it").clone()
    }

    /// Looks whether the files have changed; true when they were read anew. What cannot be used is not: the old stays,
    /// and the next look reads the files again.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let changed = self.files.changed();
        if *self.changed.read().expect("nobody panics with it") == changed {
            return Ok(false);
        }
        let fresh = Arc::new(self.files.load()?);
        *self.current.write().expect("nobody panics with it") = fresh;
        *self.changed.write().expect("nobody panics with it") = changed;
        Ok(true)
    }
}
