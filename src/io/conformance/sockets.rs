//! Connections.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{pattern, task};
use crate::io::executor::Class;
use crate::io::lease::Lease;
use crate::io::op::SendBuf;
use crate::io::runtime::{Listener, Runtime, Socket};
use crate::limits::{KIB, MIB};

/// Longer than any single step takes on a slow machine: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// All checks; they listen at `addr`, whose port may be 0.
pub async fn check_all(runtime: &Runtime, addr: SocketAddr) {
    bytes_come_back(runtime, addr).await;
    parts_of_shared_values_are_sent(runtime, addr).await;
    the_end_of_the_peer_is_seen(runtime, addr).await;
    shutdown_ends_a_receive(runtime, addr).await;
    nobody_listening_is_refused(runtime, addr).await;
    many_connections_at_once(runtime, addr).await;
    leases_may_run_out(runtime, addr).await;
    dropped_sockets_do_not_mix_up(runtime, addr).await;
    dropped_listeners_let_go(runtime, addr).await;
    dropped_sends_keep_their_buffers(runtime, addr).await;
}

async fn listen(runtime: &Runtime, addr: SocketAddr) -> Listener {
    runtime.listen(addr).await.expect("an address to listen at")
}

/// Both ends of a new connection: the one that asked, and the one that was accepted.
async fn pair(runtime: &Runtime, addr: SocketAddr) -> (Socket, Socket) {
    let mut listener = listen(runtime, addr).await;
    let client = runtime.connect(listener.addr()).await.expect("a connection");
    let server = listener.accept().await.expect("a connection").expect("an open listener");
    (client, server)
}

async fn in_time<T>(runtime: &Runtime, what: &str, work: impl Future<Output = T>) -> T {
    runtime.timeout(PATIENCE, work).await.unwrap_or_else(|| panic!("{what} hangs"))
}

async fn receive_exactly(socket: &Socket, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let lease = socket.receive().await.expect("a receive").expect("more bytes before the end");
        bytes.extend_from_slice(&lease);
    }
    assert_eq!(bytes.len(), len, "more bytes than were sent");
    bytes
}

/// Sends back what arrives until the peer's end; errors end it as well.
async fn echo(socket: Socket) {
    while let Ok(Some(lease)) = socket.receive().await {
        let bytes = lease.to_vec();
        drop(lease);
        if socket.send(SendBuf::Owned(bytes)).await.is_err() {
            return;
        }
    }
}

/// Echoes on every connection until the listener is closed.
fn echo_server(runtime: &Runtime, mut listener: Listener) {
    let spawner = runtime.clone();
    runtime.spawn(Class::Foreground, async move {
        while let Ok(Some(socket)) = listener.accept().await {
            spawner.spawn(Class::Foreground, echo(socket));
        }
    });
}

async fn bytes_come_back(runtime: &Runtime, addr: SocketAddr) {
    for len in [1, 2, 4095, 4096, 4097, 64 * KIB, 64 * KIB + 1, MIB, 4 * MIB] {
        let (client, server) = pair(runtime, addr).await;
        let client = Rc::new(client);
        assert_ne!(client.peer(), server.peer(), "each end sees the other's address");
        runtime.spawn(Class::Foreground, echo(server));
        let bytes = pattern(len as u64, len);
        let receiver = client.clone();
        let received = task(runtime, async move { receive_exactly(&receiver, len).await });
        let sent = in_time(runtime, "a send", client.send(SendBuf::Owned(bytes.clone()))).await;
        assert!(sent.expect("a send").bytes() == bytes, "a send gives its buffer back unchanged");
        assert!(in_time(runtime, "an echo", received).await == bytes, "{len} bytes changed on the way");
    }
    let (client, _server) = pair(runtime, addr).await;
    client.send(SendBuf::Owned(Vec::new())).await.expect("a send of nothing");
}

