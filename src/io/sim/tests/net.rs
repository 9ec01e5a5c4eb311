//! Streams between the cores of a simulated machine.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::io::executor::Class;
use crate::io::op::SendBuf;
use crate::io::runtime::Socket;
use crate::io::sim::StuckReason;

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn port(number: u16) -> SocketAddr {
    ([127, 0, 0, 1], number).into()
}

fn two_cores(seed: u64, faults: Faults) -> Sim {
    let run_max = Duration::from_secs(60);
    Sim::new(seed, SimConfig { faults, run_max, ..SimConfig::cores(2) })
}

/// Serves every connection on core 1 with `serve`.
fn listen<F>(sim: &mut Sim, addr: SocketAddr, serve: impl Fn(Socket) -> F + 'static) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let rt = sim.runtime(1);
    let (bound, place) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(None)));
    let reply = place.clone();
    sim.runtime(1).spawn(Class::Foreground, async move {
        let mut listener = rt.listen(addr).await.unwrap();
        reply.set(Some(listener.addr()));
        while let Ok(Some(socket)) = listener.accept().await {
            rt.spawn(Class::Foreground, serve(socket));
        }
    });
    sim.run_until(|| {
        bound.set(place.get());
        bound.get().is_some()
    })
    .unwrap();
    bound.get().unwrap()
}

async fn echo(socket: Socket) {
    while let Ok(Some(lease)) = socket.receive().await {
        if socket.send(SendBuf::Owned(lease.to_vec())).await.is_err() {
            return;
        }
    }
}

async fn receive_all(socket: &Socket, len: usize) -> io::Result<Vec<u8>> {
    let mut received = Vec::new();
    while received.len() < len {
        match socket.receive().await? {
            Some(lease) => received.extend_from_slice(&lease),
            None => break,
        }
    }
    Ok(received)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn bytes_arrive_once_and_in_order_in_random_pieces() {
    let mut sizes = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let mut sim = two_cores(seed, Faults::default());
        let addr = listen(&mut sim, any_port(), echo);
        assert_ne!(addr.port(), 0);
        let pieces = run(&mut sim, move |rt| async move {
            let socket = Rc::new(rt.connect(addr).await.unwrap());
            assert_eq!(socket.peer(), addr);
            let sender = socket.clone();
            rt.spawn(Class::Foreground, async move {
                for chunk in pattern(100_000).chunks(33_333) {
                    sender.send(SendBuf::Owned(chunk.to_vec())).await.unwrap();
                }
            });
            let (mut received, mut pieces) = (Vec::new(), Vec::new());
            while received.len() < 100_000 {
                let lease = socket.receive().await.unwrap().unwrap();
                pieces.push(lease.len());
                received.extend_from_slice(&lease);
            }
            assert!(received == pattern(100_000));
            pieces
        });
        sizes.extend(pieces);
    }
    assert!(sizes.len() > 100);
}

#[test]
fn a_shutdown_ends_both_directions_after_the_bytes_sent() {
    let mut sim = two_cores(1, Faults::default());
    let addr = listen(&mut sim, any_port(), |socket| async move {
        socket.send(SendBuf::Owned(b"bye".to_vec())).await.unwrap();
        socket.shutdown().await.unwrap();
        assert!(socket.receive().await.unwrap().is_none());
        assert_eq!(code(socket.send(SendBuf::Owned(vec![1])).await), libc::EPIPE);
    });
    run(&mut sim, move |rt| async move {
        let socket = rt.connect(addr).await.unwrap();
        assert_eq!(receive_all(&socket, 100).await.unwrap(), b"bye");
    });
}

#[test]
fn a_closed_socket_is_the_end_for_its_peer_and_a_reset_when_bytes_were_unread() {
    let mut sim = two_cores(1, Faults::default());
    let addr = listen(&mut sim, any_port(), |socket| async move {
        receive_all(&socket, 3).await.unwrap();
    });
    run(&mut sim, move |rt| async move {
        let polite = rt.connect(addr).await.unwrap();
        polite.send(SendBuf::Owned(b"abc".to_vec())).await.unwrap();
        assert!(polite.receive().await.unwrap().is_none());
        let pushy = rt.connect(addr).await.unwrap();
        pushy.send(SendBuf::Owned(vec![0; 40_000])).await.unwrap();
        assert_eq!(code(pushy.receive().await), libc::ECONNRESET);
        assert_eq!(code(pushy.send(SendBuf::Owned(vec![0])).await), libc::ECONNRESET);
    });
}

#[test]
fn nobody_listens_or_the_connection_is_refused() {
    let mut sim = two_cores(1, Faults::default());
    run(&mut sim, |rt| async move {
        assert_eq!(code(rt.connect(port(80)).await), libc::ECONNREFUSED);
    });
    let addr = listen(&mut sim, port(80), echo);
    run(&mut sim, move |rt| async move { rt.connect(addr).await.map(drop).unwrap() });
    sim.world().set_faults(Faults { connect_refused_permille: 1000, ..Faults::default() });
    run(&mut sim, move |rt| async move {
        assert_eq!(code(rt.connect(addr).await), libc::ECONNREFUSED);
    });
}

