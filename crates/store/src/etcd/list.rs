//! Reading all keys below a prefix, at one revision, in pages.
//!
//! A million entries are some hundred megabytes: more than a message should hold, and more than etcd should
//! have to build at once. The first page fixes the revision and the others are read at it.

use super::endpoints::{EndpointClient, Endpoints, Resend};
use super::error;
use super::txn::{revision, wire};
use crate::{Item, LeaseId, Listing, Revision, StoreError};
use bytes::Bytes;
use etcd_client::proto::PbKeyValue;
use etcd_client::{Error, GetOptions, GetResponse};
use skyhound_model::Key;
use std::sync::Arc;

/// Keys in a page. Not smaller without need: for every page etcd counts all the keys that are left.
const PAGE: i64 = 10_000;
/// The longest answer that we take. A page that is longer is asked for again in halves; a single value is
/// at most 1.5 MiB by etcd's own default limit.
const RESPONSE_MAX: usize = 64 << 20;
/// How often a list is begun anew because etcd compacted the revision that it was reading.
const RESTARTS: usize = 3;

/// The end of the range of all keys that begin with `prefix`, in etcd's way of saying it.
pub(super) fn range_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        // No key is after all that begin so: "\0" means to the end of everything.
        None => vec![0],
    }
}

/// The start of the range of all keys that begin with `prefix`; etcd knows no empty key.
pub(super) fn range_start(prefix: &[u8]) -> Vec<u8> {
    if prefix.is_empty() { vec![0] } else { prefix.to_vec() }
}

/// An item of etcd's, taking over its value without copying it.
pub(super) fn item(pair: PbKeyValue) -> Item {
    Item {
        key: Key::from(pair.key),
        value: Bytes::from(pair.value),
        revision: revision(pair.mod_revision),
        lease: (pair.lease != 0).then_some(LeaseId(pair.lease)),
    }
}

/// All keys below a prefix.
pub(super) async fn list(endpoints: &Endpoints, prefix: &[u8]) -> Result<Listing, StoreError> {
    for _ in 0..RESTARTS {
        if let Some(listing) = list_once(endpoints, prefix).await? {
            return Ok(listing);
        }
    }
    Err(StoreError::Unreachable(format!("etcd compacted each of {RESTARTS} revisions while it was read")))
}

/// What came of asking for a page.
enum Page {
    Read(GetResponse),
    TooLong,
    Compacted,
}

/// As [`list`]; `None` when the revision was compacted before the last page.
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
                        "a value at or after {key} is longer than {RESPONSE_MAX} bytes"
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
            // The next key in order is the last one with a zero byte after it.
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
    fn ranges() {
        assert_eq!(range_end(b"/a/"), b"/a0");
        assert_eq!(range_end(b"a\xff"), b"b");
        assert_eq!(range_end(b"\xff\xff"), b"\0");
        assert_eq!((range_start(b""), range_end(b"")), (b"\0".to_vec(), b"\0".to_vec()));
    }
}
