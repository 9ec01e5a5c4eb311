//! One connection's TLS: records in, bytes out, and the other way round. Pure: nothing is received or sent here.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ConnectionCommon, ServerConfig, ServerConnection, SideData};

pub struct TlsSession {
    connection: ServerConnection,
}

/// The peer broke the protocol, or will not have what is offered; an alert that says so waits to be sent.
#[derive(Debug)]
pub struct TlsFault(rustls::Error);

impl std::fmt::Display for TlsFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TlsSession {
    pub fn new(config: Arc<ServerConfig>) -> Result<TlsSession, rustls::Error> {
        let mut connection = ServerConnection::new(config)?;
        // What is written here is sealed at once and taken out at once: bounded by whoever writes.
        connection.set_buffer_limit(None);
        Ok(TlsSession { connection })
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes received bytes and appends what they say to `plain`. True when the peer's stream ends with them.
    pub fn open(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<bool, TlsFault> {
        open(&mut self.connection, sealed, plain).map_err(TlsFault)
    }

    /// Seals bytes and appends the records to `out`, behind what the protocol itself has to say.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.connection.writer().write_all(plain).expect("there is no limit");
        self.take_output(out);
    }

    /// Appends what the protocol itself has to say: handshakes, alerts, new keys.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let written: io::Result<usize> = self.connection.write_tls(out);
            written.expect("memory takes everything");
        }
    }

    /// Says that nothing follows, so that the peer can tell the end from a cut.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }
}

/// Takes received bytes and appends what they say to `plain`, on either side. True when the peer's stream ends with them.
pub fn open<S: SideData>(
    connection: &mut ConnectionCommon<S>,
    mut sealed: &[u8],
    plain: &mut Vec<u8>,
) -> Result<bool, rustls::Error> {
    let mut ends = false;
    while !sealed.is_empty() && !ends {
        // Refuses also when plain bytes wait inside, and none do.
        let taken = connection.read_tls(&mut sealed);
        taken.map_err(|_| rustls::Error::General("a message of the handshake is too long".to_owned()))?;
        let state = connection.process_new_packets()?;
        ends = state.peer_has_closed();
        let len = plain.len();
        plain.resize(len + state.plaintext_bytes_to_read(), 0);
        connection.reader().read_exact(&mut plain[len..]).expect("as many bytes as were promised");
    }
    Ok(ends)
}
