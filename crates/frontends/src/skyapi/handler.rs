//! What a provider's socket can be told ([`Op`]), and how it hears of it. The life of the socket is
//! [`crate::connection`]'s.

use super::FRONTEND;
use super::op::Op;
use crate::connection::ConnectionHandler;
use bytes::Bytes;
use skyhound_core::registry::Claim;
use skyhound_net::websocket::Utf8Bytes;

/// A socket of `/provide`, and what it holds.
#[derive(Debug)]
pub(super) struct ProvideHandler(pub(super) Claim);

impl ConnectionHandler for ProvideHandler {
    const FRONTEND: &'static str = FRONTEND;

    async fn on_text(&mut self, text: Utf8Bytes) -> Result<Option<Bytes>, Bytes> {
        let done = update(&mut self.0, &text).await;
        done.map(|()| None).map_err(|sentence| format!("ERROR: {sentence}").into())
    }

    fn into_claim(self) -> Option<Claim> {
        Some(self.0)
    }
}

/// Does what a text frame says. While the store is slow the socket is not read: its peer waits, and a close
/// behind the update could not be acted on sooner anyway, as it needs the same store.
async fn update(claim: &mut Claim, text: &str) -> Result<(), String> {
    let entry = Op::read(text)?.apply(&claim.instance().entry);
    if entry == claim.instance().entry {
        return Ok(());
    }
    claim.update(entry).await.map_err(|error| format!("nothing was changed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::serve;

    /// There are 100,000 of them.
    #[test]
    fn a_provide_connection_is_a_small_task() {
        fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(serve::<ProvideHandler>);
        assert!(size <= 768, "{size} bytes");
    }
}
