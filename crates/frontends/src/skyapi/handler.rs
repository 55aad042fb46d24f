//! The handler of a provider's socket: it applies operations ([`Op`]) and replies to invalid ones. The connection itself
//! belongs to [`crate::connection`].

use super::FRONTEND;
use super::op::Op;
use crate::connection::ConnectionHandler;
use bytes::Bytes;
use skyhound_core::registry::Claim;
use skyhound_net::websocket::Utf8Bytes;

/// A socket of `/provide`, with the claim that depends on it.
#[derive(Debug)]
pub(super) struct ProvideHandler(pub(super) Claim);

impl ConnectionHandler for ProvideHandler {
    const FRONTEND: &'static str = FRONTEND;

    async fn on_text(&mut self, text: Utf8Bytes) -> Result<Option<Bytes>, Bytes> {
        let result = update(&mut self.0, &text).await;
        result.map(|()| None).map_err(|error| format!("ERROR: {error}").into())
    }

    fn into_claim(self) -> Option<Claim> {
        Some(self.0)
    }
}

/// Applies the operation of a text frame. While the store is slow the socket is not read: the peer waits, and a close
/// behind the update could not take effect sooner anyway, because it needs the same store.
async fn update(claim: &mut Claim, text: &str) -> Result<(), String> {
    let entry = Op::parse(text)?.apply(&claim.instance().entry);
    if entry == claim.instance().entry {
        return Ok(());
    }
    claim.update(entry).await.map_err(|error| format!("nothing was changed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::serve;

    /// A daemon runs 100,000 of them.
    #[test]
    fn a_provide_connection_is_a_small_task() {
        fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(serve::<ProvideHandler>);
        assert!(size <= 768, "{size} bytes");
    }
}
