//! The performance of etcd by itself with the entries that the daemon wrote: the floor under the etcd store.

use crate::Failure;
use crate::figures::float;
use crate::stage::Etcd;
use etcd_client::{Client, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use tokio::task::JoinSet;

/// The default prefix of the daemon's entries.
const PREFIX: &str = "/skydns/";
/// As in the daemon: entries on one lease, operations in one transaction.
const LEASE_ENTRIES: usize = 1000;
const BATCH: usize = 100;
/// Longer than any run, in seconds.
const LEASE_TTL_S: i64 = 3600;

/// Keys and values, byte for byte as the daemon wrote them.
#[derive(Debug)]
pub(crate) struct Entries(Vec<(Vec<u8>, Vec<u8>)>);

/// The cost of writing them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteCost {
    pub(crate) per_s: f64,
    pub(crate) etcd_cpu_us: f64,
}

/// The way in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// A put each, so many under way at a time.
    Alone(usize),
    /// Writes in transactions of [`BATCH`] puts, one at a time.
    Batched,
}

impl Entries {
    /// The number of those that are in etcd now.
    pub(crate) async fn of(etcd: &Etcd) -> Result<Self, Failure> {
        let mut client = etcd.client().await?;
        let mut got = client.get(PREFIX, Some(GetOptions::new().with_prefix())).await?;
        Ok(Self(got.take_kvs().into_iter().map(etcd_client::KeyValue::into_key_value).collect()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes all of them, on leases as the daemon does, and removes them again.
    pub(crate) async fn write(&self, etcd: &Etcd, how: How) -> Result<WriteCost, Failure> {
        let mut client = etcd.client().await?;
        let mut leases = Vec::new();
        for _ in self.0.chunks(LEASE_ENTRIES) {
            leases.push(client.lease_grant(LEASE_TTL_S, None).await?.id());
        }
        let (cpu, began) = (etcd.cpu_us().await?, Instant::now());
        match how {
            How::Alone(clients) => self.alone(&client, clients, &leases).await?,
            How::Batched => self.batched(&mut client, &leases).await?,
        }
        let (took, cpu) = (began.elapsed(), etcd.cpu_us().await? - cpu);
        client.delete(PREFIX, Some(DeleteOptions::new().with_prefix())).await?;
        for lease in leases {
            client.lease_revoke(lease).await?;
        }
        let count = float(self.len());
        Ok(WriteCost { per_s: count / took.as_secs_f64(), etcd_cpu_us: cpu / count })
    }

    async fn alone(&self, client: &Client, clients: usize, leases: &[i64]) -> Result<(), Failure> {
        let (next, entries, leases) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(self.0.clone()), Arc::new(leases.to_vec()));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (next, entries, leases) = (Arc::clone(&next), Arc::clone(&entries), Arc::clone(&leases));
            let mut client = client.kv_client();
            tasks.spawn(async move {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some((key, value)) = entries.get(at) else { return Ok::<_, Failure>(()) };
                    let options = PutOptions::new().with_lease(leases[at / LEASE_ENTRIES]);
                    client.put(key.clone(), value.clone(), Some(options)).await?;
                }
            });
        }
        while let Some(end) = tasks.join_next().await {
            end??;
        }
        Ok(())
    }

    async fn batched(&self, client: &mut Client, leases: &[i64]) -> Result<(), Failure> {
        for (chunk, lease) in self.0.chunks(LEASE_ENTRIES).zip(leases) {
            for batch in chunk.chunks(BATCH) {
                let put = |(key, value): &(Vec<u8>, Vec<u8>)| {
                    TxnOp::put(key.clone(), value.clone(), Some(PutOptions::new().with_lease(*lease)))
                };
                client.txn(Txn::new().and_then(batch.iter().map(put).collect::<Vec<_>>())).await?;
            }
        }
        Ok(())
    }
}
