//! One step of a claim towards what is wanted. Does not own: what is wanted ([`super::services`]).

use super::DIALECT;
use super::hub::Hub;
use crate::outcome;
use skyhound_core::registry::{Claim, RegisterError};
use skyhound_model::{Departure, Instance};

/// Brings a claim to what is wanted. The claim comes back, also after a failure.
pub(super) async fn settle(
    hub: &Hub,
    claim: Option<Claim>,
    want: Option<Instance>,
) -> (Option<Claim>, Result<(), RegisterError>) {
    match (claim, want) {
        (None, None) => (None, Ok(())),
        (Some(claim), None) => {
            hub.app.metrics.release(DIALECT, "freed");
            (None, claim.release(Departure::Left).await)
        }
        (Some(mut claim), Some(want)) if claim.instance().key == want.key => {
            let result = claim.update(want.entry).await;
            (Some(claim), result)
        }
        // Its role has changed, and with it its place. First gone, then there: peers know it by its id.
        (Some(claim), Some(want)) => match claim.release(Departure::Left).await {
            Ok(()) => register(hub, want).await,
            Err(error) => (None, Err(error)),
        },
        (None, Some(want)) => register(hub, want).await,
    }
}

async fn register(hub: &Hub, want: Instance) -> (Option<Claim>, Result<(), RegisterError>) {
    let app = &hub.app;
    let registered = match app.turns.turn().await {
        Ok(_turn) => app.registry.register(want).await,
        Err(busy) => Err(RegisterError::Unavailable(busy.sentence().to_owned())),
    };
    match registered {
        Ok(claim) => {
            app.metrics.registration(DIALECT, "ok");
            (Some(claim), Ok(()))
        }
        Err(error) => {
            app.metrics.registration(DIALECT, outcome(&error));
            (None, Err(error))
        }
    }
}