#[test]
fn a_reset_is_seen_by_both_sides() {
    let seen: Rc<RefCell<Vec<i32>>> = Rc::default();
    let mut sim = two_cores(3, Faults { reset_permille: 100, ..Faults::default() });
    let server_saw = seen.clone();
    let addr = listen(&mut sim, any_port(), move |socket| {
        let seen = server_saw.clone();
        async move {
            while let Some(lease) = match socket.receive().await {
                Ok(lease) => lease,
                Err(error) => return seen.borrow_mut().push(error.raw_os_error().unwrap()),
            } {
                socket.send(SendBuf::Owned(lease.to_vec())).await.ok();
            }
        }
    });
    let client_saw = run(&mut sim, move |rt| async move {
        let socket = rt.connect(addr).await.unwrap();
        loop {
            if let Err(error) = socket.send(SendBuf::Owned(vec![1; 100])).await {
                return error.raw_os_error().unwrap();
            }
            if let Err(error) = receive_all(&socket, 100).await {
                return error.raw_os_error().unwrap();
            }
        }
    });
    sim.run_until(|| !seen.borrow().is_empty()).unwrap();
    assert_eq!((client_saw, seen.take()), (libc::ECONNRESET, vec![libc::ECONNRESET]));
}

#[test]
fn a_cut_is_silence_in_one_direction() {
    let mut sim = two_cores(3, Faults { cut_permille: 1000, ..Faults::default() });
    let addr = listen(&mut sim, any_port(), |socket| async move {
        socket.send(SendBuf::Owned(b"never heard".to_vec())).await.unwrap();
        drop(receive_all(&socket, usize::MAX).await);
    });
    run(&mut sim, move |rt| async move {
        let socket = rt.connect(addr).await.unwrap();
        assert!(rt.timeout(Duration::from_secs(5), socket.receive()).await.is_none());
        // The other direction is whole: what the window takes is sent, the rest waits.
        socket.send(SendBuf::Owned(vec![0; 1000])).await.unwrap();
        let large = socket.send(SendBuf::Owned(vec![0; 1_000_000]));
        assert!(rt.timeout(Duration::from_secs(5), large).await.is_none());
    });
}

#[test]
fn a_sender_waits_for_a_peer_that_keeps_its_buffers() {
    let config = SimConfig { receive_buffers_max: 4, ..SimConfig::cores(2) };
    let mut sim = Sim::new(5, config);
    let let_go = Rc::new(Cell::new(false));
    let (flag, rt) = (let_go.clone(), sim.runtime(1));
    let addr = listen(&mut sim, any_port(), move |socket| {
        let (flag, rt) = (flag.clone(), rt.clone());
        async move {
            let mut kept = Vec::new();
            while let Some(lease) = socket.receive().await.unwrap() {
                kept.push(lease);
                if kept.len() == 4 {
                    while !flag.get() {
                        rt.sleep(Duration::from_millis(1)).await;
                    }
                    kept.clear();
                }
            }
        }
    });
    run(&mut sim, move |rt| async move {
        let socket = rt.connect(addr).await.unwrap();
        let sent = Rc::new(Cell::new(false));
        let done = sent.clone();
        rt.spawn(Class::Foreground, async move {
            socket.send(SendBuf::Owned(vec![0; 300_000])).await.unwrap();
            done.set(true);
        });
        rt.sleep(Duration::from_secs(1)).await;
        assert!(!sent.get(), "more bytes in flight than the window holds");
        let_go.set(true);
        rt.sleep(Duration::from_secs(1)).await;
        assert!(sent.get());
    });
}

#[test]
fn listeners_share_an_address_and_its_connections() {
    let mut sim = two_cores(1, Faults::default());
    let counts: Vec<Rc<Cell<u32>>> = (0..2).map(|_| Rc::default()).collect();
    for count in counts.clone() {
        listen(&mut sim, port(80), move |socket| {
            count.set(count.get() + 1);
            echo(socket)
        });
    }
    run(&mut sim, |rt| async move {
        for _ in 0..40 {
            let socket = rt.connect(port(80)).await.unwrap();
            socket.send(SendBuf::Owned(vec![1])).await.unwrap();
            assert_eq!(receive_all(&socket, 1).await.unwrap(), [1]);
        }
    });
    assert_eq!(counts[0].get() + counts[1].get(), 40);
    assert!(counts.iter().all(|count| count.get() > 5));
}

#[test]
fn a_receive_that_nothing_will_answer_is_stuck() {
    let mut sim = two_cores(1, Faults::default());
    let addr = listen(&mut sim, any_port(), echo);
    let rt = sim.runtime(0);
    let waiting = async move { rt.connect(addr).await.unwrap().receive().await.map(|_| ()) };
    assert_eq!(sim.run(waiting).unwrap_err().reason, StuckReason::NothingToDo);
}
