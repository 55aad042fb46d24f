//! UDP: a thread for each core and address, each with a socket of its own, answering inline.
//!
//! ```text
//! kernel ─▶ socket of this core ─▶ batch ─▶ gate ─▶ fast path ─▶ the same buffers ─▶ one call sends them
//!           (SO_REUSEPORT spreads                └──▶ general path ──┘
//!            clients over them)                        └──▶ a task, for what must ask somebody else
//! ```
//! Owns: the threads, from binding to joining. A datagram wakes the thread that answers it, and no task,
//! queue or lock stands between: of the 5 µs that an answer costs, 4 are the kernel's. Threads and not
//! tasks, because they block in the kernel; few, because there are few cores. Does not own: what is
//! answered ([`super::datagram`]). Linux only; elsewhere it is `udp_portable`.

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

/// The most answers that wait for somebody else at one time. Each holds its question and, if it is
/// forwarded, a socket.
const PENDING_MAX: usize = 1024;

/// The sockets of one address, bound and not yet answered on.
pub(super) struct AddressSockets(Vec<Arc<ServerSocket>>);

impl AddressSockets {
    /// As many sockets on one address as there are cores. That a port is free is the TCP listener's to find
    /// out, which is bound first and shares with nobody.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (0..cores).map(|_| ServerSocket::bind(addr).map(Arc::new)).collect::<io::Result<_>>().map(Self)
    }
}

/// Threads that answer. Dropped without [`Self::stop`] they end too, a little later.
pub(super) struct UdpWorkers {
    ports: Vec<Arc<ServerSocket>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Closed by the last thread to end.
    finished: mpsc::Receiver<()>,
}

impl UdpWorkers {
    /// Answers on all of these. Call it within a tokio runtime.
    pub(super) fn start(
        ports: Vec<AddressSockets>,
        settings: &DnsSettings,
        catalog: &Arc<Catalog>,
        general: &Handler,
    ) -> io::Result<Self> {
        let ports: Vec<_> = ports.into_iter().flat_map(|ports| ports.0).collect();
        let (running, finished) = mpsc::channel(1);
        let mut workers = Self { ports, threads: Vec::new(), stop: Arc::default(), finished };
        let (cache_id, rate) = (CacheId::new(), AdmissionGate::rate_limiter(&settings.rate));
        let pending_permits = Arc::new(Semaphore::new(PENDING_MAX));
        for (at, port) in workers.ports.iter().enumerate() {
            let worker = Worker {
                port: Arc::clone(port),
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

    /// Waits until all threads have ended, which they do only when told or by a bug. Without any, for ever.
    pub(super) async fn finished(&mut self) {
        if self.threads.is_empty() {
            return std::future::pending().await;
        }
        while self.finished.recv().await.is_some() {}
    }

    /// Closes the sockets. Returns when they are closed.
    pub(super) async fn stop(mut self) {
        self.signal_stop();
        while self.finished.recv().await.is_some() {}
        for thread in self.threads.drain(..) {
            // It has ended, but for its last few instructions.
            let _ = thread.join();
        }
    }

    fn signal_stop(&self) {
        self.stop.store(true, Relaxed);
        self.ports.iter().for_each(|port| port.wake());
    }
}

impl Drop for UdpWorkers {
    fn drop(&mut self) {
        self.signal_stop();
    }
}
