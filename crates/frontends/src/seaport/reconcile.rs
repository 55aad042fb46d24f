//! One step of a claim towards the desired registration. Does not own: the desired registration ([`super::services`]).

use super::FRONTEND;
use super::hub::SeaportHub;
use crate::outcome;
use skyhound_core::registry::{Claim, RegisterError};
use skyhound_model::{Instance, RemovalReason};

/// Brings a claim to the desired registration. Returns the claim also after a failure.
pub(super) async fn reconcile(
    hub: &SeaportHub,
    claim: Option<Claim>,
    desired: Option<Instance>,
) -> (Option<Claim>, Result<(), RegisterError>) {
    match (claim, desired) {
        (None, None) => (None, Ok(())),
        (Some(claim), None) => {
            hub.app.metrics.release(FRONTEND, "deregistered");
            (None, claim.release(RemovalReason::Deregistered).await)
        }
        (Some(mut claim), Some(desired)) if claim.instance().key == desired.key => {
            let result = claim.update(desired.entry).await;
            (Some(claim), result)
        }
        // The role has changed, and with it the key. The old entry is removed first: peers know the service by its id.
        (Some(claim), Some(desired)) => match claim.release(RemovalReason::Deregistered).await {
            Ok(()) => register(hub, desired).await,
            Err(error) => (None, Err(error)),
        },
        (None, Some(desired)) => register(hub, desired).await,
    }
}

async fn register(hub: &SeaportHub, desired: Instance) -> (Option<Claim>, Result<(), RegisterError>) {
    let app = &hub.app;
    let registered = match app.registration_permits.acquire().await {
        Ok(_permit) => app.registry.register(desired).await,
        Err(busy) => Err(RegisterError::Unavailable(busy.message().to_owned())),
    };
    match registered {
        Ok(claim) => {
            app.metrics.registration(FRONTEND, "ok");
            (Some(claim), Ok(()))
        }
        Err(error) => {
            app.metrics.registration(FRONTEND, outcome(&error));
            (None, Err(error))
        }
    }
}