async fn parts_of_shared_values_are_sent(runtime: &Runtime, addr: SocketAddr) {
    let (client, server) = pair(runtime, addr).await;
    let bytes: Arc<[u8]> = pattern(1, 300 * KIB).into();
    let received = task(runtime, async move { receive_exactly(&server, 200 * KIB).await });
    let part = SendBuf::Shared { bytes: bytes.clone(), start: 50 * KIB, end: 250 * KIB };
    client.send(part).await.expect("a send");
    assert!(in_time(runtime, "a receive", received).await == bytes[50 * KIB..250 * KIB]);
}

async fn the_end_of_the_peer_is_seen(runtime: &Runtime, addr: SocketAddr) {
    let (client, server) = pair(runtime, addr).await;
    client.send(SendBuf::Owned(b"last words".to_vec())).await.expect("a send");
    drop(client);
    assert_eq!(in_time(runtime, "a receive", receive_exactly(&server, 10)).await, b"last words");
    for _ in 0..2 {
        let end = in_time(runtime, "the end", server.receive()).await;
        assert!(end.expect("an end without error").is_none());
    }
}

async fn shutdown_ends_a_receive(runtime: &Runtime, addr: SocketAddr) {
    let (client, server) = pair(runtime, addr).await;
    let client = Rc::new(client);
    let waiting = client.clone();
    let ended = task(runtime, async move { waiting.receive().await.map(|lease| lease.is_none()) });
    runtime.sleep(Duration::from_millis(5)).await;
    client.shutdown().await.expect("a shutdown");
    assert!(in_time(runtime, "a receive after shutdown", ended).await.expect("an end without error"));
    assert!(in_time(runtime, "the peer", server.receive()).await.expect("an end without error").is_none());
}

async fn nobody_listening_is_refused(runtime: &Runtime, addr: SocketAddr) {
    let listener = listen(runtime, addr).await;
    let addr = listener.addr();
    drop(listener);
    let refused = in_time(runtime, "a closed listener", async {
        loop {
            match runtime.connect(addr).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                // The close is under way still, and may take a connection with it.
                Ok(_) | Err(_) => runtime.sleep(Duration::from_millis(1)).await,
            }
        }
    });
    refused.await;
}

async fn many_connections_at_once(runtime: &Runtime, addr: SocketAddr) {
    const CONNECTIONS: u64 = 300;
    let listener = listen(runtime, addr).await;
    let addr = listener.addr();
    echo_server(runtime, listener);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let runtime = runtime.clone();
            task(&runtime.clone(), async move {
                let socket = runtime.connect(addr).await.expect("a connection");
                for round in 0..3 {
                    let bytes = pattern(number * 3 + round, 3000);
                    socket.send(SendBuf::Owned(bytes.clone())).await.expect("a send");
                    assert!(receive_exactly(&socket, bytes.len()).await == bytes, "connections mixed up");
                }
            })
        })
        .collect();
    for client in clients {
        in_time(runtime, "one of many connections", client).await;
    }
}

/// Readers keep every lease until no more come, over and over, while more bytes are on the way than
/// all buffers of a core hold.
async fn leases_may_run_out(runtime: &Runtime, addr: SocketAddr) {
    const CONNECTIONS: u64 = 48;
    const BYTES: usize = 128 * KIB;
    let mut listener = listen(runtime, addr).await;
    let mut readers = Vec::new();
    for number in 0..CONNECTIONS {
        let client = runtime.connect(listener.addr()).await.expect("a connection");
        let server = listener.accept().await.expect("a connection").expect("an open listener");
        let bytes = pattern(number, BYTES);
        let expected = bytes.clone();
        runtime.spawn(Class::Foreground, async move {
            client.send(SendBuf::Owned(bytes)).await.expect("a send");
        });
        let hoarder = hoard(runtime.clone(), server);
        readers.push(task(runtime, async move { assert!(hoarder.await == expected, "bytes lost") }));
    }
    for reader in readers {
        in_time(runtime, "a reader without buffers", reader).await;
    }
}

async fn hoard(runtime: Runtime, socket: Socket) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut kept: Vec<Lease> = Vec::new();
    loop {
        match runtime.timeout(Duration::from_millis(5), socket.receive()).await {
            Some(received) => match received.expect("a receive") {
                Some(lease) => {
                    bytes.extend_from_slice(&lease);
                    kept.push(lease);
                }
                None => return bytes,
            },
            None => kept.clear(),
        }
    }
}

