//! The session of this node: the leases by which it keeps its entries alive.
//!
//! An active registration costs the store nothing: up to [`ENTRIES_PER_LEASE`] entries are attached to one lease, and
//! one call per [`RENEWALS_PER_TTL`]th of the TTL renews all leases. Owns: granting, renewing and revoking leases, and
//! noticing that one is gone. Does not own: which entry is attached to which lease (`leases`), nor putting the entries
//! again ([`super::writer`]).
//!
//! [`ENTRIES_PER_LEASE`]: super::leases::ENTRIES_PER_LEASE

use super::Registry;
use super::ids::RECORD_TTL;
use super::leases::LeaseKind;
use skyhound_store::{LeaseId, RENEWALS_PER_TTL, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// The limit of the time in which the loss of a lease is noticed, however long its TTL is, because no feed delivers the
/// removal of id records. It is the interval at which the leases of entries are renewed with the default `--timeout`.
const DETECTION_MAX: Duration = Duration::from_secs(10);
/// The shortest pause after a failed renewal.
const RETRY_MIN: Duration = Duration::from_millis(50);

fn ttl(registry: &Registry, kind: LeaseKind) -> Duration {
    match kind {
        LeaseKind::Entries => registry.settings.ttl,
        LeaseKind::Records => RECORD_TTL,
    }
}

/// Grants leases until they have capacity for `needed` more entries.
pub(super) async fn ensure_capacity(registry: &Registry, kind: LeaseKind, needed: usize) -> Result<(), StoreError> {
    while registry.lock().leases(kind).capacity_left() < needed {
        let lease = registry.store.grant(ttl(registry, kind)).await?;
        debug!(%lease, of = kind.as_str(), "granted a lease");
        registry.lock().add_lease(kind, lease);
    }
    Ok(())
}

/// Renews the leases of a kind for ever.
pub(super) async fn keep_alive(registry: Arc<Registry>, kind: LeaseKind) {
    let interval = (ttl(&registry, kind) / RENEWALS_PER_TTL).min(DETECTION_MAX);
    // After a failure several attempts fit into the rest of the TTL.
    let retry_interval = (interval / 4).max(RETRY_MIN);
    let mut failing = false;
    loop {
        tokio::time::sleep(if failing { retry_interval } else { interval }).await;
        match renew_now(&registry, kind).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    warn!(%error, of = kind.as_str(), "failed to renew leases; retrying");
                }
                failing = true;
            }
        }
    }
}

/// Renews all leases of a kind. Entries of leases that are gone will be written again.
pub(super) async fn renew_now(registry: &Registry, kind: LeaseKind) -> Result<(), StoreError> {
    let (spare, leases) = {
        let mut state = registry.lock();
        (state.take_spare_leases(kind), state.leases(kind).all())
    };
    revoke(registry, spare).await;
    if leases.is_empty() {
        return Ok(());
    }
    let alive = registry.store.renew(&leases).await?;
    for (lease, _) in leases.into_iter().zip(alive).filter(|(_, alive)| !alive) {
        let lost = registry.lock().lease_lost(kind, lease);
        warn!(%lease, of = kind.as_str(), lost, "a lease is gone; writing its entries again");
    }
    Ok(())
}

/// Revokes the leases of a lost history, after all entries with claims have moved to other leases.
pub(super) async fn revoke_former(registry: &Registry) {
    let former = registry.lock().take_former_leases();
    revoke(registry, former).await;
}

async fn revoke(registry: &Registry, leases: impl IntoIterator<Item = LeaseId>) {
    for lease in leases {
        if let Err(error) = registry.store.revoke(lease).await {
            debug!(%lease, %error, "failed to revoke an unused lease; it will expire");
        }
    }
}
