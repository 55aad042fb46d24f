//! A network that can be cut: a TCP relay in the test.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A relay to one address. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Wire {
    /// The address on which it listens.
    pub addr: SocketAddr,
    whole: watch::Sender<bool>,
    _relays: JoinSet<()>,
}

impl Wire {
    /// A relay to this address.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let whole = watch::Sender::new(true);
        let subscribed = whole.subscribe();
        let mut relays = JoinSet::new();
        relays.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let mut whole = subscribed.clone();
                connections.spawn(async move {
                    // A packet to open a connection is lost like any other, and sent again later.
                    if whole.wait_for(|whole| *whole).await.is_err() {
                        return;
                    }
                    let Ok(to) = TcpStream::connect(target).await else { return };
                    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
                    tokio::join!(relay(from_read, to_write, whole.clone()), relay(to_read, from_write, whole));
                });
            }
        });
        Self { addr, whole, _relays: relays }
    }

    /// Drops everything from now on, without closing the connections.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Everything goes through again, with what was held back.
    pub fn heal(&self) {
        self.whole.send_replace(true);
    }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut whole: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let through = whole.wait_for(|whole| *whole).await.is_ok();
        if !through || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // The end is held back as well.
    let _ = whole.wait_for(|whole| *whole).await;
    let _ = to.shutdown().await;
}
