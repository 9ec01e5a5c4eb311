//! A connection that one thread writes while another reads, plain or under TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::net::tls::session::open;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes come and go in pieces of this size.
const PIECE_BYTES: usize = 1 << 14;

/// Who is to answer, and whose signatures vouch for it.
#[derive(Clone)]
pub struct Sealing {
    pub name: ServerName<'static>,
    pub config: Arc<ClientConfig>,
}

pub struct Duplex {
    socket: TcpStream,
    sealed: Option<Sealed>,
}

/// The session is locked for as long as bytes are sealed or opened, never while the socket is waited for: the reader
/// must get to it while the writer waits for a peer that waits for the reader.
struct Sealed {
    session: Mutex<ClientConnection>,
    /// The writer's: records in the order in which they were sealed, locked until they are sent.
    outgoing: Mutex<Vec<u8>>,
    /// The reader's.
    opened: Mutex<Opened>,
}

/// What records said.
#[derive(Default)]
struct Opened {
    plain: Vec<u8>,
    /// So much of it was given out.
    at: usize,
    /// The peer said that nothing follows.
    has_ended: bool,
}

impl Duplex {
    /// `patience`: so long is waited for a peer that neither takes nor says anything.
    pub fn connect(
        address: &SocketAddr,
        sealing: Option<&Sealing>,
        patience: Duration,
    ) -> io::Result<Duplex> {
        let mut socket = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        let sealed = sealing.map(|sealing| Sealed::begin(sealing, &mut socket)).transpose()?;
        Ok(Duplex { socket, sealed })
    }

    /// Wakes both threads.
    pub fn shut_down(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Read for &Duplex {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &self.sealed {
            None => (&self.socket).read(out),
            Some(sealed) => sealed.read(&self.socket, out),
        }
    }
}

impl Write for &Duplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.sealed {
            None => (&self.socket).write(bytes),
            Some(sealed) => sealed.write(&self.socket, &bytes[..bytes.len().min(PIECE_BYTES)]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sealed {
    fn begin(sealing: &Sealing, socket: &mut TcpStream) -> io::Result<Sealed> {
        let session = ClientConnection::new(sealing.config.clone(), sealing.name.clone());
        let mut session = session.map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(socket)?;
        }
        Ok(Sealed { session: Mutex::new(session), outgoing: Mutex::default(), opened: Mutex::default() })
    }

    fn session(&self) -> MutexGuard<'_, ClientConnection> {
        self.session.lock().expect("nobody panics with it")
    }

    fn read(&self, mut socket: &TcpStream, out: &mut [u8]) -> io::Result<usize> {
        let mut opened = self.opened.lock().expect("nobody panics with it");
        let mut piece = [0; PIECE_BYTES];
        while opened.at == opened.plain.len() && !opened.has_ended {
            opened.plain.clear();
            opened.at = 0;
            let len = socket.read(&mut piece)?;
            if len == 0 {
                // Without a word: what came may not be all.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let ends = open(&mut self.session(), &piece[..len], &mut opened.plain);
            opened.has_ended = ends.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        let read = (&opened.plain[opened.at..]).read(out)?;
        opened.at += read;
        Ok(read)
    }

    fn write(&self, mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let mut outgoing = self.outgoing.lock().expect("nobody panics with it");
        outgoing.clear();
        let written = {
            let mut session = self.session();
            let written = session.writer().write(bytes)?;
            while session.wants_write() {
                session.write_tls(&mut *outgoing)?;
            }
            written
        };
        socket.write_all(&outgoing)?;
        Ok(written)
    }
}
