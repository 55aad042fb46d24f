//! A listing: all keys below a prefix at one revision, read in pages.
//!
//! A million entries are some hundred megabytes, too many for one message and for etcd to build at once. The first page
//! determines the revision at which the others are read.

use super::endpoints::{EndpointClient, Endpoints, Resend};
use super::error;
use super::txn::{revision, wire};
use crate::{Item, LeaseId, Listing, Revision, StoreError};
use bytes::Bytes;
use etcd_client::proto::PbKeyValue;
use etcd_client::{Error, GetOptions, GetResponse};
use skyhound_model::Key;
use std::sync::Arc;

/// Keys per page. Small pages are expensive: for every page etcd counts all the remaining keys.
const PAGE: i64 = 10_000;
/// Limit of a response, in bytes. A longer page is requested again in halves; etcd's default limit of a single value is
/// 1.5 MiB.
const RESPONSE_MAX: usize = 64 << 20;
/// Attempts to read a list before etcd compacts its revision.
const ATTEMPTS: usize = 3;

/// Returns the end of the range of all keys that begin with `prefix`, in etcd's notation.
pub(super) fn range_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        // No key sorts after these: "\0" means the end of the keyspace.
        None => vec![0],
    }
}

/// Returns the start of the range of all keys that begin with `prefix`; etcd has no empty key.
pub(super) fn range_start(prefix: &[u8]) -> Vec<u8> {
    if prefix.is_empty() { vec![0] } else { prefix.to_vec() }
}

/// Converts an item of etcd without copying its value.
pub(super) fn item(pair: PbKeyValue) -> Item {
    Item {
        key: Key::from(pair.key),
        value: Bytes::from(pair.value),
        revision: revision(pair.mod_revision),
        lease: (pair.lease != 0).then_some(LeaseId(pair.lease)),
    }
}

/// Lists all keys below a prefix.
pub(super) async fn list(endpoints: &Endpoints, prefix: &[u8]) -> Result<Listing, StoreError> {
    for _ in 0..ATTEMPTS {
        if let Some(listing) = list_once(endpoints, prefix).await? {
            return Ok(listing);
        }
    }
    Err(StoreError::Unreachable(format!("etcd compacted each of {ATTEMPTS} revisions before the list was complete")))
}

/// The result of a request for a page.
enum Page {
    Read(GetResponse),
    /// The response is over [`RESPONSE_MAX`].
    TooLong,
    /// The revision of the listing is gone.
    Compacted,
}

/// Lists all keys below a prefix; `None` if etcd compacted the revision before the last page.
async fn list_once(endpoints: &Endpoints, prefix: &[u8]) -> Result<Option<Listing>, StoreError> {
    let end = range_end(prefix);
    let mut start = range_start(prefix);
    let mut listing = Listing { revision: Revision(0), items: Vec::new() };
    let mut limit = PAGE;
    loop {
        let options = GetOptions::new().with_range(end.clone()).with_limit(limit).with_revision(wire(listing.revision));
        let response =
            match endpoints.call(Resend::Yes, |endpoint| page(endpoint, start.clone(), options.clone())).await? {
                Page::Read(response) => response,
                Page::TooLong if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                Page::TooLong => {
                    let key = Key::from(start);
                    return Err(StoreError::Rejected(format!(
                        "a value at or after {key} is over {RESPONSE_MAX} bytes, which is the limit"
                    )));
                }
                Page::Compacted => return Ok(None),
            };
        if listing.revision == Revision(0) {
            listing.revision = revision(response.header().map_or(0, etcd_client::ResponseHeader::revision));
        }
        let more = response.more();
        listing.items.extend(response.0.kvs.into_iter().map(item));
        match listing.items.last() {
            // The smallest key after the last one is the last one followed by a zero byte.
            Some(last) if more => start = [last.key.as_bytes(), &[0]].concat(),
            _ => return Ok(Some(listing)),
        }
    }
}

async fn page(endpoint: Arc<EndpointClient>, start: Vec<u8>, options: GetOptions) -> Result<Page, Error> {
    let mut kv = endpoint.client.kv_client().max_decoding_message_size(RESPONSE_MAX);
    match kv.get(start, Some(options)).await {
        Ok(response) => Ok(Page::Read(response)),
        Err(error) if error::is_too_long(&error) => Ok(Page::TooLong),
        Err(error) if error::is_compacted(&error) => Ok(Page::Compacted),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_exactly_the_prefix() {
        assert_eq!(range_end(b"/a/"), b"/a0");
        assert_eq!(range_end(b"a\xff"), b"b");
        assert_eq!(range_end(b"\xff\xff"), b"\0");
        assert_eq!((range_start(b""), range_end(b"")), (b"\0".to_vec(), b"\0".to_vec()));
    }
}
