//! The certificate of a running server: looked at once a second by the main thread, so that a new one is served without
//! a restart.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::UnixTime;

use super::config::Config;
use super::every::Every;
use super::failure::Failure;
use crate::limits;
use crate::net::tls::identity::{Identity, OutOfDate, TlsError, TlsText, TlsTexts, out_of_date};

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

/// What is served, and what a look at its files found last: their texts, or why one could not be read.
struct Watched {
    files: TlsFiles,
    identity: Arc<Identity>,
    seen: Result<TlsTexts, String>,
    /// The certificate in force, and those that vouch for it.
    served: Vec<u8>,
    /// What is wrong with their dates; told once.
    out_of_date: Option<OutOfDate>,
    date_looks: Every,
}

impl Watched {
    fn start(files: TlsFiles) -> Result<Watched, TlsFileError> {
        let texts = files.read()?;
        let identity = Identity::new(&texts).map_err(|error| files.unusable(error))?;
        let mut watched = Watched {
            files,
            identity: Arc::new(identity),
            served: texts.certificate.clone(),
            seen: Ok(texts),
            out_of_date: None,
            date_looks: Every::new(limits::CERTIFICATE_DATES_PERIOD),
        };
        watched.look_at_dates();
        Ok(watched)
    }

    /// It is served all the same: who does not look at dates may go on, and no other is there.
    fn look_at_dates(&mut self) {
        let found = out_of_date(&self.served, UnixTime::now());
        if found != self.out_of_date
            && let Some(what) = &found
        {
            let file = self.files.certificate.display();
            tracing::warn!(%file, "clients refuse the certificate: {what}");
        }
        self.out_of_date = found;
    }

    /// Serves what the files hold now. The same is looked at, or complained of, once.
    fn look(&mut self) {
        let seen = self.files.read().map_err(|error| error.to_string());
        if seen == self.seen {
            if self.date_looks.is_due() {
                self.look_at_dates();
            }
            return;
        }
        let replaced = match &seen {
            Ok(texts) => self.identity.replace(texts).map_err(|error| self.files.unusable(error).to_string()),
            Err(error) => Err(error.clone()),
        };
        self.seen = seen;
        match replaced {
            Ok(()) => {
                tracing::info!("a new certificate is in force");
                self.served = self.seen.as_ref().map(|texts| texts.certificate.clone()).unwrap_or_default();
                self.look_at_dates();
            }
            Err(error) => tracing::error!(error, "the certificate stays as it was"),
        }
    }
}

pub struct TlsWatch {
    watched: Option<Watched>,
    looks: Every,
}

impl TlsWatch {
    /// Fails where a later look would only log.
    pub fn start(config: &Config) -> Result<TlsWatch, Failure> {
        let watched = config.tls.clone().map(Watched::start).transpose().map_err(Failure::Tls)?;
        Ok(TlsWatch { watched, looks: Every::new(limits::KEY_FILE_PERIOD) })
    }

    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.watched.as_ref().map(|watched| &watched.identity)
    }

    /// Why clients refuse what is served.
    pub fn out_of_date(&self) -> Option<OutOfDate> {
        self.watched.as_ref().and_then(|watched| watched.out_of_date)
    }

    /// Looks at the files when it is time to.
    pub fn look(&mut self) {
        if let Some(watched) = &mut self.watched
            && self.looks.is_due()
        {
            watched.look();
        }
    }
}
