//! The certificate of a running server: looked at once a second by the main thread, so that a new one is served without
//! a restart.

use std::sync::Arc;
use std::time::Instant;

use super::config::Config;
use super::failure::Failure;
use crate::limits;
use crate::net::tls::identity::Identity;

pub struct TlsWatch {
    identity: Option<Arc<Identity>>,
    /// What was said of files that cannot be used: said once.
    complaint: String,
    next_look: Instant,
}

impl TlsWatch {
    /// Fails where a later look would only log.
    pub fn start(config: &Config) -> Result<TlsWatch, Failure> {
        let identity = config.tls.clone().map(Identity::load).transpose().map_err(Failure::Tls)?;
        let next_look = Instant::now() + limits::KEY_FILE_PERIOD;
        Ok(TlsWatch { identity: identity.map(Arc::new), complaint: String::new(), next_look })
    }

    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Looks at the files when it is time to.
    pub fn look(&mut self) {
        let Some(identity) = &self.identity else { return };
        let now = Instant::now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + limits::KEY_FILE_PERIOD;
        match identity.refresh() {
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
