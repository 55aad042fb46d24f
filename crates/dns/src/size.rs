//! The part of a response that fits into a message.
//!
//! Owns: the order in which records are left out, the condition for TC, and the choice of the subset that is sent when
//! not even TCP holds all records. Does not own: the limit of a transport ([`super::handler`]) nor the encoding: the
//! `ResponseWriter` that writes the message also measures it.

use super::encode::ResponseWriter;
use super::response::Response;
use skyhound_base::hash;

/// The number of records of each section that fit, from the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Of the answer section.
    pub answers: usize,
    /// Of the authority section.
    pub authority: usize,
    /// Of the additional section.
    pub additional: usize,
    /// An answer or authority record was left out. A missing additional record does not count (RFC 2181 section 9): the
    /// client can query it, and TC would make it repeat the whole query.
    pub truncated: bool,
}

/// Measures a response behind the `question` section in its wire form. `limit` is the size limit of the message in
/// bytes, without the OPT record.
pub fn fit(response: &Response, question: &[u8], limit: u16) -> Fit {
    let mut fit = Fit { answers: 0, authority: 0, additional: 0, truncated: true };
    let Some(mut writer) = ResponseWriter::new(question, limit) else { return fit };
    fit.answers = writer.records(&response.answers);
    if fit.answers == response.answers.len() {
        fit.authority = writer.records(&response.authority);
        fit.truncated = fit.authority < response.authority.len();
    }
    if !fit.truncated {
        fit.additional = writer.records(&response.additional);
    }
    fit
}

/// Reorders a response of which only the front will be sent, so that over many responses every record gets the share of
/// clients that its weight requires.
///
/// Lowest priority stays first. Within a priority the order is random, from `seed`: the chance of a record to be early
/// is proportional to the part of its weight that its SRV record does not state. With the `skydns` rule more than 100
/// instances all state 1, so the draw carries their weights; with the exact rule the records state them in full and the
/// draw is even, or a heavy record would count twice.
pub fn weighted_shuffle(response: &mut Response, seed: u64) {
    let shuffle_keys: Vec<_> = (0..response.answers.len()).map(|at| shuffle_key(response, at, seed)).collect();
    let mut order: Vec<usize> = (0..response.answers.len()).collect();
    order.sort_by(|a, b| {
        shuffle_keys[*a].0.cmp(&shuffle_keys[*b].0).then(shuffle_keys[*a].1.total_cmp(&shuffle_keys[*b].1))
    });
    response.answers = order.iter().map(|at| response.answers[*at].clone()).collect();
    if response.stored_weights.len() == order.len() {
        response.stored_weights = order.iter().map(|at| response.stored_weights[*at]).collect();
    }
}

/// The sort key of a record in the draw: aliases stay in front because they lead to the rest, then priority, then an
/// arrival time of a Poisson process whose rate is the chance (each of several is then the earliest with a probability
/// proportional to its rate).
fn shuffle_key(response: &Response, at: usize, seed: u64) -> (u32, f64) {
    use hickory_proto::rr::RData;
    let (tier, rate) = match &response.answers[at].data {
        RData::CNAME(_) => return (0, 0.0),
        RData::SRV(srv) => {
            let stored = response.stored_weights.get(at).copied().unwrap_or(srv.weight);
            (1 + u32::from(srv.priority), f64::from(stored.max(1)) / f64::from(srv.weight.max(1)))
        }
        _ => (1, 1.0),
    };
    (tier, -uniform(seed, at).ln() / rate)
}

