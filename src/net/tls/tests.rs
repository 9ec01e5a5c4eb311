//! A server and a client that talk in memory.

use std::io::{Read, Write};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::identity::{Identity, TlsError, TlsText, TlsTexts};
use super::session::TlsSession;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `localhost` and its key.
fn issue(by: &Authority) -> TlsTexts {
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&own, by).unwrap().pem();
    TlsTexts { certificate: certificate.into(), key: own.serialize_pem().into(), client_ca: None }
}

/// A client that trusts `authority`, and shows this certificate.
fn client(authority: &Authority, shows: Option<&TlsTexts>) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(texts) => {
            let chain = vec![CertificateDer::from_pem_slice(&texts.certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(&texts.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// Carries bytes both ways until neither has anything to say, in pieces of `piece` bytes; gives what the server heard.
fn talk(client: &mut ClientConnection, server: &mut TlsSession, piece: usize) -> Result<Vec<u8>, String> {
    let mut heard = Vec::new();
    loop {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut to_server).unwrap();
        }
        let mut fault = None;
        for part in to_server.chunks(piece) {
            fault = server.open(part, &mut heard).err().map(|fault| fault.to_string()).or(fault);
        }
        server.take_output(&mut to_client);
        let mut left = &to_client[..];
        while !left.is_empty() {
            client.read_tls(&mut left).unwrap();
            client.process_new_packets().map_err(|error| error.to_string())?;
        }
        match fault {
            Some(fault) => return Err(fault),
            None if to_server.is_empty() && to_client.is_empty() => return Ok(heard),
            None => {}
        }
    }
}

#[test]
fn bytes_come_out_as_they_went_in_however_they_are_cut() {
    let authority = authority();
    let identity = Identity::new(&issue(&authority)).unwrap();
    for piece in [1, 7, 4096, usize::MAX] {
        let mut client = client(&authority, None);
        let mut server = TlsSession::new(identity.current()).unwrap();
        assert!(server.is_handshaking());
        talk(&mut client, &mut server, piece).unwrap();
        assert!(!server.is_handshaking());
        assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));

        let said: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
        let mut heard = Vec::new();
        for part in said.chunks(30_000) {
            client.writer().write_all(part).unwrap();
            heard.extend(talk(&mut client, &mut server, piece).unwrap());
        }
        assert!(heard == said);

        let (mut sealed, mut back) = (Vec::new(), Vec::new());
        server.seal(&said, &mut sealed);
        assert!(sealed.len() > said.len() && !sealed.windows(64).any(|part| part == &said[..64]));
        let mut left = &sealed[..];
        while !left.is_empty() {
            client.read_tls(&mut left).unwrap();
            client.process_new_packets().unwrap();
            let mut part = [0; 1 << 15];
            while let Ok(count @ 1..) = client.reader().read(&mut part) {
                back.extend_from_slice(&part[..count]);
            }
        }
        assert!(back == said);
        client.send_close_notify();
        let mut bye = Vec::new();
        client.write_tls(&mut bye).unwrap();
        assert!(server.open(&bye, &mut heard).unwrap(), "the peer said that nothing follows");
    }
}

#[test]
fn what_is_no_tls_is_a_fault_with_an_alert() {
    let authority = authority();
    let identity = Identity::new(&issue(&authority)).unwrap();
    let mut server = TlsSession::new(identity.current()).unwrap();
    let (mut heard, mut alert) = (Vec::new(), Vec::new());
    assert!(server.open(b"GET /v1/kv/default/1 HTTP/1.1\r\nHost: a\r\n\r\n", &mut heard).is_err());
    server.take_output(&mut alert);
    assert!(heard.is_empty() && alert.first() == Some(&21), "an alert: {alert:?}");
}

/// A message may say that it is longer than what is kept of one.
#[test]
fn a_handshake_that_does_not_fit_is_a_fault() {
    let authority = authority();
    let identity = Identity::new(&issue(&authority)).unwrap();
    let mut server = TlsSession::new(identity.current()).unwrap();
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    let first: Vec<u8> = [&record[..5], &[1, 0, 0xff, 0xff], &record[9..]].concat();
    let sent = std::iter::once(first).chain(std::iter::repeat_n(record, 8));
    let faults = sent.filter_map(|record| server.open(&record, &mut Vec::new()).err());
    assert!(faults.count() > 0);
}

#[test]
fn under_mutual_tls_a_client_without_a_certificate_is_refused() {
    let (authority, other) = (authority(), authority());
    let identity =
        Identity::new(&TlsTexts { client_ca: Some(authority.pem().into()), ..issue(&authority) }).unwrap();
    let (known, stranger) = (issue(&authority), issue(&other));
    for (shows, wanted) in [(None, false), (Some(&known), true), (Some(&stranger), false)] {
        let mut server = TlsSession::new(identity.current()).unwrap();
        let talked = talk(&mut client(&authority, shows), &mut server, usize::MAX);
        assert_eq!(talked.is_ok() && !server.is_handshaking(), wanted, "{talked:?}");
    }
}

#[test]
fn a_new_certificate_is_taken_up_and_a_bad_one_is_not() {
    let (first, second) = (authority(), authority());
    let identity = Identity::new(&issue(&first)).unwrap();
    let is_served = |authority: &Authority| {
        let mut server = TlsSession::new(identity.current()).unwrap();
        talk(&mut client(authority, None), &mut server, usize::MAX).is_ok()
    };
    assert!(is_served(&first) && !is_served(&second));
    let fresh = issue(&second);
    let bad = TlsTexts { certificate: b"no certificate".to_vec(), ..fresh.clone() };
    assert!(matches!(identity.replace(&bad), Err(TlsError::Pem { text: TlsText::Certificate, .. })));
    let bad = TlsTexts { key: b"no key".to_vec(), ..fresh.clone() };
    assert!(matches!(identity.replace(&bad), Err(TlsError::Pem { text: TlsText::Key, .. })));
    // A key that does not go with it.
    let bad = TlsTexts { key: issue(&second).key, ..fresh.clone() };
    assert!(matches!(identity.replace(&bad), Err(TlsError::Unusable { .. })));
    assert!(is_served(&first));
    identity.replace(&fresh).unwrap();
    assert!(is_served(&second) && !is_served(&first));
}
