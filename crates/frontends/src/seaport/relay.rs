//! Recognition of services that a hub of skyhound sent and a peer sends back.
//!
//! The original's client sends, each time it connects, every service that it ever received, and the original's hub
//! forwards every service of one peer to all others: no field of the protocol names the owner. So a hub of skyhound
//! sends a service with its keys in one of two orders, which JavaScript preserves. In both `id` is among the first
//! keys, and `port` follows it as the last of the five: the original's client appends `id`, `host` and the role where
//! its user left them out, and no user who gives all of them uses such an order.
//!
//! Owns: the two orders. Does not own: the decisions that depend on them (`rows`).

use super::meta::ServiceMeta;

/// The origin of a service that a hub of skyhound sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayOrigin {
    /// The service is registered at that hub.
    Registered,
    /// That hub has the service from another hub.
    Relayed,
}

/// The keys of a service that is registered at the hub, in order; `version` may be missing.
const REGISTERED_ORDER: [&str; 5] = ["host", "version", "id", "role", "port"];
/// The keys of a service from another hub, in order.
const RELAYED_ORDER: [&str; 5] = ["id", "version", "host", "role", "port"];

/// Orders the keys of a service for sending.
pub fn with_order(mut meta: ServiceMeta, origin: RelayOrigin) -> ServiceMeta {
    let order = match origin {
        RelayOrigin::Registered => REGISTERED_ORDER,
        RelayOrigin::Relayed => RELAYED_ORDER,
    };
    let mut ordered: ServiceMeta =
        order.iter().filter_map(|field| Some(((*field).to_owned(), meta.shift_remove(*field)?))).collect();
    ordered.extend(meta);
    ordered
}

/// Returns the origin of a service by the order of its keys; `None` if no hub of skyhound sent it. JavaScript puts keys
/// that are whole numbers first; they are skipped.
pub fn origin(meta: &ServiceMeta) -> Option<RelayOrigin> {
    let number = |key: &&str| key.bytes().all(|byte| byte.is_ascii_digit());
    let keys: Vec<_> = meta.keys().map(String::as_str).skip_while(number).take(REGISTERED_ORDER.len()).collect();
    let is = |order: [&str; 5]| {
        let [first, version, rest @ ..] = order;
        keys.starts_with(&order)
            || (keys.first() == Some(&first) && keys.get(1) != Some(&version) && keys[1..].starts_with(&rest))
    };
    [(REGISTERED_ORDER, RelayOrigin::Registered), (RELAYED_ORDER, RelayOrigin::Relayed)]
        .into_iter()
        .find_map(|(order, origin)| is(order).then_some(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn to_meta(value: Value) -> ServiceMeta {
        let Value::Object(meta) = value else { panic!("{value}") };
        meta
    }

    #[test]
    fn field_order_identifies_relayed_services() {
        for value in [
            json!({"role": "web", "version": "1.2.3", "host": "h", "port": 80, "id": "A", "zone": "eu"}),
            json!({"zone": 1, "role": "web", "host": "h", "port": 80, "id": "A"}),
        ] {
            for each in [RelayOrigin::Registered, RelayOrigin::Relayed] {
                let ordered = with_order(to_meta(value.clone()), each);
                assert_eq!(ordered, to_meta(value.clone()), "only the order differs");
                assert_eq!(origin(&ordered), Some(each), "{ordered:?}");
            }
            assert_eq!(origin(&to_meta(value)), None);
        }
        let mut first: ServiceMeta = to_meta(json!({"0": 1, "12": 2}));
        first.extend(with_order(
            to_meta(json!({"role": "web", "host": "h", "port": 80, "id": "A"})),
            RelayOrigin::Registered,
        ));
        assert_eq!(origin(&first), Some(RelayOrigin::Registered), "the order of JavaScript");
    }

    /// All orders in which the original's client sends its own services: it sets `role`, `version` and `port` where
    /// they are missing, and then appends `id` and `host`.
    #[test]
    fn a_clients_own_service_is_not_taken_for_relayed() {
        let fields = ["role", "port", "host", "id", "zone"];
        let mut given: Vec<Vec<&str>> = vec![Vec::new()];
        for length in 0..fields.len() {
            let longer = given.clone().into_iter().filter(|one| one.len() == length).flat_map(|one| {
                fields
                    .iter()
                    .filter(|field| !one.contains(*field))
                    .map(|field| [&one[..], &[*field]].concat())
                    .collect::<Vec<_>>()
            });
            given.extend(longer.collect::<Vec<_>>());
        }
        for mut keys in given.into_iter().filter(|keys| !keys.contains(&"id")) {
            for appended in ["role", "version", "port", "id", "host"] {
                if !keys.contains(&appended) {
                    keys.push(appended);
                }
            }
            let without_version: Vec<_> = keys.iter().copied().filter(|key| *key != "version").collect();
            for keys in [keys, without_version] {
                let own: ServiceMeta = keys.iter().map(|key| ((*key).to_owned(), json!(1))).collect();
                assert_eq!(origin(&own), None, "{keys:?}");
            }
        }
        for own in [json!({"role": "web"}), json!({}), json!({"host": "h", "id": "A", "port": 80, "role": "web"})] {
            assert_eq!(origin(&to_meta(own.clone())), None, "{own}");
        }
    }
}
