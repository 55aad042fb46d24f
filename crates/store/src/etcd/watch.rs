//! A feed from an etcd watch.
//!
//! Owns: opening the watch, detecting that it hangs, and delivering its batches to a reader that may lag. Does not own:
//! resuming. A watch that ends for any reason ends its feed; the reader lists again.

use super::batches::Batches;
use super::endpoints::{EndpointClient, Endpoints, Resend};
use super::list::{range_end, range_start};
use super::progress::Progress;
use super::txn::{revision, wire};
use crate::{Batch, Feed, Revision, StoreError};
use etcd_client::proto::PbWatchResponse;
use etcd_client::{Error, GetOptions, WatchOptions, WatchRequestSender, WatchResponseStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tonic::{Code, Status};

/// Limit of a response, in bytes. etcd splits responses at a little over its `--max-request-bytes` (1.5 MiB).
const RESPONSE_MAX: usize = 64 << 20;
/// Time limit of a reader with a full backlog. It is positive, so that a feed that begins far in the past fills the
/// backlog at the speed of the reader, instead of ending because etcd is faster.
const READER_TIMEOUT: Duration = Duration::from_secs(1);

/// A watch that etcd has confirmed.
struct OpenWatch {
    endpoint: Arc<EndpointClient>,
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    progress: Progress,
    /// The response that confirmed the watch.
    created: PbWatchResponse,
}

/// Opens a feed of the changes below `prefix` after a revision.
pub(super) async fn feed(endpoints: &Endpoints, prefix: &[u8], after: Revision) -> Result<Feed, StoreError> {
    let options = WatchOptions::new()
        .with_range(range_end(prefix))
        .with_start_revision(wire(after).saturating_add(1))
        .with_progress_notify()
        .with_fragment();
    let start = range_start(prefix);
    let opened = endpoints.call(Resend::Yes, |endpoint| open(endpoint, start.clone(), options.clone())).await?;
    let mut batches = Batches::new(after, opened.progress.ordered);
    let at = revision(opened.created.header.as_ref().map_or(0, |header| header.revision));
    batches.take(opened.created)?;
    if at < after {
        reject_restored(endpoints, start, after).await?;
    }
    let (sender, feed) = Feed::channel();
    let settings = &endpoints.settings;
    let watch = Watch {
        endpoint: opened.endpoint,
        requests: opened.requests,
        responses: opened.responses,
        batches,
        probe_interval: settings.probe_interval,
        response_timeout: opened.progress.answered.then(|| settings.probe_interval + settings.request_timeout),
    };
    tokio::spawn(watch.run(sender));
    Ok(feed)
}

async fn open(endpoint: Arc<EndpointClient>, start: Vec<u8>, options: WatchOptions) -> Result<OpenWatch, Error> {
    let progress = match endpoint.client.maintenance_client().status().await {
        Ok(status) => Progress::of(status.version()),
        Err(Error::GRpcStatus(status)) if status.code() == Code::PermissionDenied => Progress::UNKNOWN,
        Err(error) => return Err(error),
    };
    let mut client = endpoint.client.watch_client().max_decoding_message_size(RESPONSE_MAX);
    let (requests, mut responses) = client.watch(start, Some(options)).await?.split();
    let ended = || Error::GRpcStatus(Status::unavailable("the watch ended before it was confirmed"));
    let created = responses.message().await?.ok_or_else(ended)?.0;
    // etcd rejects a watch by a response and not by a status, and before 3.5 with "permission denied" also if the token
    // has expired. Converted to a status it causes a new login and a second attempt, as for any call.
    if created.canceled && created.compact_revision == 0 {
        return Err(Error::GRpcStatus(Status::unauthenticated(created.cancel_reason)));
    }
    Ok(OpenWatch { endpoint, requests, responses, progress, created })
}

/// Rejects a feed if etcd was restored from a backup. A member that confirms a watch at a revision before `after` either
/// lags behind the others and will catch up, or etcd was restored: then the watch would send nothing until the revision
/// is reached again, and miss all changes before it.
async fn reject_restored(endpoints: &Endpoints, key: Vec<u8>, after: Revision) -> Result<(), StoreError> {
    // Any read that is not "serializable" returns the revision of the whole cluster. This key is readable with the
    // feed's permissions, and does not need to exist.
    let read = |endpoint: Arc<EndpointClient>| {
        let key = key.clone();
        async move { endpoint.client.kv_client().get(key, Some(GetOptions::new().with_keys_only())).await }
    };
    let response = endpoints.call(Resend::Yes, read).await?;
    let now = revision(response.header().map_or(0, etcd_client::ResponseHeader::revision));
    if now < after {
        return Err(StoreError::FeedLost(format!(
            "etcd is at revision {now}, before {after}: it was restored from a backup"
        )));
    }
    Ok(())
}

struct Watch {
    endpoint: Arc<EndpointClient>,
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    batches: Batches,
    probe_interval: Duration,
    /// Time without a response after which the watch counts as hung. `None` if this etcd may not respond to progress
    /// requests; then only the pings of the connection detect it.
    response_timeout: Option<Duration>,
}

impl Watch {
    async fn run(mut self, sender: mpsc::Sender<Result<Batch, StoreError>>) {
        let error = tokio::select! {
            () = sender.closed() => return,
            error = self.relay(&sender) => error,
        };
        tracing::debug!(url = self.endpoint.url, %error, "etcd feed ended");
        // Uses the slot of the backlog that is reserved for it. It fails only if there is no reader.
        let _ = sender.try_send(Err(error));
    }

    /// Delivers the responses until the watch ends, and returns the reason.
    async fn relay(&mut self, sender: &mpsc::Sender<Result<Batch, StoreError>>) -> StoreError {
        let mut probe = interval_at(Instant::now() + self.probe_interval, self.probe_interval);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_response = Instant::now();
        loop {
            tokio::select! {
                response = self.responses.message() => {
                    let batches = match response {
                        Ok(Some(response)) => self.batches.take(response.0),
                        Ok(None) => Err(self.lost("the watch was closed")),
                        Err(error) => Err(self.lost(&error.to_string())),
                    };
                    if let Err(error) = deliver(batches, sender).await {
                        return error;
                    }
                    // After the delivery: time that the reader takes does not count as missing responses.
                    last_response = Instant::now();
                }
                _ = probe.tick() => {
                    if self.response_timeout.is_some_and(|max| last_response.elapsed() >= max) {
                        return self.lost(&format!("no response for {:?}", last_response.elapsed()));
                    }
                    if let Err(error) = self.requests.request_progress().await {
                        return self.lost(&error.to_string());
                    }
                }
            }
        }
    }

    fn lost(&self, reason: &str) -> StoreError {
        StoreError::FeedLost(format!("{}: {reason}", self.endpoint.url))
    }
}

async fn deliver(
    batches: Result<Vec<Batch>, StoreError>,
    sender: &mpsc::Sender<Result<Batch, StoreError>>,
) -> Result<(), StoreError> {
    for batch in batches? {
        // Reserves two slots and uses one, so that the last is always free for the error that ends the feed.
        let Ok(permits) = timeout(READER_TIMEOUT, sender.reserve_many(2)).await else {
            return Err(StoreError::FeedOverrun);
        };
        // Closed: `run` notices.
        if let Ok(mut permits) = permits
            && let Some(permit) = permits.next()
        {
            permit.send(Ok(batch));
        }
    }
    Ok(())
}