/// A number in (0, 1] from a seed and an index (splitmix64): the draw has to be a pure function of its arguments.
#[allow(clippy::cast_precision_loss)] // 53 bits fit
fn uniform(seed: u64, at: usize) -> f64 {
    let bits = hash::mix(seed ^ (at as u64 + 1).wrapping_mul(hash::GOLDEN));
    (bits >> 11) as f64 / (1u64 << 53) as f64 + f64::MIN_POSITIVE
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ask, settings, snapshot};
    use super::super::{SrvWeights, answer};
    use super::*;
    use hickory_proto::op::{HeaderCounts, Message, MessageType, Metadata, OpCode, Query};
    use hickory_proto::rr::{Name, RData, RecordType};
    use hickory_proto::serialize::binary::BinEncodable;
    use proptest::prelude::*;
    use skyhound_core::catalog::Health;
    use std::collections::BTreeMap;

    const NAME: &str = "web.skydns.test.";

    fn tree(count: usize, value: impl Fn(usize) -> String) -> skyhound_core::catalog::Snapshot {
        let items: Vec<_> = (0..count).map(|i| (format!("web/instance-{i:05}"), value(i))).collect();
        snapshot(&items.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>())
    }

    fn question_bytes(qtype: RecordType) -> Vec<u8> {
        Query::query(Name::from_ascii(NAME).unwrap(), qtype).to_bytes().unwrap()
    }

    /// The message with the records that fit, encoded as the handler does.
    fn sent_message(response: &Response, fits: Fit, qtype: RecordType) -> Vec<u8> {
        let mut writer = ResponseWriter::new(&question_bytes(qtype), u16::MAX).unwrap();
        let mut section = |records: &[_]| u16::try_from(writer.records(records)).unwrap();
        let counts = HeaderCounts {
            queries: 1,
            answers: section(&response.answers[..fits.answers]),
            authorities: section(&response.authority[..fits.authority]),
            additionals: section(&response.additional[..fits.additional]),
        };
        writer.finish(Metadata::new(1, MessageType::Response, OpCode::Query), counts, None)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn fitted_responses_parse_and_hold_true_records(
            count in 0usize..600, priorities in 1usize..4, limit in 512u16.., seed: u64,
            qtype in prop::sample::select(vec![RecordType::SRV, RecordType::A, RecordType::AAAA]),
        ) {
            let tree = tree(count, |i| {
                let (high, low) = (i / 256, i % 256);
                format!(r#"{{"host":"10.0.{high}.{low}","port":{},"priority":{}}}"#, i + 1, 1 + i % priorities)
            });
            let mut response = ask(&tree, NAME, qtype);
            let whole = response.clone();
            if fit(&response, &question_bytes(qtype), limit).truncated {
                weighted_shuffle(&mut response, seed);
            }
            let fits = fit(&response, &question_bytes(qtype), limit);
            let bytes = sent_message(&response, fits, qtype);
            prop_assert!(bytes.len() <= usize::from(limit), "{} bytes of {limit}", bytes.len());
            let parsed = Message::from_vec(&bytes).unwrap();
            prop_assert_eq!(fits.truncated, parsed.answers.len() < whole.answers.len() || parsed.authorities.len() < whole.authority.len());
            prop_assert!(fits.additional == 0 || !fits.truncated, "additional records give way first");
            for record in &parsed.answers {
                prop_assert!(whole.answers.contains(record));
            }
            for record in &parsed.additionals {
                prop_assert!(whole.additional.contains(record));
            }
            let order: Vec<_> = parsed.answers.iter().filter_map(|r| match &r.data {
                RData::SRV(srv) => Some(srv.priority),
                _ => None,
            }).collect();
            prop_assert!(order.is_sorted(), "{order:?}");
            if fits.truncated && !order.is_empty() {
                // No record of a lower priority was left out in favour of those sent.
                let before_last = whole.answers.iter().filter(|r| matches!(&r.data, RData::SRV(s) if s.priority < order[order.len() - 1])).count();
                prop_assert!(order.len() >= before_last);
            }
        }
    }

    #[test]
    fn large_sets_truncate_record_by_record() {
        let tree = tree(100, |i| format!(r#"{{"host":"10.0.0.{i}","port":80}}"#));
        let response = ask(&tree, NAME, RecordType::SRV);
        let udp = fit(&response, &question_bytes(RecordType::SRV), 1232);
        assert!(udp.truncated && udp.answers > 10 && udp.additional == 0, "{udp:?}");
        let tcp = fit(&response, &question_bytes(RecordType::SRV), u16::MAX);
        assert_eq!(tcp, Fit { answers: 100, authority: 0, additional: 100, truncated: false });
        let between = fit(&response, &question_bytes(RecordType::SRV), 6500);
        assert!(
            !between.truncated && between.additional < 100,
            "missing additional records are no truncation: {between:?}"
        );
    }

    /// The number of records sent for each weight, over many seeds.
    fn sent_by_weight(rule: SrvWeights) -> BTreeMap<u16, usize> {
        let tree =
            tree(3000, |i| format!(r#"{{"host":"10.0.{}.{}","weight":{}}}"#, i / 256, i % 256, 100 + 200 * (i % 2)));
        let settings = super::super::DnsSettings { srv_weights: rule, ..settings() };
        let question = super::super::testing::question(NAME, RecordType::SRV);
        let mut sent = BTreeMap::new();
        for seed in 0..10 {
            let mut response = answer(&tree, Health::Current, &settings, &question, seed);
            weighted_shuffle(&mut response, seed);
            // Few of many, so that the records drawn first hardly change the rest.
            for weight in response.stored_weights.iter().take(200) {
                *sent.entry(*weight).or_default() += 1;
            }
        }
        sent
    }

    #[test]
    fn subsets_are_drawn_by_unstated_weight() {
        let ratio = |sent: BTreeMap<u16, usize>| sent[&300] * 100 / sent[&100];
        let rounded = ratio(sent_by_weight(SrvWeights::Skydns));
        assert!((220..400).contains(&rounded), "every record states 1, so the draw is 3 to 1: {rounded}");
        let exact = ratio(sent_by_weight(SrvWeights::Exact));
        assert!((80..125).contains(&exact), "the records state the weight, so the draw is even: {exact}");
    }
}
