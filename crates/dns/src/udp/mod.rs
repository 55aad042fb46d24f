//! UDP: a thread for each core and address, each with its own socket, which answers inline.
//!
//! ```text
//! kernel ─▶ socket of this core ─▶ batch ─▶ gate ─▶ fast path ─▶ the same buffers ─▶ one call sends them
//!           (SO_REUSEPORT spreads                └──▶ general path ──┘
//!            clients over them)                        └──▶ a task, for responses that need upstream servers
//! ```
//! Owns: the threads, from binding to joining. A datagram wakes the thread that answers it, without a task, queue or
//! lock between them: of the 5 µs that a response costs, the kernel uses 4. They are threads and not tasks, because
//! they block in the kernel, and few, because there are few cores. Does not own: the responses ([`super::datagram`]).
//! Linux only; other systems use `udp_portable`.

mod socket;
mod worker;

use super::datagram::DatagramHandler;
use super::fast::CacheId;
use super::handler::Handler;
use super::limit::gate::AdmissionGate;
use super::settings::DnsSettings;
use skyhound_core::catalog::Catalog;
use socket::ServerSocket;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use tokio::sync::{Semaphore, mpsc};
use worker::Worker;

/// The maximum number of responses that wait for upstream servers at the same time. Each holds its question and, if it
/// is forwarded, a socket.
const PENDING_MAX: usize = 1024;

/// The bound sockets of one address, before a worker uses them.
pub(super) struct AddressSockets(Vec<Arc<ServerSocket>>);

impl AddressSockets {
    /// Binds one socket per core on an address. The TCP listener, which is bound first and does not share its port,
    /// detects a port in use.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (0..cores).map(|_| ServerSocket::bind(addr).map(Arc::new)).collect::<io::Result<_>>().map(Self)
    }
}

/// The threads that answer. If it is dropped without [`Self::stop`], they end too, a little later.
pub(super) struct UdpWorkers {
    sockets: Vec<Arc<ServerSocket>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// The channel that the last thread to end closes.
    finished: mpsc::Receiver<()>,
}

impl UdpWorkers {
    /// Starts a thread for each socket. It has to be called within a tokio runtime.
    pub(super) fn start(
        sockets: Vec<AddressSockets>,
        settings: &DnsSettings,
        catalog: &Arc<Catalog>,
        general: &Handler,
    ) -> io::Result<Self> {
        let sockets: Vec<_> = sockets.into_iter().flat_map(|sockets| sockets.0).collect();
        let (running, finished) = mpsc::channel(1);
        let mut workers = Self { sockets, threads: Vec::new(), stop: Arc::default(), finished };
        let (cache_id, rate) = (CacheId::new(), AdmissionGate::rate_limiter(&settings.rate));
        let pending_permits = Arc::new(Semaphore::new(PENDING_MAX));
        for (at, socket) in workers.sockets.iter().enumerate() {
            let worker = Worker {
                socket: Arc::clone(socket),
                datagrams: DatagramHandler::for_thread(
                    Arc::clone(catalog),
                    settings,
                    cache_id,
                    general.clone(),
                    rate.clone(),
                ),
                stop: Arc::clone(&workers.stop),
                pending_permits: Arc::clone(&pending_permits),
                runtime: tokio::runtime::Handle::current(),
            };
            let running = running.clone();
            let thread = thread::Builder::new().name(format!("dns-udp-{at}")).spawn(move || {
                let _running = running;
                worker.run();
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Waits until all threads have ended, which without [`Self::stop`] only a bug causes. Without threads it waits
    /// forever.
    pub(super) async fn finished(&mut self) {
        if self.threads.is_empty() {
            return std::future::pending().await;
        }
        while self.finished.recv().await.is_some() {}
    }

    /// Closes the sockets and waits until they are closed.
    pub(super) async fn stop(mut self) {
        self.signal_stop();
        while self.finished.recv().await.is_some() {}
        for thread in self.threads.drain(..) {
            // It has ended except for its last few instructions.
            let _ = thread.join();
        }
    }

    fn signal_stop(&self) {
        self.stop.store(true, Relaxed);
        self.sockets.iter().for_each(|socket| socket.wake());
    }
}

impl Drop for UdpWorkers {
    fn drop(&mut self) {
        self.signal_stop();
    }
}
