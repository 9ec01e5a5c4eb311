//! The certificate of a running server: looked at once a second by the main thread, so that a new one is served without
//! a restart.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::config::Config;
use super::failure::Failure;
use crate::limits;
use crate::net::tls::identity::{Identity, TlsError, TlsText, TlsTexts};

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
    fn read(&self) -> Result<TlsTexts, TlsFileError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| TlsFileError::Unreadable { path: path.to_owned(), error })
        };
        Ok(TlsTexts {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn unusable(&self, error: TlsError) -> TlsFileError {
        let path = match error.text() {
            TlsText::Certificate => &self.certificate,
            TlsText::Key => &self.key,
            TlsText::ClientCa => self.client_ca.as_ref().unwrap_or(&self.certificate),
        };
        TlsFileError::Unusable { path: path.clone(), error }
    }
}

#[derive(Debug)]
pub enum TlsFileError {
    Unreadable { path: PathBuf, error: io::Error },
    Unusable { path: PathBuf, error: TlsError },
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsFileError::Unreadable { path, error } => write!(f, "{}: {error}", path.display()),
            TlsFileError::Unusable { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

/// What is served, and the texts that were looked at last.
struct Watched {
    files: TlsFiles,
    identity: Arc<Identity>,
    seen: Option<TlsTexts>,
}

impl Watched {
    fn start(files: TlsFiles) -> Result<Watched, TlsFileError> {
        let texts = files.read()?;
        let identity = Identity::new(&texts).map_err(|error| files.unusable(error))?;
        Ok(Watched { files, identity: Arc::new(identity), seen: Some(texts) })
    }

    /// True when there was something new, and it is served now. What was seen to be of no use is not looked at again.
    fn look(&mut self) -> Result<bool, TlsFileError> {
        let texts = self.files.read()?;
        if self.seen.as_ref() == Some(&texts) {
            return Ok(false);
        }
        let replaced = self.identity.replace(&texts);
        self.seen = Some(texts);
        replaced.map(|()| true).map_err(|error| self.files.unusable(error))
    }
}

pub struct TlsWatch {
    watched: Option<Watched>,
    /// What was said of files that cannot be used: said once.
    complaint: String,
    next_look: Instant,
}

impl TlsWatch {
    /// Fails where a later look would only log.
    pub fn start(config: &Config) -> Result<TlsWatch, Failure> {
        let watched = config.tls.clone().map(Watched::start).transpose().map_err(Failure::Tls)?;
        let next_look = Instant::now() + limits::KEY_FILE_PERIOD;
        Ok(TlsWatch { watched, complaint: String::new(), next_look })
    }

    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.watched.as_ref().map(|watched| &watched.identity)
    }

    /// Looks at the files when it is time to.
    pub fn look(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        let now = Instant::now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + limits::KEY_FILE_PERIOD;
        match watched.look() {
            Ok(false) => {}
            Ok(true) => {
                self.complaint.clear();
                tracing::info!("a new certificate is in force");
            }
            Err(error) => {
                let complaint = error.to_string();
                if complaint != self.complaint {
                    tracing::error!(error = complaint, "the certificate stays as it was");
                    self.complaint = complaint;
                }
            }
        }
    }
}