/// Connections that end while everything is under way on them, with descriptors used again at once.
async fn dropped_sockets_do_not_mix_up(runtime: &Runtime, addr: SocketAddr) {
    let listener = listen(runtime, addr).await;
    let addr = listener.addr();
    echo_server(runtime, listener);
    for round in 0..100u64 {
        let left = runtime.connect(addr).await.expect("a connection");
        let noise = vec![0xff; 256 * KIB];
        // Sent, and on its way back, when the socket goes.
        let _ = runtime.timeout(Duration::ZERO, left.send(SendBuf::Owned(noise))).await;
        let socket = runtime.connect(addr).await.expect("a connection");
        drop(left);
        let bytes = pattern(round, 2000);
        in_time(runtime, "a send", socket.send(SendBuf::Owned(bytes.clone()))).await.expect("a send");
        let received = in_time(runtime, "an echo", receive_exactly(&socket, bytes.len())).await;
        assert!(received == bytes, "bytes of another connection");
        if round.is_multiple_of(2) {
            // Nothing waits for this one: a receive given up in the middle.
            poll_fn(|cx| Poll::Ready(socket.poll_receive(cx).is_ready())).await;
        }
    }
}

/// A listener that goes while connections come: later ones at the same address work.
async fn dropped_listeners_let_go(runtime: &Runtime, addr: SocketAddr) {
    let first = listen(runtime, addr).await;
    let addr = first.addr();
    let mut listener = Some(first);
    for _ in 0..20 {
        // Accepted or not, nobody takes it.
        let _ = in_time(runtime, "a connect", runtime.connect(addr)).await;
        drop(listener.take());
        listener = Some(listen(runtime, addr).await);
    }
    let mut listener = listener.expect("the last listener");
    in_time(runtime, "an accept", async {
        loop {
            // Earlier listeners at this address may still be on their way out and take connections along.
            let client = runtime.connect(addr).await;
            let accepted = runtime.timeout(Duration::from_millis(50), listener.accept()).await;
            if client.is_ok() && matches!(accepted, Some(Ok(Some(_)))) {
                return;
            }
        }
    })
    .await;
}

/// The peer must see a prefix of what was sent, whenever the sender gave up.
async fn dropped_sends_keep_their_buffers(runtime: &Runtime, addr: SocketAddr) {
    for round in 0..20u64 {
        let (client, server) = pair(runtime, addr).await;
        let bytes = pattern(round, 8 * MIB);
        let patience = Duration::from_micros(200 * round);
        let _ = runtime.timeout(patience, client.send(SendBuf::Owned(bytes.clone()))).await;
        // Takes the place of the buffer, had it been freed.
        let fresh = vec![0u8; bytes.len()];
        drop(client);
        let mut seen = 0;
        while let Ok(Some(lease)) = in_time(runtime, "a receive", server.receive()).await {
            assert!(lease[..] == bytes[seen..seen + lease.len()], "a dropped send took freed memory");
            seen += lease.len();
        }
        drop(fresh);
    }
}

/// A reader that takes nothing must not starve the others of its core.
pub async fn a_slow_reader_starves_nobody(runtime: &Runtime, addr: SocketAddr) {
    let (flooder, _never_read) = pair(runtime, addr).await;
    runtime.spawn(Class::Foreground, async move {
        let _ = flooder.send(SendBuf::Owned(vec![1; 32 * MIB])).await;
    });
    runtime.sleep(Duration::from_millis(50)).await;
    let (client, server) = pair(runtime, addr).await;
    runtime.spawn(Class::Foreground, echo(server));
    for round in 0..50 {
        let bytes = pattern(round, 20 * KIB);
        in_time(runtime, "a send", client.send(SendBuf::Owned(bytes.clone()))).await.expect("a send");
        let received = in_time(runtime, "a fast reader", receive_exactly(&client, bytes.len())).await;
        assert!(received == bytes);
    }
}
