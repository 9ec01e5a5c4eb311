//! TLS as the commands speak it: whom they trust, and what they show of themselves.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use super::args::ServerArgs;
use super::failure::{Failure, InputError};
use crate::net::tls::identity::certificates;

/// What a server may want to see (mutual TLS).
struct Identity {
    /// The own certificate, then those that vouch for it.
    chain: Vec<CertificateDer<'static>>,
    /// In PEM, since each library has a type of its own for it.
    key: Vec<u8>,
}

/// What the options of a command say of TLS.
pub struct Trust {
    /// Whose signatures are believed.
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// The authorities of a file, or those that the machine believes.
    pub fn read(args: &ServerArgs) -> Result<Trust, Failure> {
        // Both libraries take it where none is named.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authorities = match &args.ca_file {
            Some(path) => read_certificates(path)?,
            // What cannot be read of them is not believed; the server that it was for is refused then.
            None => rustls_native_certs::load_native_certs().certs,
        };
        let identity = match (&args.client_certificate, &args.client_key) {
            (Some(certificate), Some(key)) => {
                let chain = read_certificates(certificate)?;
                let key = fs::read(key).map_err(Failure::file(key))?;
                Some(Identity { chain, key })
            }
            _ => None,
        };
        let config = config(&authorities, identity.as_ref(), args)?;
        Ok(Trust { authorities, identity, config })
    }

    /// For connections that a command holds itself.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The same for single requests.
    pub fn of_requests(&self) -> TlsConfig {
        let own = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
        let identity = self.identity.as_ref().map(|Identity { chain, key }| {
            let key = PrivateKey::from_pem(key).expect("it was read before");
            ClientCert::new_with_certs(&chain.iter().map(own).collect::<Vec<_>>(), key)
        });
        let roots = RootCerts::from(self.authorities.iter().map(own));
        TlsConfig::builder().root_certs(roots).client_cert(identity).build()
    }
}

fn config(
    authorities: &[CertificateDer<'static>],
    identity: Option<&Identity>,
    args: &ServerArgs,
) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(authorities.iter().cloned());
    if let (0, Some(path)) = (added, &args.ca_file) {
        return Err(Failure::input(path, InputError::NoAuthority));
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match (identity, &args.client_key) {
        (Some(Identity { chain, key }), Some(path)) => {
            let key = PrivateKeyDer::from_pem_slice(key);
            let key = key.map_err(|error| Failure::input(path, InputError::Pem(error)))?;
            let built = builder.with_client_auth_cert(chain.clone(), key);
            built.map_err(|error| Failure::input(path, InputError::Identity(error)))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = fs::read(path).map_err(Failure::file(path))?;
    certificates(&text).map_err(|error| Failure::input(path, InputError::Pem(error)))
}
